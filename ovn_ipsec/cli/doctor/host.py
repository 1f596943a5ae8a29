# SPDX-License-Identifier: Apache-2.0
"""Edge: what can be seen of this host without its controller: addresses, ovs-vswitchd, rows."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from ...errors import EdgeError, OvsdbError
from ...model.chassis import IpAddress
from ...model.mtu import Interface
from ...paths import path_mtus
from ...schema.open_vswitch import LocalChassis, parse_local
from ..machine import links
from ..machine.values import Egress
from ..settings import Settings
from ..view import Southbound, parse_southbound
from .hostcheck import HANDLER, REVALIDATOR, Ends, Host, holds_back
from .mtucheck import own_pairs

_LACKS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""No such address here; no such version of IP."""
_LOCAL_TABLE, _LOCAL = 255, 2
"""RT_TABLE_LOCAL, RTN_LOCAL."""


def look(settings: Settings, name: str | None, *, rundir: Path, ovs_db: str | None) -> Host:
    """Look at everything; what cannot be seen is said to be unseen.

    Args:
        settings: What to authenticate with, where the command line says so.
        name: Of this chassis; None: it has none.
        rundir: Where the programs of Open vSwitch have their sockets and pidfiles.
        ovs_db: The local database; None: that in `rundir`.
    """
    unseen: dict[str, str] = {}
    threads, started_s, local, southbound, held_back = None, None, None, None, False
    try:
        pid = vswitchd_pid(rundir)
        threads, started_s = threads_of(pid), started_after_s(pid)
    except OSError as error:
        unseen["ovs-vswitchd"] = cause(error)
    try:
        found, config, tls = read_local(settings, ovs_db or f"unix:{rundir}/db.sock")
        local, held_back = parse_local(found, config, name), holds_back(found, config)
        southbound = _southbound(tls, local.remote)
    except EdgeError as error:
        unseen["Chassis row"] = error.diagnostics()
    except OSError as error:
        unseen["Chassis row"] = cause(error)
    name = local.name if name is None and local is not None else name
    wanted = local.encap_ips if local is not None else frozenset()
    ours = None if southbound is None or name is None else southbound.chassis.get(name)
    paths = {} if southbound is None or name is None else path_mtus(_ends(name, southbound))
    mine = frozenset(() if ours is None else (i.encap.ip for i in ours.chassis.encaps))
    return Host(
        local=local,
        wanted=wanted,
        absent=absent(wanted | mine),
        threads=threads,
        started_s=started_s,
        held_back=held_back,
        southbound=southbound,
        interfaces=_workloads(settings, ovs_db or f"unix:{rundir}/db.sock", local, unseen),
        paths=paths,
        egress=_egress(paths, unseen),
        unseen=unseen,
    )


def cause(error: OSError) -> str:
    """Say what the system refused, without numbers."""
    said = error.strerror or type(error).__name__
    return f"{error.filename}: {said}" if error.filename else said


def read_local(settings: Settings, ovs_db: str) -> tuple[dict[str, str], dict[str, str], Settings]:
    """Read the local database.

    Returns:
        external_ids and other_config of Open_vSwitch, and the settings with the files of its SSL
        row, where the command line names none.

    Raises:
        OvsdbError: It does not answer, or is empty.
    """
    from ...ovsdb.schemas import VSWITCH, part_of  # noqa: PLC0415 - --help stays quick
    from ..database import connected  # noqa: PLC0415

    columns = {
        "Open_vSwitch": ("external_ids", "other_config", "ssl"),
        "SSL": ("private_key", "certificate", "ca_cert"),
    }
    with connected(settings, ovs_db, part_of(VSWITCH, columns)) as local:
        row = local.first("Open_vSwitch")
        if row is None:
            raise OvsdbError(f"{ovs_db}: Open_vSwitch is empty")
        for ssl in () if settings.private_key else row.ssl:
            settings = replace(
                settings,
                private_key=ssl.private_key,
                certificate=ssl.certificate,
                ca_cert=ssl.ca_cert,
            )
        return dict(row.external_ids), dict(row.other_config), settings


