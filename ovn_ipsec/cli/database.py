# SPDX-License-Identifier: Apache-2.0
"""Edge: a database read once or waited for, always with a time limit, by commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import OvsdbError
from ..ovsdb.commands import Commands
from ..ovsdb.schemas import NORTHBOUND, part_of
from ..ovsdb.session import Row, Session
from ..ovsdb.streams import tls_files
from ..ovsdb.waiting import expect
from .settings import Settings

NB_GLOBAL = "NB_Global"
STATE = part_of(NORTHBOUND, {NB_GLOBAL: ("ipsec", "external_ids")})
"""What the state of the cluster is read from."""


@contextmanager
def connected(settings: Settings, remotes: str, schema: dict[str, Any]) -> Iterator[Commands]:
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
        yield Commands(session)
    finally:
        session.close()


def global_row(nb: Commands) -> Row:
    """The row of NB_Global.

    Raises:
        OvsdbError: There is none.
    """
    row = nb.first(NB_GLOBAL)
    if row is None:
        raise OvsdbError(f"{nb.session.remotes}: {NB_GLOBAL} is empty; start ovn-northd")
    return row
