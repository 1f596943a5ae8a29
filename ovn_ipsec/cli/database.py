# SPDX-License-Identifier: Apache-2.0
"""Edge: how commands read a database once, or wait for it, always with a timeout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import OvsdbError
from ..ovsdb.commands import Commands
from ..ovsdb.schemas import NORTHBOUND, part_of
from ..ovsdb.session import Row, Session
from ..ovsdb.streams import tls_files
from ..ovsdb.waiting import expect
from ..schema.fields import Place
from ..schema.remotes import parse_remotes
from .settings import Settings

NB_GLOBAL = "NB_Global"
STATE = part_of(NORTHBOUND, {NB_GLOBAL: ("ipsec", "external_ids")})
"""What the state of the cluster is read from."""
Only = dict[str, list[list[str]]]


NAMED_BY = {
    "OVN_Northbound": ("northbound", "--ovnnb-db", "OVN_NB_DB", 6641),
    "OVN_Southbound": ("southbound", "--ovnsb-db", "OVN_SB_DB", 6642),
}
"""What databases are called, and how a command is told where they are."""


class NoDatabase(OvsdbError):  # noqa: N818 - says what is missing
    """There is no socket of a database on this host, or it may not be used."""

    def __init__(self, problem: str, next_step: str) -> None:
        """Store what is missing, and what to do about it."""
        super().__init__(problem)
        self.next_step = next_step


@contextmanager
def connected(
    settings: Settings,
    remotes: str,
    schema: dict[str, Any],
    *,
    patient: bool = False,
    only: Only | None = None,
) -> Iterator[Commands]:
    """Connect and read everything in the schema; disconnect at the end.

    Args:
        settings: What to authenticate with where remotes are ssl:.
        remotes: Comma list of OVSDB remotes (ovsdb(7)).
        schema: One of ovn_ipsec.ovsdb.schemas, or part of one.
        patient: Whether a socket that is not there may still come.
        only: Conditions on the rows of tables (ovsdb(7)); None: all rows.

    Raises:
        NoDatabase: Its socket is not there, or may not be used.
        OvsdbError: Nothing arrived in time, or nothing can with what was given; it says why.
    """
    tls = tls_files(settings.private_key, settings.certificate, settings.ca_cert)
    session = Session(remotes, schema, tls=tls, only=only)
    if session.refusal:
        raise OvsdbError(session.refusal)
    if not patient:
        _expect_socket(remotes, schema["name"])
    try:
        session.open()
        try:
            expect(session, lambda: session.loaded)
        except OvsdbError:
            _expect_socket(remotes, schema["name"])
            raise
        yield Commands(session)
    finally:
        session.close()


def _expect_socket(remotes: str, name: str) -> None:
    """Look whether the only remote is a socket that can be used.

    Raises:
        NoDatabase: It is one, and cannot.
    """
    found = parse_remotes(Place(table="remotes", row=name, key=""), remotes).usable
    if len(found) != 1 or found[0].method != "unix" or name not in NAMED_BY:
        return
    what, flag, variable, port = NAMED_BY[name]
    path = Path(found[0].host)
    try:
        path.stat()
    except PermissionError:
        problem, step = f"{path}: permission denied", "run this as root"
    except FileNotFoundError:
        problem = f"there is no {path}: the {what} database does not run on this host"
        step = f"run this where it does, or say where: {flag} ssl:ADDRESS:{port} (or ${variable})"
    except OSError:
        return
    else:
        if os.access(path, os.W_OK):
            return
        problem, step = f"{path}: permission denied", "run this as root"
    raise NoDatabase(problem, step)


def global_row(nb: Commands) -> Row:
    """The row of NB_Global.

    Raises:
        OvsdbError: There is none.
    """
    row = nb.first(NB_GLOBAL)
    if row is None:
        raise OvsdbError(f"{nb.session.remotes}: {NB_GLOBAL} is empty; start ovn-northd")
    return row
