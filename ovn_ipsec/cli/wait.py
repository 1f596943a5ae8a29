# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec wait`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from ..errors import OvsdbError
from ..schema import nb_global
from .settings import Exit, Settings


@click.command(name="wait")
@click.argument("state")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="At most so long.")
@click.pass_obj
def command(settings: Settings, state: str, timeout: float | None) -> None:
    """Wait until the cluster's state is STATE, such as enforced, established or off.

    Ends with 0 when it is, with 1 when it was not in time, with 2 without an answer.
    """
    from ..ovsdb.schemas import NORTHBOUND  # noqa: PLC0415 - --help stays quick
    from .database import Reader, use_tls  # noqa: PLC0415

    use_tls(settings)
    try:
        with Reader(settings.ovnnb_db, NORTHBOUND, {"NB_Global": ("ipsec", "external_ids")}) as nb:
            arrived = nb.wait_until(lambda: state_of(nb.rows("NB_Global")) == state, timeout)
            last = state_of(nb.rows("NB_Global"))
    except OvsdbError as error:
        click.echo(f"ovn-ipsec: {error.diagnostics()}", err=True)
        sys.exit(Exit.CANNOT_TELL)
    if settings.as_json:
        click.echo(json.dumps({"state": last, "reached": arrived}))
    elif not arrived:
        click.echo(f"ovn-ipsec: still {last or 'without a state'}; see ovn-ipsec status", err=True)
    sys.exit(Exit.WELL if arrived else Exit.DEGRADED)


def state_of(rows: Sequence[dict[str, Any]]) -> str:
    """The state in NB_Global; a cluster that was never switched on is off."""
    if not rows:
        return ""
    default = "" if rows[0]["ipsec"] else "off"
    return str(rows[0]["external_ids"].get(nb_global.STATE, default))
