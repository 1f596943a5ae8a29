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
from .settings import (
    CENTRAL_IPV4,
    CREDENTIALS,
    NB_PORT,
    SB_NORTHD_PORT,
    SB_PORT,
    ClusterSettings,
)

NB_SOCKET = "/run/ovn/ovnnb_db.sock"
SB_SOCKET = "/run/ovn/ovnsb_db.sock"
PROBE_MS = 60_000
"""Inactivity probes: emulation can stall a daemon for longer than the default 5 s."""


class Central(Host):
    """The host on which the databases run."""

    def __init__(self, name: str, folder: Path, settings: ClusterSettings) -> None:
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
        remotes = [self._remote(SB_PORT, rbac=self._settings.rbac)]
        if self._by_tls:
            remotes.append(self._remote(SB_NORTHD_PORT))
        _open_to_network(self.sb, "SB_Global", *remotes)
        log = f"--log-file={self.logs}/ovn-northd.log"
        argv = ["ovn-northd", "--pidfile", log, *self._northd_options()]
        self.daemon("ovn-northd", argv).start(wait=False)

    def start_ipsec(self, *arguments: str, env: Mapping[str, str] | None = None) -> Daemon:
        """Start ``ovn-ipsec-northd`` (its ``Daemon`` is in ``daemons`` from then on)."""
        name = "ovn-ipsec-northd"
        log = f"--log-file={self.logs}/{name}.log"
        argv = python("-m", "northd_ext", *self._northd_options(), log, *arguments)
        daemon = self.daemon(name, argv, env=env)
        daemon.start()
        return daemon

    @property
    def _by_tls(self) -> bool:
        """Whether the northds reach the databases by TLS."""
        return self._settings.tls and not self._settings.northd_socket

    def _northd_options(self) -> tuple[str, ...]:
        """Return how a northd reaches both databases: by TLS where the cluster has it."""
        if not self._by_tls:
            return (f"--ovnnb-db=unix:{NB_SOCKET}", f"--ovnsb-db=unix:{SB_SOCKET}")
        nb, sb = (f"ssl:{CENTRAL_IPV4}:{port}" for port in (NB_PORT, SB_NORTHD_PORT))
        return (f"--ovnnb-db={nb}", f"--ovnsb-db={sb}", *tls_options())

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


def _open_to_network(database: Database, table: str, *remotes: Mapping[str, str]) -> None:
    names = [f"remote{number}" for number in range(len(remotes))]
    rows = [{**remote, "inactivity_probe": PROBE_MS} for remote in remotes]
    database.transact(
        *(
            {"op": "insert", "table": "Connection", "row": row, "uuid-name": name}
            for row, name in zip(rows, names, strict=True)
        ),
        {
            "op": "insert",
            "table": table,
            "row": {"connections": ["set", [["named-uuid", name] for name in names]]},
        },
    )
