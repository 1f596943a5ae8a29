# SPDX-License-Identifier: Apache-2.0
"""Pure: what ovs-monitor-ipsec answers to tunnels/show and ipsec/status, of what is here.

Scripts look for these lines. What we do not know, or what has no counterpart, says so, and no line
holds a secret. A tunnel is a pair that policy wants encrypted, under the name of its port; a
connection is an SA of it, keyed as that program keys them: by port, then by port, child and number.

Source: ovs ipsec/ovs-monitor-ipsec.in, IPsecTunnel.show and StrongSwanHelper.get_active_conns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ovn_ipsec.model.chassis import IpAddress, Pair
from ovn_ipsec.model.status import PairState
from ovn_ipsec.schema.open_vswitch import CredentialFiles

from .plan.agent import Agent
from .plan.connection import ChildSa, IkeSa, established
from .plan.pair.facts import NOTHING_SEEN
from .plan.pair.record import PairRecord
from .plan.ports.tunnels import TunnelPort
from .plan.ports.values import short_form
from .xfrm.values import Selector, XfrmPolicy, XfrmState

NONE = "No tunnels configured with IPsec"
VERSION = 1
"""Ours are changed in place and have no versions; scripts expect a number."""
_PROTOCOLS = {6: "tcp", 17: "udp", 47: "gre", 50: "esp"}
_UNREAD = "(not read)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """The kernel's tables, by the address of the other end."""

    policies: Mapping[IpAddress, list[str]]
    states: Mapping[IpAddress, list[str]]


def kernel(policies: Iterable[XfrmPolicy], states: Iterable[XfrmState]) -> Kernel:
    """Sort what the kernel holds by address; what denies is the guard's and no tunnel's."""
    by_policy: dict[IpAddress, list[str]] = {}
    for policy in policies:
        if policy.templates:
            _enter(by_policy, _selector(policy.selector), policy.selector)
    by_state: dict[IpAddress, list[str]] = {}
    for state in states:
        line = f"sel src {_host(state.src)} dst {_host(state.dst)}"
        line += f" spi {state.spi:#010x} reqid {state.reqid}"
        for address in {state.src, state.dst}:
            by_state.setdefault(address, []).append(line)
    return Kernel(policies=by_policy, states=by_state)


def tunnels(
    agent: Agent, ports: Iterable[TunnelPort], files: CredentialFiles | None, held: Kernel
) -> str:
    """Answer tunnels/show.

    Args:
        agent: Whose pairs they are.
        ports: Tunnel ports of the integration bridge.
        files: Certificate files that the operator has named.
        held: What the kernel holds.
    """
    found = list(_named(agent, ports))
    if not found:
        return NONE
    return "\n".join(line for name, one in found for line in _tunnel(agent, name, one, files, held))


def connections(agent: Agent, ports: Iterable[TunnelPort]) -> str:
    """Answer ipsec/status: one object by port, each with one line for each SA.

    That program prints it as Python would, which is no JSON; this is both.
    """
    found = {name: dict(_active(agent, name, record)) for name, record in _named(agent, ports)}
    return json.dumps({name: lines for name, lines in found.items() if lines}, indent=1)


def _named(agent: Agent, ports: Iterable[TunnelPort]) -> Iterator[tuple[str, PairRecord]]:
    """Pairs that are to be encrypted, with the names of their ports, sorted by these."""
    by_address = {(port.type, *_addresses(port)): port.name for port in ports}
    found: list[tuple[str, PairRecord]] = []
    for record in agent.records.values():
        if record.state is PairState.CLEAR:
            continue
        pair = record.pair
        exact = (pair.type.value, str(pair.remote), str(pair.local))
        name = by_address.get(exact) or by_address.get((*exact[:2], ""))
        found.append((name or str(record.name), record))
    yield from sorted(found, key=lambda one: (one[0], str(one[1].name)))


def _addresses(port: TunnelPort) -> tuple[str, str]:
    options = dict(port.options)
    return short_form(options.get("remote_ip", "")), short_form(options.get("local_ip", ""))


def _tunnel(
    agent: Agent, name: str, record: PairRecord, files: CredentialFiles | None, held: Kernel
) -> Iterator[str]:
    pair = record.pair
    yield f"Interface name: {name} v{VERSION} (CONFIGURED)"
    for what, value in _settings(agent, pair, files):
        yield f"  {what + ':':<15} {value}"
    yield f"  Ofport:         {_UNREAD}"
    yield f"  CFM state:      {_UNREAD}"
    yield f"  Pair state:     {record.state.value}"
    yield "Kernel policies installed:"
    yield from (f"  {line}" for line in held.policies.get(pair.remote, ()))
    yield "Kernel security associations installed:"
    yield from (f"  {line}" for line in held.states.get(pair.remote, ()))
    yield "IPsec connections that are active:"
    yield from (f"  {line}" for _, line in _active(agent, name, record))
    yield ""


def _settings(
    agent: Agent, pair: Pair, files: CredentialFiles | None
) -> Iterator[tuple[str, object]]:
    yield "Tunnel Type", pair.type.value
    yield "Local IP", pair.local
    yield "Remote IP", pair.remote
    yield "Address Family", f"IPv{pair.remote.version}"
    yield "SKB mark", None
    yield "Local cert", files and files.certificate
    yield "Local name", agent.this_chassis
    yield "Local key", files and files.private_key
    yield "Remote cert", None
    yield "Remote name", pair.peer
    yield "CA cert", files and files.ca_cert
    yield "PSK", None
    yield "Custom Options", {}


def _active(agent: Agent, name: str, record: PairRecord) -> Iterator[tuple[str, str]]:
    """SAs of a pair, each by its name and number, in the words of `ipsec status`."""
    pair = record.pair
    for sa in agent.seen.get(record.name, NOTHING_SEEN).sas:
        key = f"{name}-{VERSION}[{sa.id}]"
        yield key, f"{key}: {sa.state}, {_ends(agent, pair, sa)}"
        for child in sa.children:
            key = f"{name}-{child.name}-{VERSION}{{{child.id}}}"
            yield key, f"{key}:  {_child(pair, child)}"


def _ends(agent: Agent, pair: Pair, sa: IkeSa) -> str:
    remote = sa.remote_id if established(sa) else "%any"
    return f"{pair.local}[{agent.this_chassis}]...{pair.remote}[{remote}]"


def _child(pair: Pair, child: ChildSa) -> str:
    form = "ESP in UDP" if child.udp_encap else "ESP"
    spis = f"{child.spi_in:08x}_i {child.spi_out:08x}_o"
    ends = f"{_host(pair.local)} === {_host(pair.remote)}"
    return f"{child.state}, TRANSPORT, reqid {child.reqid}, {form} SPIs: {spis}, {ends}"


def _enter(lines: dict[IpAddress, list[str]], line: str, selector: Selector) -> None:
    for address in {selector.src.network_address, selector.dst.network_address}:
        lines.setdefault(address, []).append(line)


def _selector(selector: Selector) -> str:
    """As `ip xfrm policy` prints it."""
    line = f"src {selector.src} dst {selector.dst}"
    if selector.proto:
        line += f" proto {_PROTOCOLS.get(selector.proto, selector.proto)}"
    if selector.sport_mask:
        line += f" sport {selector.sport}"
    if selector.dport_mask:
        line += f" dport {selector.dport}"
    return line


def _host(address: IpAddress) -> str:
    return f"{address}/{address.max_prefixlen}"
