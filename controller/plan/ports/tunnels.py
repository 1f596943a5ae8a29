# SPDX-License-Identifier: Apache-2.0
"""Which tunnel ports the integration bridge needs, and how each is marked.

Pure. Input: pairs, settings and the existing ports. Output: the ports to create, repair and delete,
and the marks to write.

A port made here is the one that ovn-controller would make: same options, same ovn-chassis-id, a
name of the same form. ovn-controller compares all options and replaces a port that differs, so only
a byte-identical port lets it take over from us, and us from it, without replacing a port. Two forms
of ovn-chassis-id exist: `<chassis>@<remote>`, and `<chassis>@<remote>%<local>` of OVN 24.03 and
later. Either is recognised and left as it is; new ports get the long one only if the short one is
ambiguous.

An existing port is compared by value, and whatever any release of ovn-controller would have written
is right: an address in its long form, a default that is written out, a correct local_ip, the
ipsec_ options of the southbound. A repair changes the wrong values and leaves the spelling of the
others. An option that no ovn-controller writes is removed, because ovn-controller would remove it,
too.

Source: OVN controller/encaps.c, tunnel_add and tunnel_create_name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ovn_ipsec.model.chassis import DEFAULT_PORT, EncapType, IpAddress, Pair
from ovn_ipsec.model.status import PairState

from .values import Options, in_order, meaning, parse_id, short_form

FLOW_BASED = "flow"
"""ovn-chassis-id of the one port that serves every peer (ovn-enable-flow-based-tunnels)."""

NAMES_PER_CHASSIS = 0xFFFF
"""Where ovn-controller stops counting, too (UINT16_MAX)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelPort:
    """A port of the integration bridge that has external_ids:ovn-chassis-id."""

    row: str
    """UUID of the Port row."""
    name: str
    chassis_id: str
    """external_ids:ovn-chassis-id, as it stands."""
    type: str
    """Interface.type; empty when the port has not exactly one Interface."""
    options: Options
    """Interface.options; empty likewise."""
    mark: str | None
    """external_ids:ovn-ipsec."""

    @property
    def peer(self) -> str:
        """Name of the chassis at the other end; whatever stands there where it is junk."""
        return parse_id(self.chassis_id)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """What else the local database says of tunnel ports."""

    set_local_ip: bool = False
    """external_ids:ovn-set-local-ip."""
    index: str = ""
    """other_config:ovn-chassis-idx-<chassis>; empty but on hosts of several chassis."""
    bridge_remote: bool = False
    """Whether external_ids:ovn-bridge-remote is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPorts:
    """What the local database holds."""

    bridge: str
    """Name of the integration bridge."""
    ports: tuple[TunnelPort, ...]
    """Sorted by name."""
    used_names: frozenset[str]
    """Names of all ports and interfaces of all bridges: they are unique in the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSettings:
    """What goes into every port's options besides its pair."""

    ipsec: bool
    """SB_Global.ipsec."""
    sb_options: Mapping[str, str] = field(default_factory=dict)
    """SB_Global.options, as it stands."""
    tos: str = "none"
    """Open_vSwitch.external_ids:ovn-encap-tos."""
    df_default: str = ""
    """Open_vSwitch.external_ids:ovn-encap-df_default; empty when not set."""
    set_local_ip: bool = False
    """Open_vSwitch.external_ids:ovn-set-local-ip."""
    several: frozenset[EncapType] = frozenset()
    """Types of which this chassis has more than one encap address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPort:
    """A port that there should be."""

    pair: Pair
    chassis_id: str
    options: Options
    also: Options = ()
    """What another release of ovn-controller would have written besides, or instead."""

    @property
    def type(self) -> EncapType:
        """Interface.type."""
        return self.pair.type

    def is_met_by(self, port: TunnelPort) -> bool:
        """Whether the port is right, however it is spelled."""
        if port.type != self.type:
            return False
        wanted, there = meaning(self.type, self.options), meaning(self.type, port.options)
        return wanted <= there and there - wanted <= meaning(self.type, self.also)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPort:
    """A port to create."""

    name: str
    wanted: WantedPort


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A port whose type or options have to change, in place."""

    port: TunnelPort
    wanted: WantedPort

    @property
    def options(self) -> Options:
        """What the options become: what is right there keeps its spelling.

        A long id tells that a release wrote it that always writes what is in `also`, too.
        """
        kind = self.wanted.type
        there = dict(self.port.options)
        is_newer = bool(parse_id(self.port.chassis_id)[2])
        also = meaning(kind, self.wanted.also) if is_newer else frozenset()
        options = {key: text for key, text in there.items() if meaning(kind, [(key, text)]) & also}
        for key, text in self.wanted.options:
            is_right = key in there and meaning(kind, [(key, there[key])]) == meaning(
                kind, [(key, text)]
            )
            options[key] = there[key] if is_right else text
        return in_order(options)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Keys of the options that go; never their values, which may be secrets."""
        return tuple(sorted(dict(self.port.options).keys() - dict(self.options).keys()))


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPlan:
    """What to do to the ports of one bridge; each sorted by peer and address, or by name."""

    bridge: str
    create: tuple[NewPort, ...] = ()
    repair: tuple[Repair, ...] = ()
    delete: tuple[TunnelPort, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether every port is as it should be."""
        return not (self.create or self.repair or self.delete)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A change of one port's external_ids:ovn-ipsec."""

    row: str
    """UUID of the Port row."""
    name: str
    """Of the port, for people."""
    state: PairState | None
    """None removes the key."""


