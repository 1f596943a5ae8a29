# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec peers`."""

from __future__ import annotations

import sys

import click

from ..errors import EdgeError
from .local import NEXT_WITHOUT, PROGRAM, Peer, ask_peers, own_socket
from .output import complain, say_json
from .settings import Exit, Settings

COLUMNS = (
    *("peer", "type", "local", "remote", "mode", "state", "since_s", "initiator", "ike", "esp"),
    "last_error",
)
NOT_UP = frozenset({"pending", "blocked"})


@click.command(name="peers")
@click.option(
    "-t",
    "--target",
    metavar="SOCKET",
    help=f"Control socket of {PROGRAM} (default: that of the one on this host).",
)
@click.pass_obj
def command(settings: Settings, target: str | None) -> None:
    """Show the pairs of this chassis, as its controller sees them."""
    try:
        peers = ask_peers(target or own_socket())
    except EdgeError as error:
        complain(error.diagnostics(), NEXT_WITHOUT)
        sys.exit(Exit.CANNOT_TELL)
    if settings.as_json:
        say_json(peers)
    else:
        _show(peers)
    sys.exit(judge_peers(peers))


def judge_peers(peers: list[Peer]) -> Exit:
    """Degraded when a pair that is wanted encrypted is not up."""
    return Exit.DEGRADED if any(p.get("state") in NOT_UP for p in peers) else Exit.WELL


def words(peer: Peer) -> tuple[str, ...]:
    """One row of the table."""
    values = [peer.get(column) for column in COLUMNS]
    return tuple("" if value is None else str(value) for value in values)


def _show(peers: list[Peer]) -> None:
    from .tables import Screen  # noqa: PLC0415 - --help stays quick

    screen = Screen()
    if not peers:
        screen.line("no peers")
        return
    screen.table(COLUMNS, [words(peer) for peer in peers])
