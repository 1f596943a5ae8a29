# SPDX-License-Identifier: Apache-2.0
"""Ask a database server or a daemon's control socket: both speak the JSON-RPC of OVS.

Edge (unix sockets). Forking ``ovs-appctl`` or ``ovn-sbctl`` costs a third of a second in the
guest; this costs a millisecond, so the tests can poll.

Source: RFC 7047 sections 4.1.3 and 5; ovs lib/unixctl.c.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import LabError
from ..waiting import stretched


def call(path: Path, method: str, params: Sequence[object], *, timeout: float = 20.0) -> Any:
    """Make one call on a connection of its own and return its result.

    Raises:
        OSError: Nobody listens there, or no answer in time.
        LabError: The other end answered with an error.
    """
    request = json.dumps({"method": method, "params": list(params), "id": 0})
    decoder = json.JSONDecoder()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(stretched(timeout))
        stream.connect(str(path))
        stream.sendall(request.encode())
        received = ""
        while True:
            chunk = stream.recv(1 << 16)
            if not chunk:
                raise LabError(f"{path.name}: {method}: connection closed")
            received += chunk.decode(errors="surrogateescape")
            try:
                message, end = decoder.raw_decode(received.lstrip())
            except ValueError:
                continue
            if message.get("id") == 0 and "result" in message and "method" not in message:
                break
            received = received.lstrip()[end:]
    if message.get("error") is not None:
        raise LabError(f"{path.name}: {method}: {message['error']}")
    return message["result"]


def answers(path: Path) -> bool:
    """Tell whether somebody accepts connections on a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(stretched(5))
        try:
            stream.connect(str(path))
        except OSError:
            return False
    return True


class Database:
    """One OVSDB database, by its server's unix socket."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name

    def transact(self, *operations: Mapping[str, object]) -> list[dict[str, Any]]:
        """Run operations (RFC 7047 section 5.2) in one transaction.

        Raises:
            LabError: Any of them failed.
        """
        results: list[dict[str, Any]] = call(self.path, "transact", [self.name, *operations])
        for result in results:
            if result and result.get("error"):
                raise LabError(f"{self.name}: {result}")
        return results

    def rows(self, table: str, *columns: str, where: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Return the chosen columns of the rows that match, with maps and sets as Python's.

        Args:
            table: The table.
            columns: The columns; none means all.
            where: Conditions, such as ``[["name", "==", "h1"]]``.
        """
        operation: dict[str, object] = {"op": "select", "table": table, "where": list(where)}
        if columns:
            operation["columns"] = list(columns)
        (result,) = self.transact(operation)
        return [{key: _plain(value) for key, value in row.items()} for row in result["rows"]]

    def row(self, table: str, *columns: str, where: Sequence[object] = ()) -> dict[str, Any]:
        """Return the one row that matches.

        Raises:
            LabError: There is none, or more than one.
        """
        rows = self.rows(table, *columns, where=where)
        if len(rows) != 1:
            raise LabError(f"{self.name}: {table} {where}: {len(rows)} rows")
        return rows[0]


def _plain(value: Any) -> Any:
    match value:
        case ["map", pairs]:
            return {_plain(key): _plain(item) for key, item in pairs}
        case ["set", items]:
            return [_plain(item) for item in items]
        case ["uuid" | "named-uuid", text]:
            return text
        case _:
            return value