def _southbound(settings: Settings, remote: str) -> Southbound:
    from ...ovsdb.schemas import SOUTHBOUND  # noqa: PLC0415 - --help stays quick
    from ..database import connected  # noqa: PLC0415
    from ..gather import southbound  # noqa: PLC0415

    if not remote:
        raise OvsdbError("external_ids:ovn-remote is not set in Open_vSwitch")
    with connected(settings, remote, SOUTHBOUND) as sb:
        return parse_southbound(southbound(sb))


def _ends(name: str, southbound: Southbound) -> Iterator[Ends]:
    for ours, theirs in own_pairs(name, southbound):
        yield ours.encap.encap.ip, theirs.encap.encap.ip


def _egress(paths: Mapping[Ends, int], unseen: dict[str, str]) -> dict[Ends, Egress]:
    """The link of the narrowest path."""
    try:
        return links.egress(sorted(paths, key=lambda ends: paths[ends])[:1])
    except OSError as error:
        unseen["link"] = cause(error)
        return {}


def _workloads(
    settings: Settings, ovs_db: str, local: LocalChassis | None, unseen: dict[str, str]
) -> tuple[Interface, ...]:
    """The interfaces of workloads, where the local database could be read before."""
    from ...ovsdb.rows import interfaces  # noqa: PLC0415 - --help stays quick
    from ...ovsdb.schemas import VSWITCH, part_of  # noqa: PLC0415
    from ..database import connected  # noqa: PLC0415

    if local is None:
        return ()
    columns = {
        "Bridge": ("name", "ports"),
        "Port": ("interfaces",),
        "Interface": ("name", "external_ids", "mtu", "mtu_request"),
    }
    try:
        with connected(settings, ovs_db, part_of(VSWITCH, columns)) as found:
            return interfaces(found.rows("Bridge"), local.bridge) or ()
    except EdgeError as error:
        unseen["interfaces"] = error.diagnostics()
        return ()


def absent(addresses: Iterable[IpAddress]) -> frozenset[IpAddress]:
    """Find the addresses that this host does not have: those that nothing here can be sent from.

    Binding asks the kernel itself, whatever made the address local; only where it lets everybody
    bind to everything (net.ipv4.ip_nonlocal_bind) its routing table is read.
    """
    return frozenset(ip for ip in addresses if _lacks(ip))


def _lacks(ip: IpAddress) -> bool:
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError as error:
        return error.errno in _LACKS
    return _binds_anything(ip.version) and not any(ip in network for network in _routed_here())


def _binds_anything(version: int) -> bool:
    switch = Path(f"/proc/sys/net/ipv{version}/ip_nonlocal_bind")
    try:
        return switch.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False


def _routed_here() -> list[IPv4Network | IPv6Network]:
    """What this network namespace takes for itself, whatever made it so.

    Source: linux include/uapi/linux/rtnetlink.h.
    """
    from pyroute2 import IPRoute  # noqa: PLC0415 - --help stays quick

    with IPRoute() as kernel:
        return [
            ip_network((route.get_attr("RTA_DST"), route["dst_len"]))
            for route in kernel.get_routes(table=_LOCAL_TABLE)
            if route["type"] == _LOCAL and route["dst_len"]
        ]


def vswitchd_pid(rundir: Path) -> int:
    """Read which process ovs-vswitchd is.

    Raises:
        OSError: Its pidfile is not there, or holds no number.
    """
    pidfile = rundir / "ovs-vswitchd.pid"
    try:
        return int(pidfile.read_text(encoding="ascii"))
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(pidfile)) from error


def started_after_s(pid: int) -> float:
    """Tell how long the machine had been up when a process started, in seconds: proc(5), stat.

    Raises:
        OSError: There is no such process.
    """
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    return int(fields.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")


def threads_of(pid: int) -> Mapping[str, int]:
    """Count the threads of an ovs-vswitchd that serve a datapath, by kind.

    Raises:
        OSError: There is no such process.
    """
    names = [_name(task) for task in Path(f"/proc/{pid}/task").iterdir()]
    kinds = (HANDLER, REVALIDATOR)
    return Counter(kind for name in names for kind in kinds if re.match(rf"{kind}\d", name))


def _name(task: Path) -> str:
    try:
        return (task / "comm").read_text(encoding="utf-8", errors="replace")
    except OSError:
        # It ended meanwhile.
        return ""
