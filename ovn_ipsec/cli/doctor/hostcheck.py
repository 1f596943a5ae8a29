# SPDX-License-Identifier: Apache-2.0
"""Pure: from a host and the rows about it to what is healthy there, whatever its controller says.

A controller judges the pairs that it knows. If this chassis has no row, or a row with an address
that it does not have, there are no pairs, and none is missing; so doctor checks for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ...model.chassis import IpAddress
from ...model.mtu import Interface
from ...schema.open_vswitch import LocalChassis
from ...schema.report import printable
from ..machine.values import Egress
from ..pairs import fits
from ..rows import ends
from ..view import ChassisView, Southbound
from .checkup import Check

Ends = tuple[IpAddress, IpAddress]
"""A local and a remote address."""
NAMED = 3
"""Chassis that are told one by one; the rest is counted."""
HANDLER, REVALIDATOR = "handler", "revalidator"
"""How threads of ovs-vswitchd are named, as far as they serve a datapath."""

MAKE_ROW = (
    "start ovn-controller here, and read its log: another chassis may have its address, or RBAC may"
    " refuse the row"
)
TAKE_BACK = "find out which chassis should have it, and remove the other one: ovn-sbctl chassis-del"
HAVE_ADDRESS = (
    "configure the address on this host, or correct external_ids:ovn-encap-ip in Open_vSwitch"
)
MEET = (
    "give this chassis an encap of that tunnel type and IP version too:"
    " external_ids:ovn-encap-ip and ovn-encap-type"
)
COUNTED_S = 10.0
"""An ovs-vswitchd 3.1 that starts when the machine has been up for less counts no processors; what
the datapath has no flow for is lost from then on (lib/ovs-thread.c, COUNT_CPU_UPDATE_TIME_MS)."""
RESTART = (
    "restart ovs-vswitchd: if it is started within 10 s of boot, it counts no processors, and every"
    " packet without a datapath flow is lost"
)
MANAGED, WAIT = "ovn-managed-flow-restore-wait", "flow-restore-wait"
HELD_BACK = (
    "OVN 24.03.8, 25.03.3, 25.09.3 and 26.03.1 have ovs-vswitchd wait for them when it starts, and"
    " may not notice that it has started: nothing is forwarded then"
)
NEWER_OVN = (
    "upgrade OVN to the next release, which lets that be; until then restart ovn-controller after"
    " each restart of ovs-vswitchd"
)
LOOK = "run this as root on the chassis itself; if that fails too, see why it cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What doctor saw for itself."""

    local: LocalChassis | None = None
    """What the local database says; None: not read."""
    wanted: frozenset[IpAddress] = frozenset()
    """external_ids:ovn-encap-ip of Open_vSwitch."""
    absent: frozenset[IpAddress] = frozenset()
    """Of these, and of those in our rows: the ones that no packet of this host can come from."""
    threads: Mapping[str, int] | None = None
    """Threads of ovs-vswitchd by kind; None: not seen."""
    started_s: float | None = None
    """How long the machine had been up when ovs-vswitchd started; None: not seen."""
    held_back: bool = False
    """Whether the local database has an ovs-vswitchd wait for this ovn-controller at its start."""
    southbound: Southbound | None = None
    """None: not read."""
    interfaces: tuple[Interface, ...] = ()
    """Of workloads here."""
    paths: Mapping[Ends, int] = field(default_factory=dict)
    """MTUs of the paths of our pairs, as far as the kernel knows them."""
    egress: Mapping[Ends, Egress] = field(default_factory=dict)
    """The links of some of them, the narrowest among these."""
    unseen: Mapping[str, str] = field(default_factory=dict)
    """What could not be looked at, by part, and why."""


