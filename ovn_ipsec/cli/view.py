# SPDX-License-Identifier: Apache-2.0
"""Pure: both databases as one value, from which every question about policy is answered."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..errors import InputError
from ..model.chassis import ChassisName, EncapType, IpAddress
from ..model.policy import ClusterPolicy, EncryptionPolicy, Mode
from ..model.status import Digest
from ..policy.topology import Membership
from ..schema import encap as encap_schema
from ..schema import nb_global, report, sb_global
from ..schema.encap import Chassis, RawChassis


@dataclass(frozen=True, slots=True, kw_only=True)
class RawNorthbound:
    """Rows of the northbound database."""

    ipsec: bool
    options: Mapping[str, str]
    external_ids: Mapping[str, str]
    switches: tuple[tuple[str, Mapping[str, str]], ...] = ()
    """Name and other_config of every Logical_Switch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSouthbound:
    """Rows of the southbound database."""

    external_ids: Mapping[str, str]
    """Of SB_Global; empty before there is one."""
    chassis: tuple[RawChassis, ...] = ()
    privates: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Chassis name to Chassis_Private.external_ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChassisView:
    """A chassis that can be a peer, and what its controller reports."""

    chassis: Chassis
    hostname: str = ""
    azs: frozenset[str] = frozenset()
    digest: Digest | None = None
    """None: no controller of ours runs there, or its report does not parse."""
    digest_error: InputError | None = None
    contested: frozenset[tuple[EncapType, IpAddress]] = frozenset()
    """What another chassis claims too, type and address, as the index of the table has it."""
    rivals: frozenset[tuple[IpAddress, ChassisName]] = frozenset()
    """Chassis that have one of its addresses in a row of theirs, for whatever type."""

    @property
    def name(self) -> str:
        """Its name, which is safe to show."""
        return str(self.chassis.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Southbound:
    """What the southbound database describes."""

    policy: ClusterPolicy | None
    """What is in force; None when it was never written, or does not parse (see error)."""
    error: InputError | None
    chassis: Mapping[str, ChassisView]
    """By name, sorted."""
    refused: tuple[InputError, ...]
    """Of Chassis and Encap rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The cluster as both databases describe it."""

    ipsec: bool
    """The switch."""
    options: Mapping[str, str]
    """NB_Global.options."""
    reported: Mapping[str, str]
    """NB_Global.external_ids."""
    asked: EncryptionPolicy
    """What of NB could be understood."""
    errors: tuple[InputError, ...]
    """What could not."""
    junk: bool
    """Whether these errors keep what NB asks for from being taken over."""
    network_errors: tuple[InputError, ...]
    """What of the logical switches could not; these do that too."""
    switches: frozenset[str]
    """Names of all logical switches."""
    networks: Mapping[str, Mode]
    """Logical switches that ask for themselves."""
    policy: ClusterPolicy | None
    """What SB has in force; None when it was never written, or does not parse (see sb_error)."""
    sb_error: InputError | None
    chassis: Mapping[str, ChassisView]
    """By name, sorted."""
    refused: tuple[InputError, ...]
    """Of Chassis and Encap rows."""
    memberships: Mapping[str, Membership] = field(default_factory=dict)
    """Networks by name of the chassis, as far as rules name networks."""

    @property
    def broken(self) -> bool:
        """Whether what NB asks for does not parse, so that the last good policy stays."""
        return self.junk or bool(self.network_errors)


def make_snapshot(nb: RawNorthbound, sb: RawSouthbound) -> Snapshot:
    """Parse all rows; a bad one costs only itself, as in the daemons."""
    asked, errors, junk = _parse_options(nb.options)
    networks, network_errors = nb_global.parse_networks(_network_texts(nb.switches))
    seen = parse_southbound(sb)
    return Snapshot(
        ipsec=nb.ipsec,
        options=nb.options,
        reported=nb.external_ids,
        asked=asked,
        errors=errors,
        junk=junk,
        network_errors=network_errors,
        switches=frozenset(name for name, _ in nb.switches),
        networks=networks,
        policy=seen.policy,
        sb_error=seen.error,
        chassis=seen.chassis,
        refused=seen.refused,
    )


def parse_southbound(sb: RawSouthbound) -> Southbound:
    """Parse all rows of the southbound; a bad one costs only itself."""
    policy, failure = None, None
    try:
        policy = sb_global.parse_policy(sb.external_ids)
    except InputError as error:
        failure = error
    chassis, refused = _parse_chassis(sb)
    return Southbound(policy=policy, error=failure, chassis=chassis, refused=refused)


def with_options(snapshot: Snapshot, changes: Mapping[str, str | None]) -> Snapshot:
    """The same cluster with other keys in NB_Global.options; None removes one."""
    options = {**snapshot.options, **changes}
    kept = {key: text for key, text in options.items() if text is not None}
    asked, errors, junk = _parse_options(kept)
    return replace(snapshot, options=kept, asked=asked, errors=errors, junk=junk)


def _parse_options(
    options: Mapping[str, str],
) -> tuple[EncryptionPolicy, tuple[InputError, ...], bool]:
    """Parse as far as possible, and tell whether a daemon would take it over."""
    lenient = nb_global.parse_policy(False, options)
    strict = nb_global.parse_policy(True, options)
    policy = lenient.policy or EncryptionPolicy(enabled=False)
    return policy, lenient.errors, strict.policy is None


def _network_texts(switches: Iterable[tuple[str, Mapping[str, str]]]) -> dict[str, str]:
    """What networks ask for; switches of one name are one, and must not contradict each other."""
    texts: dict[str, set[str]] = {}
    for name, other_config in switches:
        if nb_global.NETWORK_MODE in other_config:
            texts.setdefault(name, set()).add(other_config[nb_global.NETWORK_MODE])
    return {name: ", ".join(sorted(found)) for name, found in texts.items()}


def _parse_chassis(sb: RawSouthbound) -> tuple[dict[str, ChassisView], tuple[InputError, ...]]:
    views: dict[str, ChassisView] = {}
    refused: list[InputError] = []
    for raw in sorted(sb.chassis, key=lambda raw: raw.name):
        parsed = encap_schema.parse_chassis(raw)
        refused.extend(parsed.errors)
        if parsed.chassis is None:
            continue
        digest, error = _parse_digest(raw.name, sb.privates.get(raw.name, {}))
        views[raw.name] = ChassisView(
            chassis=parsed.chassis,
            hostname=raw.hostname,
            azs=encap_schema.availability_zones(raw.other_config),
            digest=digest,
            digest_error=error,
        )
    claims = Counter(claim for view in views.values() for claim in _claims(view))
    holders: defaultdict[IpAddress, set[ChassisName]] = defaultdict(set)
    for view in views.values():
        for _, ip in _claims(view):
            holders[ip].add(view.chassis.name)
    for name, view in views.items():
        mine = _claims(view)
        views[name] = replace(
            view,
            contested=frozenset(claim for claim in mine if claims[claim] > 1),
            rivals=frozenset(
                (ip, other) for _, ip in mine for other in holders[ip] if other != name
            ),
        )
    return views, tuple(refused)


def _claims(view: ChassisView) -> frozenset[tuple[EncapType, IpAddress]]:
    return frozenset((intent.encap.type, intent.encap.ip) for intent in view.chassis.encaps)


def _parse_digest(
    name: str, external_ids: Mapping[str, str]
) -> tuple[Digest | None, InputError | None]:
    try:
        return report.parse_digest(name, external_ids), None
    except InputError as error:
        return None, error
