# SPDX-License-Identifier: Apache-2.0
"""What is on the disk of a host before anybody logs in: packages, and a few files.

Pure. Both hosts start from the same disk; its card's address tells a host which of them it is.
"""

from __future__ import annotations

import hashlib
import re
from argparse import ArgumentTypeError
from collections.abc import Iterable
from dataclasses import dataclass

SUITES = ("trixie", "sid")
"""Releases of Debian that our packages are for; the first one if nobody asks for another."""
MIXED = ("trixie", "sid")
"""Of two hosts that differ: the first is also central, and its OVN is the older one."""
PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "dbus", "kmod", "login", "linux-image-cloud-amd64"),
    *("iproute2", "iputils-ping", "procps", "less", "tcpdump", "qemu-guest-agent"),
    *("openssh-server", "openssh-client", "iperf3"),
    *("openvswitch-switch", "openvswitch-pki", "ovn-host", "ovn-central"),
)
"""What a host of OVN has before ours come, what we reach it by, and what a person needs."""

SSH = "root/.ssh"
"""Where the key is by which root of one host may log in to the other."""
MASKED_TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")
"""They would fetch lists of packages, which a host without a network cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostName:
    """A host and all that follows from its number."""

    number: int
    """1 or 2."""

    @property
    def name(self) -> str:
        """Its host name, and the name of its chassis."""
        return f"h{self.number}"

    @property
    def mac(self) -> str:
        """The hardware address of its card."""
        return f"52:54:00:00:00:{self.number:02x}"

    @property
    def address(self) -> str:
        """Its address on the underlay (TEST-NET-1, RFC 5737)."""
        return f"192.0.2.{self.number}"

    @property
    def workload(self) -> str:
        """The logical port on it, and the interface behind that."""
        return f"w{self.number}"

    @property
    def workload_mac(self) -> str:
        """The hardware address of its workload."""
        return f"02:00:00:00:00:{self.number:02x}"

    @property
    def workload_address(self) -> str:
        """The address of its workload (TEST-NET-2)."""
        return f"198.51.100.{self.number}"


H1 = HostName(number=1)
"""Also central."""
H2 = HostName(number=2)
HOSTS = (H1, H2)

_CENTRAL = ("ovn-central", "ovn-northd", "ovn-ovsdb-server-nb", "ovn-ovsdb-server-sb")

_NETWORK = """[Match]
{match}
[Link]
MTUBytes={mtu}
[Network]
Address={address}/24
LinkLocalAddressing=no
IPv6AcceptRA=no
ConfigureWithoutCarrier=yes
"""

_LOGIN = """[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 %I $TERM
"""

_PATIENT = """[Manager]
DefaultTimeoutStartSec=15min
DefaultTimeoutStopSec=15min
"""
"""Emulated hosts are slow on a busy machine; what hangs is ended by the laboratory's limits."""

_TRAFFIC = """[Unit]
Description=What workload %i never stops sending
After=network.target
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/ping -n -q -i 0.2 %i
StandardOutput=null
Restart=always
RestartSec=200ms
[Install]
WantedBy=multi-user.target
"""


def files() -> dict[str, str]:
    """Return the files that the recipe adds, by their path below the root."""
    found = {
        "etc/hosts": "127.0.0.1 localhost\n" + "".join(f"{h.address} {h.name}\n" for h in HOSTS),
        "etc/systemd/system/serial-getty@ttyS0.service.d/login.conf": _LOGIN,
        "etc/systemd/system.conf.d/patient.conf": _PATIENT,
        "etc/systemd/system/traffic@.service": _TRAFFIC,
        # Logs outlive a reboot.
        "var/log/journal/.keep": "",
        # Packages have done what a first boot would do again.
        "etc/.updated": "",
        "var/.updated": "",
    }
    for host in HOSTS:
        for name, match, mtu, address in (
            ("underlay", f"MACAddress={host.mac}", 1500, host.address),
            ("workload", f"Name={host.workload}", 1300, host.workload_address),
        ):
            text = _NETWORK.format(match=match, mtu=mtu, address=address)
            found[f"etc/systemd/network/{name}-{host.name}.network"] = text
    return found


def suites_of(text: str) -> tuple[str, str]:
    """Parse which releases the two hosts have: one name, or two with a comma between.

    Raises:
        ArgumentTypeError: It is something else.
    """
    names = text.split(",")
    if not 1 <= len(names) <= len(HOSTS) or not set(names) <= set(SUITES):
        raise ArgumentTypeError(f"{text}: expected one or two of {', '.join(SUITES)}")
    return names[0], names[-1]


def known_hosts(key: str) -> str:
    """Return what root knows of both hosts, which have one and the same host key.

    Args:
        key: A line of ``ssh_host_*_key.pub``.
    """
    names = ",".join(name for host in HOSTS for name in (host.name, host.address))
    return f"{names} {' '.join(key.split()[:2])}\n"


def kernel_words(host: HostName) -> str:
    """Return the command line of a host's kernel: which host it is, and what does not run there."""
    masked = () if host == H1 else _CENTRAL
    machine = hashlib.md5(host.name.encode(), usedforsecurity=False).hexdigest()
    return " ".join(
        (
            *("console=ttyS0", "loglevel=4", "panic=10", "mitigations=off"),
            f"systemd.hostname={host.name}",
            f"systemd.machine_id={machine}",
            *(f"systemd.mask={unit}.service" for unit in masked),
        )
    )


def dependencies(fields: Iterable[str]) -> frozenset[str]:
    """Return the packages that ours need, from their fields Depends and Recommends.

    Of alternatives the first is taken; versions are apt's to look at; ours are left out.
    """
    words = (word for field in fields for word in field.split(","))
    names = (re.match(r"\s*([a-z0-9][a-z0-9+.-]*)", word) for word in words)
    return frozenset(name[1] for name in names if name and not name[1].startswith("ovn-ipsec"))


def fingerprint(suite: str, packages: Iterable[str], *more: bytes) -> str:
    """Return what tells one disk from another: sixteen hexadecimal digits."""
    own = (suite, MASKED_TIMERS, sorted(packages), sorted(files().items()))
    digest = hashlib.sha256(repr(own).encode())
    for one in more:
        digest.update(one)
    return digest.hexdigest()[:16]
