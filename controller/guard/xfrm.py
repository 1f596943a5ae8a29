# SPDX-License-Identifier: Apache-2.0
"""The guard as XFRM policies, which remain in force if the nftables ruleset is flushed.

Edge. Input: guard states. Output: our entries in the SPD, and the block counters.

For each local address and port there is one block policy in each direction, wider than any policy
of an IKE daemon (one side is 0/0) and ranking below it; for each flow that may be clear there is an
allow policy that ranks above any daemon's. Without a template it lets clear text out although an SA
is up, and lets in both clear text and ESP in transport mode (net/xfrm/xfrm_policy.c
__xfrm_policy_check): while it exists at the receiver, the sender can switch from one to the other
without a loss.

**What it cannot see.** A selector ends at the UDP ports, so this layer knows no VNI: on a flow that
may be clear it lets every logical network pass, and does not report this as missing.

**What is ours.** The kernel identifies a policy by its selector, so an IKE daemon that installs
local/32 to remote/32 dport 6081 would take over an allow policy with that selector, and we would
then delete the daemon's. Ours carry a mark in ``xfrm_selector.user``: it is compared as part of the
key, no packet is matched by it, and no daemon sets it. Ours are recognised by the mark, the
priority, UDP and the absence of a template, together.

**Order.** The SPD has no transactions, so the order fulfils the promise of ``apply``: add allows,
add blocks, delete blocks, delete allows. A flow that both states allow either keeps its allow,
or gets it before the first block that could hit it, or loses it after the last one. A flow that
both deny keeps its block throughout and never has an allow. An update replaces a policy at once.
"""

import errno
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from ovn_ipsec.errors import XfrmError
from ovn_ipsec.model.chassis import IpAddress
from ovn_ipsec.model.observation import Known, Unknown

from ..plan.guard import (
    ClearFlow,
    Denial,
    Direction,
    GuardCounters,
    GuardObserved,
    GuardState,
    PeerPort,
    difference,
)
from ..xfrm import messages
from ..xfrm.socket import XfrmSocket
from ..xfrm.values import Action, IpNetwork, PolicyDirection, Selector, XfrmPolicy

PRIORITY_ALLOW = 6_081
"""Above any policy of an IKE daemon: a flow that may be clear is clear although its SA is up, so
that both ends can switch one direction at a time."""
PRIORITY_BLOCK = 2_000_006_081
"""Ranks below the weakest port policy of Libreswan, 1 360 065, and of strongSwan, 600 000."""
MARK = 0x6F766E69
"""In ``xfrm_selector.user``; spells "ovni"."""
_UDP = 17
_EXACT = 0xFFFF
_STATISTICS = Path("/proc/thread-self/net/xfrm_stat")
_NAMESPACE = Path("/proc/thread-self/ns/net")
"""Its inode names the network namespace, which has counters of its own."""
_GONE = frozenset({errno.ENOENT})
_EVERYWHERE: dict[int, IpNetwork] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}
_DIRECTIONS = {Direction.OUT: PolicyDirection.OUT, Direction.IN: PolicyDirection.IN}


class XfrmGuardLayer:
    """The layer ``xfrm``; see GuardLayer."""

    def __init__(self) -> None:
        """Do nothing; the first call opens the socket."""
        self.socket = XfrmSocket()
        """Its port id tells our own events from those of others."""

    @property
    def name(self) -> str:
        """Short name for status and logs."""
        return "xfrm"

    def part_of(self, state: GuardState) -> GuardState:
        """Leave out the VNIs, which no selector can name.

        Args:
            state: a whole guard.

        Returns:
            The same without VNIs.
        """
        return replace(state, vnis=frozenset())

    def available(self) -> Known[bool] | Unknown:
        """Ask the kernel for the size of its SPD.

        Returns:
            Known false if the kernel has no XFRM; Unknown without CAP_NET_ADMIN.
        """
        try:
            self.socket.send([messages.probe()])
        except XfrmError as error:
            if error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
                return Known(value=False)
            return Unknown(error.diagnostics())
        return Known(value=True)

    def observe(self) -> Known[GuardObserved] | Unknown:
        """Dump the SPD and select what is ours.

        Returns:
            The state, and what is missing of it.
        """
        try:
            ours = [policy for policy in self.socket.dump_policies() if is_ours(policy)]
        except XfrmError as error:
            return Unknown(error.diagnostics())
        return Known(_parse(ours))

    def apply(self, before: GuardState | None, after: GuardState | None) -> None:
        """Add and delete the policies that differ.

        Args:
            before: what is in force.
            after: what should be.

        Raises:
            XfrmError: the kernel refused; what was done by then stays.
        """
        change = difference(before, after)
        self._add(_allows(change.add_flows))
        self._add(_blocks(change.add_denials, change.add_peer_ports))
        self._delete(_blocks(change.drop_denials, change.drop_peer_ports))
        self._delete(_allows(change.drop_flows))
        if change.drop_flows and after is not None:
            self._forget_routes(after)

    def rebuild(self, after: GuardState) -> None:
        """Add or replace every policy of the state, then delete any others of ours.

        Args:
            after: what should be in force.

        Raises:
            XfrmError: the kernel refused.
        """
        allows = frozenset(_allows(after.may_clear))
        blocks = frozenset(_blocks(after.denials(), after.peer_ports))
        self._add(allows)
        self._add(blocks)
        stray = {policy for policy in self.socket.dump_policies() if is_ours(policy)}
        stray -= allows | blocks
        self._delete(policy for policy in stray if policy.action is Action.BLOCK)
        self._delete(policy for policy in stray if policy.action is Action.ALLOW)
        self._forget_routes(after)

    def counters(self) -> Known[GuardCounters] | Unknown:
        """Read /proc/net/xfrm_stat of this thread's network namespace.

        Returns:
            Packets blocked in this namespace, by any block policy; the kernel does not
            count what an allow policy lets through.
        """
        try:
            lines = _STATISTICS.read_text(encoding="ascii").splitlines()
            numbers = dict(line.split() for line in lines)
            return Known(
                GuardCounters(
                    out_denied=int(numbers["XfrmOutPolBlock"]),
                    out_clear=None,
                    in_denied=int(numbers["XfrmInPolBlock"]),
                    in_clear=None,
                    epoch=str(_NAMESPACE.stat().st_ino),
                )
            )
        except (OSError, KeyError, ValueError) as error:
            return Unknown(f"cannot read {_STATISTICS}: {error!r}")

    def close(self) -> None:
        """Close the socket; the policies stay in force."""
        self.socket.close()

    def _add(self, policies: Iterable[XfrmPolicy]) -> None:
        self.socket.send(messages.update_policy(policy) for policy in policies)

    def _forget_routes(self, state: GuardState) -> None:
        """Make tunnels look up their routes again, with the remaining policies.

        A flow that was allowed is cached as a plain route. Deleting its policy does not end that;
        inserting any policy does (net/xfrm/xfrm_policy.c xfrm_policy_insert,
        rt_genid_bump). Without this, a tunnel continues in clear text, and the guard drops it.
        """
        first = {denial.local.version: denial for denial in state.denials()}
        self._add(_blocks(first.values()))

    def _delete(self, policies: Iterable[XfrmPolicy]) -> None:
        self.socket.send((messages.delete_policy(policy) for policy in policies), ignore=_GONE)


