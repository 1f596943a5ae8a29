# SPDX-License-Identifier: Apache-2.0
"""Edge: one-shot reads of an OVSDB database, by ovsdbapp; no thread, and always a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ovs.db.idl
from ovs.stream import Stream
from ovsdbapp import exceptions
from ovsdbapp.backend.ovs_idl import idlutils

from ..errors import OvsdbError
from .settings import Settings

Columns = Mapping[str, Iterable[str]]
Rows = list[dict[str, Any]]
PATIENCE_S = 5.0


def use_tls(settings: Settings) -> None:
    """Set key, certificate and CA for every ssl: remote of this process."""
    files = (settings.private_key, settings.certificate, settings.ca_cert)
    if all(files):
        Stream.ssl_set_private_key_file(settings.private_key)
        Stream.ssl_set_certificate_file(settings.certificate)
        Stream.ssl_set_ca_cert_file(settings.ca_cert)


class Reader:
    """Some columns of one database, open between `with`."""

    def __init__(self, remotes: str, schema: dict[str, Any], columns: Columns) -> None:
        """Store what to read.

        Args:
            remotes: Comma list of OVSDB remotes (ovsdb(7)).
            schema: One of ovn_ipsec.ovsdb.schemas.
            columns: Table to columns.
        """
        self.remotes = remotes
        self._columns = columns
        self._helper = ovs.db.idl.SchemaHelper(schema_json=schema)
        for table, names in columns.items():
            self._helper.register_columns(table, list(names))
        self._idl: Any = None

    def __enter__(self) -> Reader:
        """Connect and read.

        Raises:
            OvsdbError: Nothing arrived in time.
        """
        try:
            self._idl = ovs.db.idl.Idl(self.remotes, self._helper, leader_only=False)
            self._change(PATIENCE_S)
        except exceptions.TimeoutException:
            self.__exit__()
            raise OvsdbError(f"{self.remotes}: no answer within {PATIENCE_S:.0f} s") from None
        except ValueError as error:
            raise OvsdbError(f"{self.remotes}: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        if self._idl is not None:
            self._idl.close()
            self._idl = None

    def _change(self, seconds: float) -> None:
        idlutils.wait_for_change(self._idl, seconds)

    def rows(self, table: str) -> Rows:
        """Rows of a table, as column to value."""
        names = list(self._columns[table])
        found = self._idl.tables[table].rows.values()
        return [{name: getattr(row, name) for name in names} for row in found]

    def wait_until(self, done: Callable[[], bool], seconds: float | None) -> bool:
        """Wait for rows to be as wished.

        Args:
            done: Looks at rows().
            seconds: How long; None for ever.

        Returns:
            Whether they became so in time.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while not done():
            left = 3600.0 if end is None else end - time.monotonic()
            if left <= 0:
                return False
            try:
                self._change(left)
            except exceptions.TimeoutException:
                continue
        return True
