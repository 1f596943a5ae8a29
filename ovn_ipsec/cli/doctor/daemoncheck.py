# SPDX-License-Identifier: Apache-2.0
"""Pure: the IKE daemon, its settings and its ports to what is well with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...model.ike import Ike
from ...schema.report import printable
from ..machine.values import Daemon, DaemonFiles, Holder
from .checkup import START_IKE, Check

PORTS = (500, 4500)
NEEDED = (
    (("kernel-netlink",), "SAs in the kernel"),
    (("socket-default", "socket-dynamic"), "packets of IKE"),
    (("nonce",), "any handshake"),
    (("random", "rdrand", "openssl", "botan", "wolfssl"), "random numbers"),
    (("openssl", "gcm", "botan", "wolfssl"), "AES-GCM"),
    (("openssl", "sha2", "botan", "wolfssl"), "SHA-2"),
    (("x509", "openssl"), "certificates"),
    (("constraints",), "what an authority may sign"),
    (("revocation",), "certificates that were revoked"),
)
"""Plugins of which each first one, or one that stands for it, has to be there, and for what."""
PLUGINS = (
    "install libstrongswan-standard-plugins, set load = yes for each in /etc/strongswan.d/charon/,"
    " and restart strongSwan"
)
BYPASS = "set load = no in /etc/strongswan.d/charon/bypass-lan.conf, and restart strongSwan"
SETTINGS = (
    "install strongswan/ovn-ipsec.conf in /etc/strongswan.d (docs/howto/install.md), and restart"
    " strongSwan"
)
STALLS = "6.0.1"
"""With a filelog it stopped answering for 10 s in three runs of three, and without never."""
NO_FILELOG = "remove the section filelog, and restart strongSwan: the journal has its log, too"
FREE = "end that program: ovn-ipsec needs {} to have this port"
BOUND = {
    Ike.STRONGSWAN: "journalctl -u strongswan | grep -i 'socket'; see charon.port and port_nat_t",
    Ike.LIBRESWAN: "journalctl -u ipsec | grep -i 'interface'; see listen in /etc/ipsec.conf",
    Ike.DELEGATE: "journalctl -u openvswitch-ipsec -n 50",
}
HOLDER = {
    Ike.STRONGSWAN: ("charon",),
    Ike.LIBRESWAN: ("pluto",),
    Ike.DELEGATE: ("charon", "pluto"),
}
"""What their programs' names begin with."""


def examine_daemon(daemon: Daemon, files: DaemonFiles) -> tuple[Check, ...]:
    """Look at the IKE daemon.

    Args:
        daemon: What it says.
        files: What its settings say.
    """
    ours = printable(files.ours, 200)
    settings = Check(part="settings", is_well=True, said=ours)
    if not ours:
        said = "those of strongSwan that come with ovn-ipsec are not installed"
        settings = Check(part="settings", is_well=False, said=said, next_step=SETTINGS)
    if daemon.fault:
        said = printable(daemon.fault, 200)
        return Check(part="vici", is_well=False, said=said, next_step=START_IKE), settings
    version = printable(daemon.version, 60)
    return (
        Check(part="vici", is_well=True, said=f"strongSwan {version} answers"),
        *_plugins(daemon.plugins),
        settings,
        *_known_bad(version, files),
    )


def _plugins(plugins: frozenset[str]) -> Iterator[Check]:
    lacking = [(any_of[0], what) for any_of, what in NEEDED if plugins.isdisjoint(any_of)]
    if lacking:
        said = f"charon lacks {', '.join(f'{name} ({what})' for name, what in lacking)}"
        yield Check(part="plugins", is_well=False, said=said, next_step=PLUGINS)
    else:
        yield Check(part="plugins", is_well=True, said=f"{len(plugins)}, none missing")
    if "bypass-lan" in plugins:
        said = "bypass-lan is loaded: it lets neighbours on the same link past IPsec"
        yield Check(part="bypass-lan", is_well=False, said=said, next_step=BYPASS)


def _known_bad(version: str, files: DaemonFiles) -> Iterator[Check]:
    if version == STALLS and files.filelog:
        said = f"{STALLS} with a filelog stops answering for seconds: {printable(files.filelog)}"
        yield Check(part="version", is_well=False, said=said, next_step=NO_FILELOG)


def examine_ports(
    holders: Iterable[Holder], *, daemon: bool, ike: Ike = Ike.STRONGSWAN
) -> tuple[Check, ...]:
    """Look at the UDP ports of IKE.

    Args:
        holders: Who has them.
        daemon: Whether the IKE daemon answers.
        ike: Which one is used.
    """
    found = list(holders)
    answering = ike if daemon else None
    return tuple(
        _port(port, [h for h in found if h.port == port], ike, answering) for port in PORTS
    )


def _port(port: int, holders: list[Holder], ike: Ike, answering: Ike | None) -> Check:
    part, ours = f"UDP port {port}", HOLDER[ike]
    others = [h for h in holders if h.program and not h.program.startswith(ours)]
    if others:
        named = ", ".join(f"{printable(h.program, 40)} (pid {h.pid})" for h in others)
        step = FREE.format(" or ".join(ours))
        return Check(part=part, is_well=False, said=f"held by {named}", next_step=step)
    if any(not h.program for h in holders):
        said = "held by a process that cannot be seen from here"
        return Check(part=part, is_well=None, said=said, next_step=f"ss -lunp 'sport = {port}'")
    if holders:
        return Check(part=part, is_well=True, said=f"held by {printable(holders[0].program, 40)}")
    if answering is not None:
        said = "the IKE daemon runs, and nobody here has the port"
        return Check(part=part, is_well=False, said=said, next_step=BOUND[answering])
    return Check(part=part, is_well=True, said="free")
