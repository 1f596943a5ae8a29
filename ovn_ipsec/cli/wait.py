# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec wait`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ..errors import OvsdbError
from ..schema import nb_global
from ..schema.nb_global import DEGRADED, STATES
from .output import complain_of, say_json, warn
from .settings import Exit, Settings

if TYPE_CHECKING:
    from ..ovsdb.commands import Commands

SEE = "see ovn-ipsec status"


@click.command(name="wait")
@click.argument("state", type=click.Choice(STATES), metavar="STATE")
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after so long."
)
@click.pass_obj
def command(settings: Settings, state: str, timeout: float | None) -> None:
    """Wait until the state of the cluster is STATE.

    STATE is off, preparing, establishing, established (the end of mode prefer), enforced (the end
    of mode require) or relaxing. A state that is degraded is not waited for: while the cluster is
    in it, a warning says so.

    Exit status: 0 reached, 1 not reached in time, 2 no answer.
    """
    from ..ovsdb.waiting import wait_until  # noqa: PLC0415 - --help stays quick
    from .database import NB_GLOBAL, STATE, connected  # noqa: PLC0415

    try:
        with connected(settings, settings.ovnnb_db, STATE, patient=True) as nb:
            waiting = Waiting(state)
            arrived = wait_until(nb.session, lambda: waiting.is_over(*_look(nb)), timeout)
            last = state_of(nb.first(NB_GLOBAL))
    except OvsdbError as error:
        complain_of(error)
        sys.exit(Exit.CANNOT_TELL)
    if settings.as_json:
        say_json({"state": last, "reached": arrived}, indent=None)
    elif not arrived:
        warn(f"still {last or 'without a state'}; {SEE}")
    sys.exit(Exit.WELL if arrived else Exit.DEGRADED)


class Waiting:
    """Looks at states as they come, and says once each what somebody who waits should know."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._told = ""

    def is_over(self, state: str, problem: str) -> bool:
        """Whether the state is reached.

        Args:
            state: Of the cluster, as last known.
            problem: What keeps it from being known now; empty if nothing.
        """
        if state == self._wanted and not problem:
            return True
        remark = ""
        if problem:
            remark = f"waiting, but not connected: {problem}"
        elif state == f"{self._wanted}{DEGRADED}":
            remark = f"waiting, but the state is {state}; {SEE}"
        if remark and remark != self._told:
            warn(remark)
        self._told = remark
        return False


def _look(nb: Commands) -> tuple[str, str]:
    from .database import NB_GLOBAL  # noqa: PLC0415 - --help stays quick

    lost = "" if nb.session.connected else nb.session.problem or nb.session.remotes
    return state_of(nb.first(NB_GLOBAL)), lost


def state_of(row: Any) -> str:
    """The state in the row of NB_Global, if there is one; never switched on is off."""
    if row is None:
        return ""
    return str(row.external_ids.get(nb_global.STATE, "" if row.ipsec else "off"))
