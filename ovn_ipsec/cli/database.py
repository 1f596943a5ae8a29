# SPDX-License-Identifier: Apache-2.0
"""Edge: a database read once or waited for, always with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ovs.poller

from ..errors import OvsdbError
from ..ovsdb.schemas import NORTHBOUND, part_of
from ..ovsdb.session import Row, Session
from ..ovsdb.streams import tls_files
from .settings import Settings

PATIENCE_S = 5.0
NB_GLOBAL = "NB_Global"
STATE = part_of(NORTHBOUND, {NB_GLOBAL: ("ipsec", "external_ids")})
"""What the state of the cluster is read from."""


@contextmanager
def connected(settings: Settings, remotes: str, schema: dict[str, Any]) -> Iterator[Session]:
    """Connect and read everything in the schema; disconnect at the end.

    Args:
        settings: What to authenticate with where remotes are ssl:.
        remotes: Comma list of OVSDB remotes (ovsdb(7)).
        schema: One of ovn_ipsec.ovsdb.schemas, or part of one.

    Raises:
        OvsdbError: Nothing arrived in time, or nothing can with what was given; it says why.
    """
    tls = tls_files(settings.private_key, settings.certificate, settings.ca_cert)
    session = Session(remotes, schema, tls=tls)
    if session.refusal:
        raise OvsdbError(session.refusal)
    try:
        session.open()
        expect(session, lambda: session.loaded)
        yield session
    finally:
        session.close()


def global_row(nb: Session) -> Row:
    """The row of NB_Global.

    Raises:
        OvsdbError: There is none.
    """
    row = nb.first(NB_GLOBAL)
    if row is None:
        raise OvsdbError(f"{nb.remotes}: {NB_GLOBAL} is empty; start ovn-northd")
    return row


def expect(session: Session, done: Callable[[], bool]) -> None:
    """Wait for what a database does at once.

    Raises:
        OvsdbError: It did not in time.
    """
    if not wait_until(session, done, PATIENCE_S):
        told = f"no answer within {PATIENCE_S:.0f} s"
        problem = session.problem
        raise OvsdbError(f"{told}: {problem}" if problem else f"{session.remotes}: {told}")


def wait_until(session: Session, done: Callable[[], bool], seconds: float | None) -> bool:
    """Wait for rows to be as wished.

    Args:
        session: Open.
        done: Looks at them.
        seconds: How long; None for ever.

    Returns:
        Whether they became so in time.
    """
    end = None if seconds is None else time.monotonic() + seconds
    session.run()
    while not done():
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            return False
        poller = ovs.poller.Poller()
        session.wait(poller)
        if left is not None:
            poller.timer_wait(int(left * 1000) + 1)
        poller.block()
        session.run()
        session.changes()
    return True
