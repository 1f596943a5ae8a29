# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec check-wire`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import click

from ...errors import EdgeError
from ...model.chassis import EncapType
from ..local import PROGRAM, Peer, ask, ask_peers, next_step_after, own_socket
from ..output import complain, say_json
from ..settings import Exit, Settings
from .probes import Ends
from .verdict import Outcome, Verdict, judge_wire, overall

PAIRS_MAX = 16
"""Pairs that are tried in one call."""
WORDS = {
    Outcome.ENCRYPTED: ("ok", "green"),
    Outcome.CLEAR: ("BAD", "bold red"),
    Outcome.DENIED: ("BAD", "bold red"),
    Outcome.UNKNOWN: ("???", "yellow"),
}


class WrongEndError(EdgeError):
    """This host is not the one whose packets are to be watched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A pair and what was proven of it."""

    peer: str
    ends: Ends
    state: str
    """What the controller says of it."""
    verdict: Verdict


@click.command(name="check-wire", short_help="Prove that what leaves for another chassis is ESP.")
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.option(
    "-t",
    "--target",
    metavar="SOCKET",
    help=f"Control socket of {PROGRAM} (default: that of the one on this host).",
)
@click.pass_obj
def command(settings: Settings, one: str, other: str, target: str | None) -> None:
    """Prove that what leaves the chassis A for the chassis B is ESP.

    Run it on A, as root. A and B are chassis names or encap addresses; if there are several pairs,
    each is tried. It sends ten marked packets to the tunnel port of B, whose Open vSwitch drops
    them because they belong to no network, and watches the interface through which they leave. It
    shows one direction; `ovn-ipsec check-wire B A` on B shows the other. Arriving packets are not
    checked, because a host also sees there what it has just decrypted. If the network card
    encrypts, the result is unknown. Exit status: 0 all left as ESP; 1 something left in clear, or
    nothing left because it was denied; 2 unknown.
    """
    try:
        lines = _try(one, other, target or own_socket())
    except WrongEndError as error:
        complain(
            error.diagnostics(), f"run this on {one}; here: ovn-ipsec check-wire {other} {one}"
        )
        sys.exit(Exit.CANNOT_TELL)
    except EdgeError as error:
        complain(error.diagnostics(), next_step_after(error))
        sys.exit(Exit.CANNOT_TELL)
    say_json([as_json(line) for line in lines]) if settings.as_json else _show(lines)
    sys.exit(overall(line.verdict.outcome for line in lines))


def _try(one: str, other: str, socket: str) -> list[Line]:
    name = str(ask(socket, "status", "json").get("chassis"))
    pairs = choose(name, one, other, ask_peers(socket))
    return [_line(name, pair) for pair in pairs[:PAIRS_MAX]]


def choose(name: str, one: str, other: str, peers: Sequence[Peer]) -> list[Peer]:
    """Find the pairs that are meant.

    Args:
        name: Of this chassis.
        one: Its name or an address of it.
        other: That of the peer.
        peers: All pairs of this chassis.

    Raises:
        WrongEndError: This chassis is not the first of the two.
        EdgeError: There is no such pair.
    """
    here = {name, *(str(pair.get("local")) for pair in peers)}
    if one not in here:
        raise WrongEndError(f"this host is the chassis {name}, and not {one}")
    found = [
        pair
        for pair in peers
        if one in (name, str(pair.get("local")))
        and other in (str(pair.get("peer")), str(pair.get("remote")))
    ]
    if not found:
        raise EdgeError(f"the controller of {name} knows no pair with {other}")
    return found


def _line(name: str, pair: Peer) -> Line:
    from .wire import try_pair  # noqa: PLC0415 - --help stays quick

    peer = str(pair.get("peer"))
    try:
        ends = Ends(
            type=EncapType(str(pair.get("type"))),
            local=ip_address(str(pair.get("local"))),
            remote=ip_address(str(pair.get("remote"))),
            port=int(str(pair.get("out_port"))),
        )
    except ValueError as error:
        raise EdgeError(f"{PROGRAM} did not say where a pair is: {error}") from error
    explain = f"ovn-ipsec explain {name} {peer}"
    try:
        verdict = judge_wire(try_pair(ends), explain)
    except EdgeError as error:
        said, step = error.diagnostics(), "run this as root on the chassis itself"
        verdict = Verdict(outcome=Outcome.UNKNOWN, said=said, next_step=step)
    return Line(peer=peer, ends=ends, state=str(pair.get("state")), verdict=verdict)


def as_json(line: Line) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "peer": line.peer,
        "type": line.ends.type.value,
        "local": str(line.ends.local),
        "remote": str(line.ends.remote),
        "port": line.ends.port,
        "state": line.state,
        "outcome": line.verdict.outcome.value,
        "said": line.verdict.said,
        "next_step": line.verdict.next_step,
    }


def _show(lines: Sequence[Line]) -> None:
    from ..tables import Screen  # noqa: PLC0415 - --help stays quick

    screen = Screen()
    for line in lines:
        ends, verdict = line.ends, line.verdict
        word, colour = WORDS[verdict.outcome]
        where = f"{ends.type} {ends.local} to {ends.remote} port {ends.port}"
        screen.line(f"{word:<4}  {line.peer}: {where}, by its controller {line.state}", colour)
        screen.line(f"      {verdict.said}")
        if verdict.next_step:
            screen.line(f"      next: {verdict.next_step}")
