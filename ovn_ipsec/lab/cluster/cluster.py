# SPDX-License-Identifier: Apache-2.0
"""A real OVN cluster on one kernel: central, chassis with IKE daemons, workloads, a witness.

Edge (the kernel, processes). Usage::

    with Cluster(ClusterSettings(chassis=3)) as cluster:
        cluster.start_ipsec()
        pinger = cluster.pinger("w1", "w2")
        cluster.nbctl("set", "NB_Global", ".", "ipsec=true")

It needs root and a kernel without gaps (``capabilities``), in a network, mount and process
namespace of its own or in a guest (``guest``): it names namespaces and a bridge as it likes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from .. import namespaces
from ..capabilities import load_modules
from ..errors import CommandError
from ..waiting import wait_until
from ..witness.traffic import Pinger
from ..witness.wire import Wire
from . import forks
from .central import Central
from .chassis import Chassis
from .host import PROJECT, python_env
from .jsonrpc import Database
from .pki import P256, RSA, Authority
from .settings import CENTRAL, CENTRAL_IPV4, CENTRAL_IPV6, ClusterSettings
from .workload import (
    Workload,
    host_lines,
    ip_batch,
    logical_words,
    workload_at,
    workload_lines,
)

SWITCH = "net"
"""The logical switch of the first workloads."""

Progress = Callable[[str], None]


class Cluster:
    """The cluster; a context manager that builds it and leaves nothing behind."""

    def __init__(
        self, settings: ClusterSettings | None = None, *, progress: Progress | None = None
    ) -> None:
        """Remember what to build.

        Args:
            settings: What it is to look like.
            progress: Told of each finished part, in words.
        """
        self.settings = settings or ClusterSettings()
        self.folder = Path(tempfile.gettempdir()) / f"ovn-ipsec-lab-{os.getpid()}"
        """Where all files of the laboratory are, a file system in memory."""
        self.authority = Authority(self.folder / "pki", key=RSA if self.settings.rsa else P256)
        """Signs the certificates of all hosts."""
        self.central = Central(CENTRAL, self.folder / CENTRAL, self.settings)
        """The host with the databases."""
        self.chassis = {
            name: Chassis(name, index, self.folder / name, self.settings)
            for index, name in enumerate(self.settings.names, 1)
        }
        """The chassis by name: ``h1``, ``h2`` and so on."""
        self.workloads: dict[str, Workload] = {}
        """The workloads by name: ``w1`` on ``h1`` and so on."""
        links = [f"u{index}" for index in range(1, self.settings.chassis + 1)]
        self.wire = Wire(links, self.settings.clear_ports)
        """The witness of the underlay."""
        self._progress = progress or (lambda _: None)
        self._started_at = time.monotonic()
        self._pingers: list[Pinger] = []

    def __enter__(self) -> Cluster:
        """Build it."""
        try:
            self.open()
        except BaseException:
            self.save_logs()
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all of it; keep the logs when something went wrong."""
        if kind is not None:
            self.save_logs()
        self.close()

    def open(self) -> None:
        """Build the cluster, until every logical port is up; call it from the main thread."""
        self._started_at = time.monotonic()
        load_modules()
        if forks.is_wanted():
            forks.LOADED.open(PROJECT, {**os.environ, **python_env()})
        self.folder.mkdir(exist_ok=True)
        namespaces.mount("lab", str(self.folder), "tmpfs")
        self._make_underlay()
        for host in (self.central, *self.chassis.values()):
            host.open()
        self.wire.open()
        self._say("hosts")
        with ThreadPoolExecutor(max_workers=5) as pool:
            self._start_all(pool)
        self.wait_ports_up()
        self._say("logical ports up")
        for one in self.chassis.values():
            if one.ovs.rows("Bridge", "name"):
                wait_until(lambda one=one: one.forwards, 60, f"upcalls taken on {one.name}")  # type: ignore[misc]
        if forks.is_wanted():
            forks.LOADED.wait()

    def close(self) -> None:
        """End every process of the laboratory and remove its namespaces."""
        for pinger in self._pingers:
            pinger.stop()
        self.wire.close()
        for host in (*self.chassis.values(), self.central):
            host.close()
        spaces = [*self.workloads, *self.chassis, CENTRAL]
        with contextlib.suppress(CommandError, OSError):
            # A namespace takes its links away later; the next cluster wants their names now.
            links = ["underlay", "uc", *(f"u{one.index}" for one in self.chassis.values())]
            lines = [f"link del {name}" for name in links] + [
                f"netns del {name}" for name in spaces
            ]
            ip_batch(lines, force=True)
        with contextlib.suppress(OSError):
            namespaces.unmount(str(self.folder))
            self.folder.rmdir()

    # --- our own programs ------------------------------------------------------------------

    def start_ipsec(
        self, chassis: Iterable[str] | None = None, *, northd: Sequence[str] = ()
    ) -> None:
        """Start ovn-ipsec-northd on central and ovn-ipsec-controller on the chassis.

        Args:
            chassis: Which; None means all.
            northd: More arguments of ovn-ipsec-northd.
        """
        names = list(self.chassis if chassis is None else chassis)
        with ThreadPoolExecutor(max_workers=4) as pool:
            jobs = [pool.submit(self.central.start_ipsec, *northd)]
            jobs += [pool.submit(self.chassis[name].start_ipsec) for name in names]
            for job in jobs:
                job.result()
        self._say("ovn-ipsec-northd and ovn-ipsec-controller")

    # --- databases -------------------------------------------------------------------------

    @property
    def nb(self) -> Database:
        """The northbound database, asked without forking."""
        return self.central.nb

    @property
    def sb(self) -> Database:
        """The southbound database, asked without forking."""
        return self.central.sb

    def nbctl(self, *arguments: str) -> str:
        """Run ovn-nbctl on central and return what it printed."""
        return self.central.run(["ovn-nbctl", *arguments]).stdout

    def sbctl(self, *arguments: str) -> str:
        """Run ovn-sbctl on central and return what it printed."""
        return self.central.run(["ovn-sbctl", *arguments]).stdout

    def wait_ports_up(self, timeout: float = 120.0) -> None:
        """Wait until every workload's logical port is up.

        Raises:
            LabError: One is not.
        """
        running = {name for name, one in self.chassis.items() if one.settings.ovn_controller}
        awaited = {one.name for one in self.workloads.values() if one.chassis in running}

        def all_up() -> bool:
            rows = self.sb.rows("Port_Binding", "logical_port", "up")
            return awaited <= {row["logical_port"] for row in rows if row["up"] is True}

        wait_until(all_up, timeout, f"logical ports {sorted(awaited)} up")

    # --- workloads and their traffic -------------------------------------------------------

    def add_workload(self, name: str, chassis: str, number: int, switch: str = SWITCH) -> Workload:
        """Make a logical port and what is behind it; does not wait until it is up.

        Args:
            name: Its name, at most 15 characters.
            chassis: Where it runs.
            number: 1 to 254, the last part of its addresses; unique in the switch.
            switch: The logical switch, made when it is not there.
        """
        workload = workload_at(name, chassis, number)
        self.nbctl(*logical_words(switch, [workload]))
        self._attach(workload)
        self.workloads[name] = workload
        return workload

    def pinger(self, source: str, target: str, *, rate: float = 20.0, six: bool = False) -> Pinger:
        """Start pinging from one workload to another; ``close`` stops it at the latest."""
        there = self.workloads[target]
        address = there.ipv6 if six else there.ip
        pinger = Pinger(self.workloads[source].network, address, rate=rate)
        pinger.start()
        self._pingers.append(pinger)
        return pinger

    @contextlib.contextmanager
    def pinging(self, source: str, target: str, *, rate: float = 20.0) -> Iterator[Pinger]:
        """Ping for the length of a block."""
        pinger = self.pinger(source, target, rate=rate)
        try:
            yield pinger
        finally:
            pinger.stop()

    # --- after a failure -------------------------------------------------------------------

    def save_logs(self, folder: Path | None = None) -> Path | None:
        """Copy every log, and what the kernel says of ESP, to where artefacts are collected.

        Args:
            folder: Where to; None means ``$OVN_IPSEC_LAB_ARTEFACTS``, and nothing without it.
        """
        text = os.environ.get("OVN_IPSEC_LAB_ARTEFACTS")
        target = folder or (Path(text) if text else None)
        if target is None:
            return None
        for host in (self.central, *self.chassis.values()):
            if not host.logs.is_dir():
                continue
            shutil.copytree(host.logs, target / host.name, dirs_exist_ok=True)
            script = "ip -s xfrm policy; ip -s xfrm state; nft list ruleset"
            with contextlib.suppress(Exception):
                done = host.run(["sh", "-c", script], check=False, timeout=30)
                # Keys of a throw-away laboratory are no secret, but habits are.
                lines = [
                    line for line in done.stdout.splitlines() if "0x" not in line or "spi" in line
                ]
                (target / host.name / "kernel.txt").write_text("\n".join(lines))
        return target

    # --- building --------------------------------------------------------------------------

    def _start_all(self, pool: ThreadPoolExecutor) -> None:
        authority = pool.submit(self._certify_central)

        def certify() -> None:
            authority.result()
            self._certify_chassis()

        def central() -> None:
            if self.settings.tls:
                authority.result()
            self.central.start()
            self._say("central")

        def chassis(one: Chassis) -> None:
            one.start_switch()
            if self.settings.tls:
                certificates.result()
            one.start_ovn()
            self._say(f"{one.name}: Open vSwitch")

        def ike(one: Chassis) -> None:
            one.start_ike()
            self._say(f"{one.name}: IKE daemon")

        certificates = pool.submit(certify)
        first = pool.submit(central)
        jobs = [pool.submit(chassis, one) for one in self.chassis.values()]
        jobs += [pool.submit(ike, one) for one in self.chassis.values() if one.settings.ike]
        first.result()
        self._make_workloads(pool)
        for job in (certificates, *jobs):
            job.result()

    def _certify_central(self) -> None:
        self.authority.open()
        self.authority.issue(CENTRAL)
        if self.settings.tls:
            self._place_central()

    def _certify_chassis(self) -> None:
        for one in self.chassis.values():
            one.place(self.authority.issue(one.name))
        self._say("certificates")

    def _place_central(self) -> None:
        folder = "/etc/ovn-ipsec/tls"
        own = self.authority.folder
        self.central.write(f"{folder}/cert.pem", (own / f"{CENTRAL}.crt").read_text())
        self.central.write(f"{folder}/key.pem", (own / f"{CENTRAL}.key").read_text(), 0o600)
        self.central.write(f"{folder}/ca.pem", self.authority.certificate)

    def _make_underlay(self) -> None:
        lines = ["link add underlay type bridge", "link set underlay up", f"netns add {CENTRAL}"]
        lines += [f"netns add {name}" for name in self.chassis]
        ends = [("uc", CENTRAL), *((f"u{one.index}", one.name) for one in self.chassis.values())]
        for outer, name in ends:
            lines.append(f"link add {outer} type veth peer name eth0 netns {name}")
            lines.append(f"link set {outer} master underlay up")
        ip_batch(lines)
        ip_batch(host_lines([CENTRAL_IPV4], [CENTRAL_IPV6]), CENTRAL)
        for one in self.chassis.values():
            fours = [f"10.9.0.{one.index}", f"10.9.1.{one.index}"]
            sixes = [f"fd09::{one.index:x}", f"fd09:0:0:1::{one.index:x}"]
            ip_batch(host_lines(fours, sixes), one.name)

    def _make_workloads(self, pool: ThreadPoolExecutor) -> None:
        made = [
            workload_at(f"w{one.index}", one.name, one.index)
            for one in self.chassis.values()
            if one.settings.workloads
        ]
        self.nbctl(*logical_words(SWITCH, made))
        list(pool.map(self._attach, made))
        self.workloads.update({one.name: one for one in made})
        self._say("workloads")

    def _attach(self, workload: Workload) -> None:
        chassis, name = self.chassis[workload.chassis], workload.name
        wait_until(lambda: chassis.ovs.rows("Open_vSwitch", "external_ids"), 60, "local database")
        wait_until(lambda: self._has_bridge(chassis), 60, f"br-int on {chassis.name}")
        port = ["--may-exist", "add-port", "br-int", name]
        kind = ["set", "Interface", name, "type=internal", f"external_ids:iface-id={name}"]
        chassis.run(["ovs-vsctl", *port, "--", *kind])
        ip_batch([f"netns add {name}"])
        ip_batch([f"link set {name} netns {name}"], chassis.name)
        ip_batch(workload_lines(workload), name)

    def _has_bridge(self, chassis: Chassis) -> bool:
        if not chassis.settings.ovn_controller and not chassis.ovs.rows("Bridge", "name"):
            chassis.run(["ovs-vsctl", "--may-exist", "add-br", "br-int"])
        return any(row["name"] == "br-int" for row in chassis.ovs.rows("Bridge", "name"))

    def _say(self, what: str) -> None:
        self._progress(f"{time.monotonic() - self._started_at:5.1f} s  {what}")
