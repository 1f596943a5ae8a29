# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec peers`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from ..errors import EdgeError
from ..schema.report import printable
from .settings import Exit, Settings

PROGRAM = "ovn-ipsec-controller"
COLUMNS = (
    *("peer", "type", "local", "remote", "mode", "state", "since_s", "initiator", "ike", "esp"),
    *("bytes_in", "bytes_out", "last_error"),
)
NOT_UP = frozenset({"pending", "blocked"})


@click.command(name="peers")
@click.option(
    "-t",
    "--target",
    metavar="SOCKET",
    help=f"Control socket of {PROGRAM} (default: that of the one running here).",
)
@click.pass_obj
def command(settings: Settings, target: str | None) -> None:
    """Show the pairs of this chassis, as its controller sees them."""
    try:
        peers = read_peers(_ask(target or _socket()))
    except EdgeError as error:
        click.echo(f"ovn-ipsec: {error.diagnostics()}", err=True)
        click.echo(
            f"    next: start {PROGRAM} on this chassis, or name its socket with -t", err=True
        )
        sys.exit(Exit.CANNOT_TELL)
    if settings.as_json:
        click.echo(json.dumps(peers, indent=2))
    else:
        _show(peers)
    sys.exit(judge_peers(peers))


def read_peers(text: str) -> list[dict[str, Any]]:
    """Parse the controller's answer.

    Raises:
        EdgeError: It is not a list of objects, so it is not of this version's making.
    """
    try:
        peers = json.loads(text)
    except ValueError as error:
        raise EdgeError(f"{PROGRAM} answered what is not JSON: {error}") from error
    if not isinstance(peers, list) or not all(isinstance(peer, dict) for peer in peers):
        raise EdgeError(f"{PROGRAM} answered no list of peers")
    return peers


def judge_peers(peers: list[dict[str, Any]]) -> Exit:
    """Degraded when a pair that is wanted encrypted is not up."""
    return Exit.DEGRADED if any(p.get("state") in NOT_UP for p in peers) else Exit.WELL


def words(peer: dict[str, Any]) -> tuple[str, ...]:
    """One row of the table."""
    values = [peer.get(column) for column in COLUMNS]
    return tuple("" if value is None else printable(str(value), 120) for value in values)


def _show(peers: list[dict[str, Any]]) -> None:
    from .tables import Screen  # noqa: PLC0415 - --help stays quick

    screen = Screen()
    if not peers:
        screen.line("no peers")
        return
    screen.table(COLUMNS, [words(peer) for peer in peers])


def _socket() -> str:
    rundir = Path(os.environ.get("OVS_RUNDIR", "/var/run/openvswitch"))
    pidfile = rundir / f"{PROGRAM}.pid"
    try:
        pid = int(pidfile.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise EdgeError(f"{pidfile}: {error}") from error
    return str(rundir / f"{PROGRAM}.{pid}.ctl")


def _ask(target: str) -> str:
    import ovs.unixctl.client  # noqa: PLC0415 - --help stays quick

    error, client = ovs.unixctl.client.UnixctlClient.create(target)
    if error:
        raise EdgeError(f"{target}: {os.strerror(error)}")
    try:
        broken, refused, answer = client.transact("peers/show", ["json"])
    finally:
        client.close()
    if broken:
        raise EdgeError(f"{target}: {os.strerror(broken)}")
    if refused is not None:
        raise EdgeError(f"{target}: {refused}")
    return str(answer)
