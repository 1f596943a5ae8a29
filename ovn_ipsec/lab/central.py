# SPDX-License-Identifier: Apache-2.0
"""The central host: the NB and SB databases, ovn-northd, and room for our own northd.

Edge (processes).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .host import Host, python
from .jsonrpc import Database
from .process import Daemon
from .settings import CREDENTIALS, NB_PORT, SB_PORT, ClusterSettings

NB_SOCKET = "/run/ovn/ovnnb_db.sock"
SB_SOCKET = "/run/ovn/ovnsb_db.sock"
PROBE_MS = 60_000
"""Inactivity probes: emulation can stall a daemon for longer than the default 5 s."""


class Central(Host):
    """The host on which the databases run."""

    def __init__(self, name: str, folder: Path, settings: ClusterSettings) -> None:
        """Remember the settings; nothing runs yet."""
        super().__init__(name, folder)
        self._settings = settings

    @property
    def nb(self) -> Database:
        """The northbound database."""
        return Database(self.path(NB_SOCKET), "OVN_Northbound")

    @property
    def sb(self) -> Database:
        """The southbound database."""
        return Database(self.path(SB_SOCKET), "OVN_Southbound")

    def start(self) -> None:
        """Start the databases and ovn-northd."""
        self._database("nb", NB_SOCKET)
        self._database("sb", SB_SOCKET)
        _open_to_network(self.nb, "NB_Global", self._remote(NB_PORT))
        _open_to_network(self.sb, "SB_Global", self._remote(SB_PORT, rbac=self._settings.rbac))
        remotes = (f"--ovnnb-db=unix:{NB_SOCKET}", f"--ovnsb-db=unix:{SB_SOCKET}")
        log = f"--log-file={self.logs}/ovn-northd.log"
        self.daemon("ovn-northd", ["ovn-northd", "--pidfile", log, *remotes]).start(wait=False)

    def start_ipsec(self, *arguments: str, env: Mapping[str, str] | None = None) -> Daemon:
        """Start ``ovn-ipsec-northd`` (its ``Daemon`` is in ``daemons`` from then on)."""
        name = "ovn-ipsec-northd"
        remotes = (f"--ovnnb-db=unix:{NB_SOCKET}", f"--ovnsb-db=unix:{SB_SOCKET}")
        log = f"--log-file={self.logs}/{name}.log"
        argv = python("-m", "northd_ext", *remotes, log, *arguments)
        daemon = self.daemon(name, argv, env=env)
        daemon.start()
        return daemon

    def _remote(self, port: int, *, rbac: bool = False) -> dict[str, str]:
        scheme = "pssl" if self._settings.tls else "ptcp"
        target = {"target": f"{scheme}:{port}:[::]"}
        return {**target, "role": "ovn-controller"} if rbac else target

    def _database(self, kind: str, socket: str) -> None:
        file = self.folder / f"{kind}.db"
        self.run(["ovsdb-tool", "create", str(file), f"/usr/share/ovn/ovn-{kind}.ovsschema"])
        name = "OVN_Northbound" if kind == "nb" else "OVN_Southbound"
        table = "NB_Global" if kind == "nb" else "SB_Global"
        argv = [
            *("ovsdb-server", f"--remote=punix:{socket}"),
            f"--remote=db:{name},{table},connections",
            f"--log-file={self.logs}/ovsdb-{kind}.log",
            f"--unixctl=/run/ovn/ovn{kind}_db.ctl",
            f"--pidfile=/run/ovn/ovn{kind}_db.pid",
            *(tls_options() if self._settings.tls else ()),
            str(file),
        ]
        self.daemon(f"ovsdb-{kind}", argv, socket=socket).start()


def tls_options() -> tuple[str, ...]:
    """Return the options by which every OVS and OVN program finds its host's credentials."""
    return (
        f"--private-key={CREDENTIALS}/key.pem",
        f"--certificate={CREDENTIALS}/cert.pem",
        f"--ca-cert={CREDENTIALS}/ca.pem",
    )


def _open_to_network(database: Database, table: str, remote: Mapping[str, str]) -> None:
    database.transact(
        {
            "op": "insert",
            "table": "Connection",
            "row": {**remote, "inactivity_probe": PROBE_MS},
            "uuid-name": "remote",
        },
        {"op": "insert", "table": table, "row": {"connections": ["named-uuid", "remote"]}},
    )
