# SPDX-License-Identifier: Apache-2.0
"""Pure: the kernel's modules, the guard that is to stand in it, and its clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...model.chassis import IpAddress
from ..machine.values import Block, KeptGuard, Modules, Way
from .checkup import Check

ESP = {4: "esp4", 6: "esp6"}
TUNNELS = ("geneve", "openvswitch")
ASKED = ("xfrm_user", "nf_tables")
"""Whether these are in the kernel shows when it is asked for the guard; they may be kept out."""
MODULES = (*ESP.values(), *TUNNELS, *ASKED)
HELD_AGAIN = (
    "start ovn-ipsec-controller: it puts the guard up first; or ovn-ipsec-controller --guard"
)
TORN = "start ovn-ipsec-controller: it writes the file again; until then a boot denies all tunnels"
CLOCK = "timedatectl; enable chrony or systemd-timesyncd"
FOLDER = "run this where /lib/modules of the running kernel is"


def examine_modules(modules: Modules, wanted: Iterable[IpAddress]) -> tuple[Check, ...]:
    """Look at what the kernel needs to have.

    Args:
        modules: What it has.
        wanted: Encap addresses of this chassis; of none, both versions of IP count.
    """
    versions = {ip.version for ip in wanted} or {4, 6}
    needed = (*(ESP[version] for version in sorted(versions)), *TUNNELS)
    return tuple(_modules(modules, needed))


def _modules(modules: Modules, needed: tuple[str, ...]) -> Iterator[Check]:
    blacklisted = [name for name in (*needed, *ASKED) if name in modules.blacklisted]
    for name in blacklisted:
        file = modules.blacklisted[name]
        late = " after the next boot" if name in modules.here else ""
        said = f"{name} is kept out by {file}{late}"
        step = f"remove its line from {file}, then modprobe {name}"
        yield Check(part=f"module {name}", is_well=False, said=said, next_step=step)
    rest = [name for name in needed if name not in modules.here and name not in blacklisted]
    if modules.on_disk is None and rest:
        said = f"{' '.join(rest)}: not loaded; whether they can be is not to be seen from here"
        yield Check(part="modules", is_well=None, said=said, next_step=FOLDER)
        return
    missing = [name for name in rest if name not in (modules.on_disk or ())]
    if missing:
        said = f"{' '.join(missing)} are not there for kernel {modules.release}"
        step = f"install linux-modules-extra-{modules.release} or kernel-modules; or another kernel"
        yield Check(part="modules", is_well=False, said=said, next_step=step)
    elif not blacklisted:
        yield Check(part="modules", is_well=True, said=" ".join(needed))


def examine_kept(kept: KeptGuard | None) -> Check:
    """Look at what the disk wants denied from boot on."""
    if kept is None:
        return Check(part="boot guard", is_well=True, said="none kept: nothing is to be denied")
    if kept.fault:
        said = f"{kept.path} {kept.fault}"
        return Check(part="boot guard", is_well=False, said=said, next_step=TORN)
    ports = ", ".join(map(str, sorted(kept.ports)))
    said = f"kept, for UDP ports {ports} and {len(kept.local)} addresses"
    return Check(part="boot guard", is_well=True, said=said)


def examine_nft(kept: KeptGuard | None, ports: frozenset[int] | None) -> Check:
    """Look at the guard's table.

    Args:
        kept: What the disk wants denied.
        ports: What the table guards; None: there is no table.
    """
    part = "guard, nftables"
    if kept is None:
        said = "none, and none is kept" if ports is None else "stands"
        return Check(part=part, is_well=True, said=said)
    if ports is None:
        said = "the table inet ovn_ipsec is missing"
        return Check(part=part, is_well=False, said=said, next_step=HELD_AGAIN)
    if missing := sorted(kept.ports - ports):
        said = f"UDP ports {', '.join(map(str, missing))} are not guarded"
        return Check(part=part, is_well=False, said=said, next_step=HELD_AGAIN)
    return Check(part=part, is_well=True, said="stands")


def examine_blocks(kept: KeptGuard | None, blocks: frozenset[Block]) -> Check:
    """Look at the guard's XFRM policies.

    Args:
        kept: What the disk wants denied.
        blocks: Block policies of the guard in the kernel.
    """
    part = "guard, XFRM"
    if kept is None:
        said = "none, and none is kept" if not blocks else f"{len(blocks)} block policies"
        return Check(part=part, is_well=True, said=said)
    wanted = {
        Block(way=way, local=local, port=port)
        for way in Way
        for local in kept.local
        for port in kept.ports
    }
    if missing := len(wanted - blocks):
        said = f"{missing} of {len(wanted)} block policies are missing"
        return Check(part=part, is_well=False, said=said, next_step=HELD_AGAIN)
    if not blocks:
        said = "no block policy"
        return Check(part=part, is_well=False, said=said, next_step=HELD_AGAIN)
    return Check(part=part, is_well=True, said=f"{len(blocks)} block policies")


def examine_clock(is_set: bool) -> Check:
    """Look at whether the clock, by which certificates are judged, is kept right."""
    if is_set:
        return Check(part="clock", is_well=True, said="synchronised")
    said = "not synchronised, so certificates may be judged by a wrong time"
    return Check(part="clock", is_well=None, said=said, next_step=CLOCK)
