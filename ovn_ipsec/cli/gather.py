# SPDX-License-Identifier: Apache-2.0
"""Edge: both databases to a Snapshot, and a change of NB's rules back; always a time limit."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import ovs.db.idl
import ovs.poller

from ..errors import OvsdbError
from ..ovsdb.rows import raw_binding, raw_chassis
from ..ovsdb.schemas import NORTHBOUND, SOUTHBOUND, SOUTHBOUND_NETWORKS
from ..ovsdb.session import Row, Session
from ..policy.bindings import parse_binding, parse_datapath
from ..policy.topology import Topology
from .database import PATIENCE_S, use_tls
from .settings import Settings
from .view import RawNorthbound, RawSouthbound, Snapshot, make_snapshot

TABLE = "NB_Global"


@contextmanager
def connected(settings: Settings, remotes: str, schema: dict[str, Any]) -> Iterator[Session]:
    """Connect and read everything in the schema; disconnect at the end.

    Raises:
        OvsdbError: Nothing arrived in time.
    """
    use_tls(settings)
    session = Session(remotes, schema)
    try:
        session.open()
        _run_until(session, lambda: session.loaded)
        yield session
    except ValueError as error:
        raise OvsdbError(f"{remotes}: {error}") from error
    finally:
        session.close()


def _run_until(session: Session, done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    session.run()
    while not done():
        left = end - time.monotonic()
        if left <= 0:
            raise OvsdbError(f"{session.remotes}: no answer within {PATIENCE_S:.0f} s")
        poller = ovs.poller.Poller()
        session.wait(poller)
        poller.timer_wait(int(left * 1000) + 1)
        poller.block()
        session.run()


def snapshot(settings: Settings, nb: Session) -> Snapshot:
    """Read the cluster.

    Args:
        settings: Where SB is.
        nb: Connected.

    Raises:
        OvsdbError: SB does not answer, or there is no NB_Global.
    """
    row = _global(nb)
    switches = [(s.name, dict(s.other_config)) for s in nb.rows("Logical_Switch")]
    raw = RawNorthbound(
        ipsec=row.ipsec,
        options=dict(row.options),
        external_ids=dict(row.external_ids),
        switches=tuple(switches),
    )
    with connected(settings, settings.ovnsb_db, SOUTHBOUND) as sb:
        return make_snapshot(raw, _southbound(sb))


def _global(nb: Session) -> Row:
    row = nb.first(TABLE)
    if row is None:
        raise OvsdbError(f"{nb.remotes}: {TABLE} is empty; start ovn-northd")
    return row


def _southbound(sb: Session) -> RawSouthbound:
    row = sb.first("SB_Global")
    return RawSouthbound(
        external_ids={} if row is None else dict(row.external_ids),
        chassis=tuple(raw_chassis(row) for row in sb.rows("Chassis")),
        privates={row.name: dict(row.external_ids) for row in sb.rows("Chassis_Private")},
    )


def with_networks(settings: Settings, seen: Snapshot, named: frozenset[str]) -> Snapshot:
    """Add who hosts and reaches the networks named; reads nothing when none is.

    Raises:
        OvsdbError: SB does not answer.
    """
    if not named:
        return seen
    with connected(settings, settings.ovnsb_db, SOUTHBOUND_NETWORKS) as sb:
        return replace(seen, memberships=_topology(sb).memberships(named))


def _topology(sb: Session) -> Topology:
    topology = Topology()
    named: defaultdict[str, set[str]] = defaultdict(set)
    for row in sb.rows("Chassis"):
        named[row.hostname].add(row.name)
    for row in sb.rows("Datapath_Binding"):
        found = parse_datapath(row.tunnel_key, row.external_ids)
        topology.put_datapath(row.uuid, found)
    for row in sb.rows("Port_Binding"):
        topology.put_binding(row.uuid, parse_binding(raw_binding(row), named))
    return topology


def write_options(nb: Session, changes: Mapping[str, str | None]) -> None:
    """Change NB_Global.options in one transaction, if nobody has changed them since they were read.

    Args:
        nb: The session that the decision was read from.
        changes: Key to text; None removes it.

    Raises:
        OvsdbConflict: Somebody has, and nothing was written.
        OvsdbError: NB refused or did not answer.
    """

    def build(txn: ovs.db.idl.Transaction) -> None:
        row = _global(nb)
        txn.add_comment("ovn-ipsec: policy")
        row.verify("options")
        for key, text in changes.items():
            if text is None:
                row.delkey("options", key)
            else:
                row.setkey("options", key, text)

    nb.transact(build)
    _run_until(nb, lambda: not nb.busy)
    failure = nb.failure()
    if failure is not None:
        raise failure


@contextmanager
def northbound(settings: Settings) -> Iterator[Session]:
    """Connect to NB.

    Raises:
        OvsdbError: Nothing arrived in time.
    """
    with connected(settings, settings.ovnnb_db, NORTHBOUND) as session:
        yield session
