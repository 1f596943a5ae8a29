# SPDX-License-Identifier: Apache-2.0
"""All changes of a pass to pluto's connections, in as few processes as there are kinds of them.

Edge (pluto). Input: sections, and what pluto holds. Output: what it holds then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...plan.connection import ConnName
from . import conf, states
from .session import Session
from .states import State
from .tools import write


@dataclass(slots=True)
class Todo:
    """What was asked for and not done yet."""

    sections: dict[str, conf.Section] = field(default_factory=dict)
    superseded: set[str] = field(default_factory=set)
    """Connections, by pluto's names, whose pair goes on without them."""
    orders: list[tuple[ConnName | None, Callable[[], None]]] = field(default_factory=list)
    loading: set[ConnName] = field(default_factory=set)
    """Pairs that something was loaded for."""
    changed: bool = False
    """Whether something was loaded or unloaded."""


def loaded(session: Session) -> dict[str, str]:
    """Read pluto's connections of ours, with the digest of each.

    Raises:
        IkeError: They cannot be read.
    """
    return dict(states.parse_status(session.read("--status")).loaded)


def add(
    session: Session, found: Mapping[str, conf.Section]
) -> tuple[dict[str, str], dict[ConnName, str]]:
    """Load connections, all by one process.

    Returns:
        What pluto holds then, as ``loaded`` does, and of which pairs it refused something, and why.

    Raises:
        IkeError: Nothing was loaded, or what was cannot be read.
    """
    file = session.places.folder / "batch.conf"
    write(file, conf.batch(found.values()))
    ended = session.guarded(lambda: session.tools.addconn(file))
    # addconn ends well whatever pluto says of a single connection.
    held = loaded(session)
    said = ended.said.strip().splitlines()
    why = said[-1][:300] if ended.code and said else "its log says why"
    refused = {
        conn: f"Libreswan refuses the connection: {why}"
        for name, section in found.items()
        if held.get(name) != section.digest and (conn := conf.conn_of(name)) is not None
    }
    return held, refused


def drop(session: Session, held: dict[str, str], names: set[str]) -> None:
    """Delete connections by pluto's names, and take them out of what it holds.

    Raises:
        IkeError: pluto is gone.
    """
    for name in sorted(names & held.keys()):
        session.whack("--delete", "--name", name)
        held.pop(name)


def leave(session: Session, held: dict[str, str], leaving: set[ConnName]) -> None:
    """Delete all that pluto holds of pairs, and take it out of what it holds.

    Raises:
        IkeError: pluto is gone.
    """
    if leaving and not {conf.conn_of(name) for name in held} - leaving:
        session.whack("--delete", "--name", conf.EVERY)
    else:
        for conn in sorted(leaving):
            session.whack("--delete", "--name", conf.pair_alias(conn))
    for conn in leaving:
        for name in conf.every_name(conn):
            held.pop(name, None)


def without_sas(going: set[ConnName], shown: tuple[State, ...], ended: set[int]) -> set[ConnName]:
    """Tell which pairs that are to go have no SA left but those that were ended.

    Args:
        going: The pairs.
        shown: All states.
        ended: IKE_SAs that were ended on request.
    """
    held: dict[ConnName, set[int]] = {}
    for state in shown:
        conn = conf.conn_of(state.name)
        if state.is_child and not state.parent:
            continue  # It is being made, and goes with its IKE_SA.
        if conn in going and conn is not None:
            held.setdefault(conn, set()).add(state.parent or state.serial)
    return {conn for conn in going if held.get(conn, set()) <= ended}