def is_ours(policy: XfrmPolicy) -> bool:
    """Tell whether the guard made a policy.

    Args:
        policy: from a dump.

    Returns:
        True only for what ``apply`` makes.
    """
    priority = PRIORITY_BLOCK if policy.action is Action.BLOCK else PRIORITY_ALLOW
    selector = policy.selector
    return (
        policy.action in (Action.ALLOW, Action.BLOCK)
        and selector.user == MARK
        and policy.priority == priority
        and selector.proto == _UDP
        and not policy.templates
        and policy.direction in (PolicyDirection.OUT, PolicyDirection.IN)
    )


def _blocks(denials: Iterable[Denial], peer_ports: Iterable[PeerPort] = ()) -> Iterable[XfrmPolicy]:
    for one in peer_ports:
        yield _policy(Direction.OUT, (_host(one.local), _host(one.remote)), one.port, Action.BLOCK)
    for denial in denials:
        for direction in Direction:
            yield _policy(
                direction,
                (_host(denial.local), _EVERYWHERE[denial.local.version]),
                denial.port,
                Action.BLOCK,
            )


def _allows(flows: Iterable[ClearFlow]) -> Iterable[XfrmPolicy]:
    for flow in flows:
        ends = (_host(flow.local), _host(flow.remote))
        yield _policy(flow.direction, ends, flow.port, Action.ALLOW)


def _policy(
    direction: Direction, ends: tuple[IpNetwork, IpNetwork], port: int, action: Action
) -> XfrmPolicy:
    local, remote = ends
    src, dst = (local, remote) if direction is Direction.OUT else (remote, local)
    return XfrmPolicy(
        direction=_DIRECTIONS[direction],
        selector=Selector(src=src, dst=dst, proto=_UDP, dport=port, dport_mask=_EXACT, user=MARK),
        priority=PRIORITY_BLOCK if action is Action.BLOCK else PRIORITY_ALLOW,
        action=action,
    )


def _host(address: IpAddress) -> IpNetwork:
    """The address alone; or, for an unspecified one, every address of its family."""
    return _EVERYWHERE[address.version] if address.is_unspecified else ip_network(address)


def _parse(ours: list[XfrmPolicy]) -> GuardObserved:
    blocks: set[tuple[Direction, Denial]] = set()
    peer_ports: set[PeerPort] = set()
    flows: set[ClearFlow] = set()
    for policy in ours:
        out = policy.direction is PolicyDirection.OUT
        direction = Direction.OUT if out else Direction.IN
        selector = policy.selector
        local, remote = (selector.src, selector.dst) if out else (selector.dst, selector.src)
        if policy.action is Action.BLOCK and remote.prefixlen:
            peer_ports.add(
                PeerPort(
                    local=local.network_address, remote=remote.network_address, port=selector.dport
                )
            )
        elif policy.action is Action.BLOCK:
            denial = Denial(local=local.network_address, port=selector.dport)
            blocks.add((direction, denial))
        else:
            flow = ClearFlow(
                direction=direction,
                local=local.network_address,
                remote=remote.network_address,
                port=selector.dport,
            )
            flows.add(flow)
    if not ours:
        return GuardObserved(state=None)
    state = GuardState(
        ports=frozenset(denial.port for _, denial in blocks),
        local=frozenset(denial.local for _, denial in blocks),
        may_clear=frozenset(flows),
        peer_ports=frozenset(peer_ports),
    )
    expected = {(way, denial) for way in Direction for denial in state.denials()}
    damage = []
    if missing := len(expected - blocks):
        damage.append(f"{missing} block policies missing")
    return GuardObserved(state=state, damage=tuple(damage))
