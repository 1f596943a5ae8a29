# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec wait`."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..errors import OvsdbError
from ..schema import nb_global
from .output import complain, say_json
from .settings import Exit, Settings


@click.command(name="wait")
@click.argument("state")
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after so long."
)
@click.pass_obj
def command(settings: Settings, state: str, timeout: float | None) -> None:
    """Wait until the cluster's state is STATE, such as enforced, established or off.

    Exit status: 0 reached, 1 not reached in time, 2 no answer.
    """
    from ..ovsdb.waiting import wait_until  # noqa: PLC0415 - --help stays quick
    from .database import NB_GLOBAL, STATE, connected  # noqa: PLC0415

    try:
        with connected(settings, settings.ovnnb_db, STATE) as nb:
            arrived = wait_until(
                nb.session, lambda: state_of(nb.first(NB_GLOBAL)) == state, timeout
            )
            last = state_of(nb.first(NB_GLOBAL))
    except OvsdbError as error:
        complain(error.diagnostics())
        sys.exit(Exit.CANNOT_TELL)
    if settings.as_json:
        say_json({"state": last, "reached": arrived}, indent=None)
    elif not arrived:
        complain(f"still {last or 'without a state'}; see ovn-ipsec status")
    sys.exit(Exit.WELL if arrived else Exit.DEGRADED)


def state_of(row: Any) -> str:
    """The state in the row of NB_Global, if there is one; never switched on is off."""
    if row is None:
        return ""
    return str(row.external_ids.get(nb_global.STATE, "" if row.ipsec else "off"))