def wanted_ports(
    pairs: Iterable[tuple[Pair, bool | None]], settings: PortSettings
) -> tuple[WantedPort, ...]:
    """List the ports that ovn-controller would have made.

    Args:
        pairs: Each pair, with csum of the remote encap.
        settings: What else the options hold.

    Returns:
        One port for each pair, sorted by peer, type, remote and local address.
    """
    ordered = sorted(pairs, key=lambda item: _pair_key(item[0]))
    return tuple(
        WantedPort(
            pair=pair,
            chassis_id=_chassis_id(pair, long=pair.type in settings.several),
            options=_options(pair, settings, csum=csum),
            also=_also(pair, settings),
        )
        for pair, csum in ordered
    )


def plan_ports(wanted: Iterable[WantedPort], seen: SeenPorts, index: str = "") -> PortPlan:
    """Compare the wanted ports with those that are there. For own mode only.

    Args:
        wanted: From wanted_ports. From an unknown southbound nothing may be planned.
        seen: The ports that are there.
        index: other_config:ovn-chassis-idx-<chassis>; empty but on hosts of several chassis.

    Returns:
        The plan; empty when the ports of a stopped ovn-controller are all there.
    """
    wishes: dict[tuple[str, str], list[WantedPort]] = defaultdict(list)
    ports: dict[tuple[str, str], list[TunnelPort]] = defaultdict(list)
    for wish in wanted:
        wishes[parse_id(wish.chassis_id)[:2]].append(wish)
    for port in seen.ports:
        if port.chassis_id != FLOW_BASED:
            ports[parse_id(port.chassis_id)[:2]].append(port)
    repair: list[Repair] = []
    missing: list[WantedPort] = []
    kept: set[str] = set()
    for base, some in wishes.items():
        matches = _match(some, ports[base])
        missing.extend(wish for wish in some if wish not in matches)
        kept.update(port.row for port in matches.values())
        repair.extend(
            Repair(port=port, wanted=wish)
            for wish, port in matches.items()
            if not wish.is_met_by(port)
        )
    delete = (p for some in ports.values() for p in some if p.row not in kept)
    return PortPlan(
        bridge=seen.bridge,
        create=_named(missing, seen.used_names, index),
        repair=tuple(sorted(repair, key=lambda r: _pair_key(r.wanted.pair))),
        delete=tuple(sorted(delete, key=lambda port: port.name)),
    )


def marks(seen: SeenPorts, states: Mapping[Pair, PairState]) -> tuple[Mark, ...]:
    """Tell what to write beside each port, for people. For both modes.

    Args:
        seen: The ports that are there.
        states: The state of each pair.

    Returns:
        The changes only, sorted by name. A port that could carry several pairs, for it names no
        local address, gets the least safe of their states; one that carries none loses its mark.
    """
    by_base: dict[tuple[str, str, str], dict[str, PairState]] = defaultdict(dict)
    for pair, state in states.items():
        by_base[pair.peer, str(pair.remote), pair.type][str(pair.local)] = state
    changes: list[Mark] = []
    for port in seen.ports:
        now = _state_of(port, by_base.get((*parse_id(port.chassis_id)[:2], port.type), {}))
        if port.mark != now:
            changes.append(Mark(row=port.row, name=port.name, state=now))
    return tuple(changes)


