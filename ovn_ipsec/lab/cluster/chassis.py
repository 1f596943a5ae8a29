# SPDX-License-Identifier: Apache-2.0
"""One chassis: Open vSwitch, ovn-controller, the IKE daemon, and room for our own controller.

Edge (processes).
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from . import libreswan, unpacked, upcalls
from .central import PROBE_MS, tls_options
from .host import Host, python
from .jsonrpc import Database
from .pki import Credentials
from .process import Daemon
from .settings import (
    CENTRAL_IPV4,
    CREDENTIALS,
    SB_PORT,
    STARTER_CONF,
    STRONGSWAN_CONF,
    STRONGSWAN_LOG,
    ClusterSettings,
    encap_ips,
)

DB_SOCKET = "/run/openvswitch/db.sock"
VICI_SOCKET = "/run/charon.vici"
VSWITCHD = "ovs-vswitchd"
CONTROLLER = "ovn-ipsec-controller"
MONITOR = "ovs-monitor-ipsec"
"""What our controller replaces."""
_MONITOR_PATH = f"/usr/share/openvswitch/scripts/{MONITOR}"
_STOCK_IKE = ("/run/starter.charon.pid", "/run/charon.pid")
"""The starter first: it starts charon again when that dies."""


class Chassis(Host):
    """A host that carries workloads."""

    def __init__(self, name: str, index: int, folder: Path, settings: ClusterSettings) -> None:
        super().__init__(name, folder)
        self.index = index
        """From 1; the last part of its addresses."""
        self.settings = settings.of(name)
        """Its own settings."""
        self.encap_ips = encap_ips(index, self.settings)
        """Its tunnel addresses, the first one first."""
        self._cluster = settings

    @property
    def ovs(self) -> Database:
        """Its local Open_vSwitch database."""
        return Database(self.path(DB_SOCKET), "Open_vSwitch")

    @property
    def tunnels(self) -> list[dict[str, object]]:
        """The tunnel ports that exist: ``name``, ``type``, ``options``, ``external_ids``."""
        columns = ("name", "type", "options", "external_ids")
        kinds = ("geneve", "vxlan")
        return [row for row in self.ovs.rows("Interface", *columns) if row["type"] in kinds]

    @property
    def forwards(self) -> bool:
        """Whether its ovs-vswitchd takes upcalls: without that no first packet ever gets through.

        Raises:
            LabError: It does not run.
        """
        log = (self.logs / f"{VSWITCHD}.log").read_text(errors="replace")
        return not upcalls.began_too_early(log) and upcalls.handlers(self.daemons[VSWITCHD].pid) > 0

    def start(self) -> None:
        """Start Open vSwitch, and ovn-controller where the settings say so."""
        self.start_switch()
        self.start_ovn()

    def start_switch(self) -> None:
        """Start Open vSwitch."""
        file = self.folder / "conf.db"
        schema = "/usr/share/openvswitch/vswitch.ovsschema"
        self.run(["ovsdb-tool", "create", str(file), schema])
        argv = [
            *("ovsdb-server", f"--remote=punix:{DB_SOCKET}", "--pidfile"),
            f"--log-file={self.logs}/ovsdb-server.log",
            str(file),
        ]
        self.daemon("ovsdb-server", argv, socket=DB_SOCKET).start()
        self.ovs.transact({"op": "insert", "table": "Open_vSwitch", "row": self._open_vswitch()})
        argv = [VSWITCHD, "--pidfile", f"--log-file={self.logs}/{VSWITCHD}.log"]
        daemon = self.daemon(VSWITCHD, argv)
        upcalls.wait_until_counted()
        daemon.start(wait=False)

    def start_ovn(self) -> None:
        """Start ovn-controller, where the settings say so; it needs its credentials under TLS."""
        name = "ovn-controller"
        tls = tls_options() if self._cluster.tls else ()
        log = f"--log-file={self.logs}/{name}.log"
        daemon = self.daemon(name, [name, "--pidfile", log, *tls])
        if self.settings.ovn_controller:
            daemon.start(wait=False)

    def _mount_own(self) -> None:
        super()._mount_own()
        for name in filter(None, (self.settings.strongswan, self.settings.libreswan)):
            unpacked.mount(name, self.folder / name, self.logs)

    def start_ike(self) -> Daemon:
        """Start the IKE daemon."""
        daemon = self.pluto() if self.settings.libreswan else self.charon()
        daemon.start()
        return daemon

    def pluto(self) -> Daemon:
        """Prepare Libreswan; its log is ``pluto.log``."""
        self.write("/etc/ipsec.conf", libreswan.CONF)
        self.write("/etc/ipsec.secrets", libreswan.SECRETS, 0o600)
        for folder in ("/etc/ipsec.d", libreswan.NSS, "/run/pluto"):
            self.path(folder).mkdir(parents=True, exist_ok=True)
        self.run(["certutil", "-N", "-d", f"sql:{libreswan.NSS}", "--empty-password"])
        argv = libreswan.arguments(self.logs / "pluto.log")
        return self.daemon("pluto", argv, socket=libreswan.CONTROL_SOCKET)

    def charon(self) -> Daemon:
        """Prepare charon-systemd; its log is ``charon.log``."""
        conf = self._cluster.strongswan_conf or STRONGSWAN_CONF
        log = STRONGSWAN_LOG.format(path=self.logs / "charon.log")
        self.write("/etc/strongswan.d/ovn-ipsec.conf", conf)
        self.write("/etc/strongswan.d/zz-lab.conf", log)
        return self.daemon("charon", ["charon-systemd"], socket=VICI_SOCKET)

    def start_ipsec(self, *arguments: str, env: Mapping[str, str] | None = None) -> Daemon:
        """Start ``ovn-ipsec-controller`` (its ``Daemon`` is in ``daemons`` from then on)."""
        # Pidfile and control socket stay where ovs-appctl -t looks for them.
        log = f"--log-file={self.logs}/{CONTROLLER}.log"
        tls = tls_options() if self._cluster.tls else ()
        argv = python("-m", "controller", log, *tls, *arguments)
        daemon = self.daemon(CONTROLLER, argv, env=env)
        daemon.start()
        return daemon

    def start_stock_ipsec(self) -> Daemon:
        """Start the real ovs-monitor-ipsec, which starts starter and charon by itself.

        As openvswitch-ipsec.service does it. charon's log is ``charon.log``.
        """
        options = ["--pidfile", f"--log-file={self.logs}/{MONITOR}.log", "--ike-daemon=strongswan"]
        log = STARTER_CONF.format(path=self.logs / "charon.log")
        self.write("/etc/strongswan.d/zz-lab.conf", log)
        # starter ignores the CA section that ovs-monitor-ipsec writes: it lacks auto=add.
        self.write("/etc/ipsec.d/cacerts/lab.pem", self.read(f"{CREDENTIALS}/ca.pem"))
        # The system's interpreter, which has the ovs module of the same package.
        argv = ["/usr/bin/python3", _MONITOR_PATH, *options, f"unix:{DB_SOCKET}"]
        daemon = self.daemon(MONITOR, argv)
        daemon.start()
        return daemon

    def kill_stock_ipsec(self) -> None:
        """Kill starter, charon and ovs-monitor-ipsec; what they put into the kernel stays."""
        for file in map(self.path, _STOCK_IKE):
            with contextlib.suppress(OSError):
                os.kill(int(file.read_text()), signal.SIGKILL)
                file.unlink()
        monitor = self.daemons.pop(MONITOR, None)
        if monitor is not None:
            monitor.kill()

    def close(self) -> None:
        """End the daemons and then the host."""
        if self.holder:
            self.kill_stock_ipsec()
        super().close()

    def place(self, credentials: Credentials, folder: str = CREDENTIALS) -> None:
        """Write credentials on this host; ``configure_credentials`` makes OVS know them."""
        self.write(f"{folder}/cert.pem", credentials.certificate)
        self.write(f"{folder}/key.pem", credentials.private_key, 0o600)
        self.write(f"{folder}/ca.pem", credentials.ca)

    def configure_credentials(self, folder: str = CREDENTIALS) -> None:
        """Name the files in ``Open_vSwitch.other_config``, as an operator does."""
        settings = [f"other_config:{key}={value}" for key, value in credential_paths(folder)]
        self.run(["ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", *settings])

    def external_ids(self, **values: str) -> None:
        """Set keys of ``Open_vSwitch.external_ids``; underscores in names become dashes."""
        settings = [f"external_ids:{k.replace('_', '-')}={v}" for k, v in values.items()]
        self.run(["ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", *settings])

    def _open_vswitch(self) -> dict[str, object]:
        scheme = "ssl" if self._cluster.tls else "tcp"
        external_ids = {
            "system-id": self.name,
            "ovn-remote": f"{scheme}:{CENTRAL_IPV4}:{SB_PORT}",
            "ovn-encap-type": self.settings.encap_type,
            "ovn-encap-ip": ",".join(self.encap_ips),
            "ovn-remote-probe-interval": str(PROBE_MS),
            "ovn-openflow-probe-interval": str(PROBE_MS // 1000),
            **self.settings.external_ids,
        }
        other_config = {
            "n-handler-threads": "1",
            "n-revalidator-threads": "1",
            **({} if self._cluster.enrol else dict(credential_paths(CREDENTIALS))),
            **({"ovn-ipsec-ike": "libreswan"} if self.settings.libreswan else {}),
            **self.settings.other_config,
        }
        return {
            "external_ids": ["map", [list(pair) for pair in external_ids.items()]],
            "other_config": ["map", [list(pair) for pair in other_config.items()]],
        }


def credential_paths(folder: str) -> tuple[tuple[str, str], ...]:
    """Return the keys of ``Open_vSwitch.other_config`` with the files that they name."""
    return (
        ("certificate", f"{folder}/cert.pem"),
        ("private_key", f"{folder}/key.pem"),
        ("ca_cert", f"{folder}/ca.pem"),
    )
