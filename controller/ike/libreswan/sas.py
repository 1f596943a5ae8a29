# SPDX-License-Identifier: Apache-2.0
"""pluto's states to IKE_SAs and CHILD_SAs.

Pure. Input: states, and what else is known of them. Output: the types of plan.connection.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ...plan.connection import ChildSa, ConnName, IkeSa
from .conf import parse_child_name
from .states import State

_IKE = {
    "ESTABLISHED_IKE_SA": "ESTABLISHED",
    "IKE_SA_DELETE": "DELETING",
}
_CHILD = {
    "ESTABLISHED_CHILD_SA": "INSTALLED",
    "CHILD_SA_DELETE": "DELETED",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is known of a state besides what pluto shows."""

    age_s: int = 0
    begun_here: bool = False
    """Whether this end has initiated it."""
    suite: str = ""
    """That its connection leads to."""
    remote_id: str = ""
    """Which its connection demands."""
    ended: bool = False
    """Whether it was ended on request, and is there as long as the peer has not answered."""


def ike_sas(
    states: Iterable[State], origins: Mapping[int, Origin]
) -> dict[ConnName, tuple[IkeSa, ...]]:
    """Put CHILD_SAs under their IKE_SAs, and those under their connections.

    An IKE_SA that is not shown, but whose child is, counts as established: it is being rekeyed.

    Args:
        states: Those of our connections, by increasing number.
        origins: By the numbers of states.

    Returns:
        Sorted by id; a connection without an IKE_SA has no key.
    """
    states, found = tuple(states), {}
    for state in states:
        if not state.is_child:
            found[state.serial] = _ike_sa(state, origins.get(state.serial, Origin()))
    for state in states:
        if not (state.is_child and state.parent):
            continue
        if state.parent not in found:
            parent = replace(state, serial=state.parent, kind="ESTABLISHED_IKE_SA", parent=0)
            found[state.parent] = _ike_sa(parent, origins.get(state.serial, Origin()))
        owner = found[state.parent]
        child = _child_sa(state, origins.get(state.serial, Origin()))
        if owner is not None and child is not None and child.state != "DELETED":
            found[state.parent] = replace(owner, children=(*owner.children, child))
    by_conn: dict[ConnName, list[IkeSa]] = {}
    for sa in found.values():
        if sa is not None:
            by_conn.setdefault(sa.conn, []).append(sa)
    return {c: tuple(sorted(sas, key=lambda sa: sa.id)) for c, sas in by_conn.items()}


def _ike_sa(state: State, origin: Origin) -> IkeSa | None:
    known = parse_child_name(state.name)
    if known is None:
        return None
    spelled = "DELETING" if origin.ended else _IKE.get(state.kind, "CONNECTING")
    is_up = spelled == "ESTABLISHED"
    return IkeSa(
        conn=known[0],
        auth=known[1],
        id=state.serial,
        state=spelled,
        initiator=_initiated(state, origin),
        initiator_spi=0,
        established_s=origin.age_s if is_up else 0,
        remote_id=origin.remote_id if is_up else "",
        suite=origin.suite if is_up else "",
    )


def _initiated(state: State, origin: Origin) -> bool:
    """While it is made, its state tells; afterwards, only what is remembered does."""
    return origin.begun_here if state.begun_here is None else state.begun_here


def _child_sa(state: State, origin: Origin) -> ChildSa | None:
    known = parse_child_name(state.name)
    if known is None:
        return None
    return ChildSa(
        name=known[2],
        id=state.serial,
        state=_CHILD.get(state.kind, "CREATED"),
        reqid=0,
        spi_in=state.spi_in,
        spi_out=state.spi_out,
        install_s=origin.age_s,
        packets_in=int(state.heard),
        suite=origin.suite.partition("/")[0],
    )