def examine_host(name: str | None, host: Host) -> tuple[Check, ...]:
    """Look at what is around the controller.

    Args:
        name: Of this chassis; None: it has none.
        host: What was seen.

    Returns:
        A check for each part, several where more than one thing is wrong with it.
    """
    checks: list[Check] = []
    if host.southbound is not None and name is not None:
        checks += _row(name, host, host.southbound.chassis)
    checks += _addresses(host.absent)
    if host.threads is not None:
        checks.append(_threads(host.threads, host.started_s))
    if host.held_back:
        step = NEWER_OVN
        checks.append(Check(part="ovn-controller", is_well=False, said=HELD_BACK, next_step=step))
    checks += [
        Check(part=part, is_well=None, said=printable(why, 400), next_step=LOOK)
        for part, why in host.unseen.items()
    ]
    return tuple(checks)


def holds_back(external_ids: Mapping[str, str], other_config: Mapping[str, str]) -> bool:
    """Whether a row of Open_vSwitch has the mark of an OVN that holds ovs-vswitchd back.

    The option alone is there during a restart by ovs-ctl. Source: OVN, commits 621f85e92 and
    30f431174 ("Fix bfd up too early after unexpected reboot" and its revert).
    """
    return external_ids.get(MANAGED) == other_config.get(WAIT) == "true"


def _row(name: str, host: Host, chassis: Mapping[str, ChassisView]) -> Iterator[Check]:
    ours = chassis.get(name)
    if ours is None:
        holders = {
            (ip, other.name)
            for other in chassis.values()
            for ip in (intent.encap.ip for intent in other.chassis.encaps)
            if ip in host.wanted
        }
        claims = ", ".join(f"{other} has {ip}" for ip, other in sorted(holders, key=str))
        said = f"none in the southbound{f'; {claims}' if claims else ''}"
        step = TAKE_BACK if claims else MAKE_ROW
        yield Check(part="Chassis row", is_well=False, said=printable(said, 400), next_step=step)
        return
    here = ", ".join(f"{i.encap.type} {i.encap.ip}" for i in ours.chassis.encaps)
    if not here:
        yield Check(
            part="Chassis row", is_well=False, said="no encap that IPsec covers", next_step=MEET
        )
        return
    yield Check(part="Chassis row", is_well=True, said=printable(here, 400))
    for ip, other in sorted(ours.rivals, key=str):
        said = f"{other} claims {ip} too"
        yield Check(part="Chassis row", is_well=False, said=said, next_step=TAKE_BACK)
    lonely = [view for view in chassis.values() if not fits(ours, view)]
    if lonely:
        yield Check(part="peers", is_well=False, said=_lonely(ours, lonely), next_step=MEET)


def _lonely(ours: ChassisView, others: list[ChassisView]) -> str:
    named = ", ".join(f"{view.name} has {ends(view)}" for view in others[:NAMED])
    more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
    return f"no tunnel is possible: this chassis has {ends(ours)}; {named}{more}"


def _addresses(absent: Iterable[IpAddress]) -> Iterator[Check]:
    for ip in sorted(absent, key=str):
        said = f"{ip} is an encap address of this chassis, but this host does not have it"
        yield Check(part="address", is_well=False, said=said, next_step=HAVE_ADDRESS)


def _threads(threads: Mapping[str, int], started_s: float | None) -> Check:
    handlers, revalidators = threads.get(HANDLER, 0), threads.get(REVALIDATOR, 0)
    if revalidators and started_s is not None and started_s < COUNTED_S:
        # It starts handlers a while later, and the datapath loses all the same.
        said = f"started when this machine had been up for {started_s:.1f} s"
        return Check(part="ovs-vswitchd", is_well=False, said=said, next_step=RESTART)
    if revalidators and not handlers:
        said = "no handler thread: every packet without a datapath flow is lost"
        return Check(part="ovs-vswitchd", is_well=False, said=said, next_step=RESTART)
    said = f"{handlers} handler threads" if revalidators else "no datapath yet"
    return Check(part="ovs-vswitchd", is_well=True, said=said)