ENCRYPTS = frozenset(
    {PairState.PENDING, PairState.BLOCKED, PairState.ENCRYPTED, PairState.LINGERING}
)
"""States in which SAs are to be made, or kept."""
_LEAST_SAFE_FIRST = (
    PairState.CLEAR,
    PairState.PENDING,
    PairState.LINGERING,
    PairState.BLOCKED,
    PairState.ENCRYPTED,
    PairState.QUARANTINED,
)


def _state_of(port: TunnelPort, by_local: Mapping[str, PairState]) -> PairState | None:
    local = parse_id(port.chassis_id)[2] or short_form(dict(port.options).get("local_ip", ""))
    if local:
        return by_local.get(local)
    return min(by_local.values(), key=_LEAST_SAFE_FIRST.index, default=None)


def _match(
    wishes: Sequence[WantedPort], ports: Sequence[TunnelPort]
) -> dict[WantedPort, TunnelPort]:
    """Give each wish at most one port: first those that need no repair, then the same id."""
    ranked = sorted(
        (
            (not wish.is_met_by(port), port.chassis_id != wish.chassis_id, port.name, position)
            for position, wish in enumerate(wishes)
            for port in ports
            if parse_id(port.chassis_id)[2] in ("", str(wish.pair.local))
        ),
    )
    by_name = {port.name: port for port in ports}
    matches: dict[WantedPort, TunnelPort] = {}
    for *_, name, position in ranked:
        if name in by_name and wishes[position] not in matches:
            matches[wishes[position]] = by_name.pop(name)
    return matches


def _named(
    missing: Iterable[WantedPort], used_names: frozenset[str], index: str
) -> tuple[NewPort, ...]:
    used = set(used_names)
    counters: dict[str, int] = defaultdict(int)
    named: list[NewPort] = []
    for wish in missing:
        stem = f"ovn{index}-{wish.pair.peer[: 5 if index else 6]}"
        for number in range(counters[stem], NAMES_PER_CHASSIS):
            if (name := f"{stem}-{number:x}") not in used:
                used.add(name)
                named.append(NewPort(name=name, wanted=wish))
                counters[stem] = number + 1
                break
    return tuple(named)


def _options(pair: Pair, settings: PortSettings, *, csum: bool | None) -> Options:
    options = {"remote_ip": str(pair.remote), "key": "flow"}
    if csum is not None:
        options["csum"] = "true" if csum else "false"
    if pair.out_port != DEFAULT_PORT[pair.type]:
        options["dst_port"] = str(pair.out_port)
    if settings.tos not in ("", "none"):
        options["tos"] = settings.tos
    if settings.df_default:
        options["df_default"] = settings.df_default
    if settings.ipsec:
        options["remote_name"] = pair.peer
        for switch in _SWITCHES:
            # smap_get_bool: anything but "true" is false.
            if settings.sb_options.get(switch, "").lower() == "true":
                options[switch] = "yes"
    if settings.ipsec or settings.set_local_ip or pair.type in settings.several:
        options["local_ip"] = str(pair.local)
    return in_order(options)


def _also(pair: Pair, settings: PortSettings) -> Options:
    """As of OVN 24.09 local_ip is always there, and every ipsec_ option of SB as it stands."""
    options = {"local_ip": str(pair.local)}
    for key, text in settings.sb_options.items():
        if not settings.ipsec or not key.startswith("ipsec_"):
            continue
        if key not in _SWITCHES:
            options[key] = text
        elif text.lower() in ("true", "yes"):
            options[key] = "yes"
    return in_order(options)


_SWITCHES = ("ipsec_encapsulation", "ipsec_forceencaps")


def _chassis_id(pair: Pair, *, long: bool) -> str:
    return f"{pair.peer}@{pair.remote}%{pair.local}" if long else f"{pair.peer}@{pair.remote}"


def _pair_key(pair: Pair) -> tuple[str, str, tuple[int, int], tuple[int, int]]:
    return pair.peer, pair.type, _address_key(pair.remote), _address_key(pair.local)


def _address_key(address: IpAddress) -> tuple[int, int]:
    return address.version, int(address)
