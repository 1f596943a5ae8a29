# SPDX-License-Identifier: Apache-2.0
"""Pure: what the operator asked for, and how far the cluster has followed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NewType

from .chassis import ChassisName


class Mode(StrEnum):
    """How a pair is treated, weakest first."""

    OFF = "off"
    PREFER = "prefer"
    REQUIRE = "require"

    @property
    def strength(self) -> int:
        """Rank for comparisons: off 0, prefer 1, require 2."""
        return _STRENGTH[self]


_STRENGTH = {Mode.OFF: 0, Mode.PREFER: 1, Mode.REQUIRE: 2}


def strongest(*modes: Mode) -> Mode:
    """Return the strongest of the given modes; at least one is needed."""
    return max(modes, key=lambda mode: mode.strength)


class Phase(StrEnum):
    """The steps of a rollout (SB_Global.external_ids:ovn-ipsec-phase)."""

    OFF = "off"
    PREPARE = "prepare"
    ESTABLISH = "establish"
    ENFORCE = "enforce"
    RELAX = "relax"


PROTECTION = (Phase.OFF, Phase.RELAX, Phase.PREPARE, Phase.ESTABLISH, Phase.ENFORCE)
"""Phases, the least protective first."""


class Rollout(StrEnum):
    """Whether the rollout waits for every pair, or continues at once."""

    GATED = "gated"
    IMMEDIATE = "immediate"


class Revocation(StrEnum):
    """What must be known about a peer's certificate, besides that it is not known to be revoked."""

    RELAXED = "relaxed"
    """Nothing."""
    IFURI = "ifuri"
    """That it is not revoked, if there is a responder: named in the certificate, or configured."""
    STRICT = "strict"
    """That it is not revoked."""


class Auth(StrEnum):
    """How chassis authenticate to each other."""

    CA = "ca"
    """Certificates of an authority that all chassis trust; the SAN DNS name is the chassis name."""
    PINNED = "pinned"
    """Certificates that each chassis makes itself and publishes in its own Chassis row."""
    PSK = "psk"
    """A secret of the cluster in a file, from which the key of each pair is derived."""


class Profile(StrEnum):
    """Named cipher suites, weakest claim first; each backend has its own spelling for them."""

    DEFAULT = "default"
    """Modern suites first, and the one that a stock ovs-monitor-ipsec offers last."""
    CHACHA20 = "chacha20"
    """ChaCha20-Poly1305 (RFC 7634), for hosts without AES instructions."""
    AES256_SHA256 = "aes256-sha256"
    """AES-256-CBC with HMAC-SHA2-256-128 (RFC 4868), for hardware without AEAD."""
    CNSA = "cnsa"
    """AES-256-GCM, SHA-384, ECP-384 (RFC 9206)."""
    PQ = "pq"
    """AES-256-GCM with ML-KEM-768 in addition to X25519 (RFC 9370)."""

    @property
    def strength(self) -> int:
        """Rank for comparisons, 0 for the default: if two ends differ, the higher one applies."""
        return list(Profile).index(self)


ClassName = NewType("ClassName", str)
"""Encaps that no rule can tell apart: `[a-z0-9]{1,16}`, made by northd_ext."""

ClassPair = tuple[ClassName, ClassName]
"""Two classes, the smaller name first."""


def class_pair(one: ClassName, other: ClassName) -> ClassPair:
    """Put two classes in the order in which ClusterPolicy.pairs names them."""
    return (one, other) if one <= other else (other, one)


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """How the policy treats a pair."""

    mode: Mode
    profile: Profile = Profile.DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Typed IKE and ESP settings; None means the daemon's or our default.

    Source: ovn-nb(5) NB_Global options ipsec_*; ranges in schema.nb_global.
    """

    force_encapsulation: bool = False
    """UDP encapsulation (RFC 3948) even if no NAT is detected."""
    replay_window: int | None = None
    """Packets; 0 disables the check (RFC 4303 section 3.4.3)."""
    dpd_delay_s: int | None = None
    dpd_timeout_s: int | None = None
    esp_lifetime_s: int | None = None
    ike_lifetime_s: int | None = None


class SelectorKind(StrEnum):
    """What a selector matches on."""

    ANY = "any"
    CHASSIS = "chassis"
    """Chassis.name, as a glob."""
    HOST = "host"
    """Chassis.hostname, as a glob."""
    ZONE = "zone"
    """One of Chassis.transport_zones."""
    AZ = "az"
    """One of the availability zones in ovn-cms-options."""
    CIDR = "cidr"
    """Encap.ip, as a prefix."""
    NETWORK = "network"
    """Logical_Switch.name of a port that the chassis hosts."""


REMOTE = "remote:"
"""Precedes a selector of chassis of other availability zones."""

NAMED = frozenset({SelectorKind.ZONE, SelectorKind.AZ, SelectorKind.NETWORK})
"""Selectors whose argument is a freely chosen name, in any characters."""

BARE_NAME = re.compile(r"[A-Za-z0-9._:/@+-]+\Z")
"""Names that rules write without quotes; all others are quoted, and these never are."""


@dataclass(frozen=True, slots=True)
class Selector:
    """One end of a rule."""

    kind: SelectorKind
    argument: str = ""
    """In its canonical form; empty for ANY."""
    remote: bool = False
    """Whether it matches chassis of other availability zones only; else it matches none of them."""

    def __str__(self) -> str:
        """Return the only spelling of this selector in a rule."""
        prefix = REMOTE if self.remote else ""
        if self.kind is SelectorKind.ANY:
            return f"{prefix}{self.kind}"
        argument = self.argument
        if self.kind in NAMED and not BARE_NAME.match(argument):
            escaped = argument.replace("\\", r"\\").replace('"', r"\"")
            argument = f'"{escaped}"'
        return f"{prefix}{self.kind}:{argument}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One policy rule: it matches an unordered pair of encaps."""

    priority: int
    """1 to 32767; the highest-priority rule that matches decides."""
    selectors: tuple[Selector, Selector]
    mode: Mode
    profile: Profile | None = None
    """None: the cluster's."""

    @property
    def across(self) -> bool:
        """Whether it matches pairs with other availability zones; else it matches none of them."""
        return any(selector.remote for selector in self.selectors)

    def __str__(self) -> str:
        """Return the only spelling of this rule in NB_Global.options."""
        words = [*map(str, self.selectors), str(self.mode)]
        return " ".join(words if self.profile is None else [*words, f"profile={self.profile}"])


def network_rule(name: str, mode: Mode) -> Rule:
    """The rule for which Logical_Switch.other_config:ovn-ipsec is shorthand, at lowest priority."""
    ends = (Selector(SelectorKind.NETWORK, name), Selector(SelectorKind.ANY))
    return Rule(priority=1, selectors=ends, mode=mode)


HOLD_S = 300
"""See EncryptionPolicy.hold_s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionPolicy:
    """The operator's policy as NB_Global states it."""

    enabled: bool
    mode: Mode = Mode.REQUIRE
    rollout: Rollout = Rollout.GATED
    auth: Auth = Auth.CA
    tuning: Tuning = field(default_factory=Tuning)
    profile: Profile = Profile.DEFAULT
    """For pairs whose rule does not name one."""
    rules: tuple[Rule, ...] = ()
    """Highest priority first."""
    quarantine: frozenset[ChassisName] = frozenset()
    """Chassis with which nobody may communicate."""
    hold_s: int = HOLD_S
    """Seconds for which a chassis stays a member of a network after its last port has left."""


def _no_pairs() -> Mapping[ClassPair, Treatment]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPolicy:
    """The authoritative policy that northd_ext publishes in SB_Global.external_ids."""

    generation: int
    phase: Phase
    default: Mode
    floor: Mode
    """No pair is treated below this, whatever an Encap row says."""
    auth: tuple[Auth, ...] = (Auth.CA,)
    """Authentication methods: chassis use the first, and accept the others from peers, too."""
    authorities: str = ""
    """PEM bundle of the authorities that sign what chassis request; empty: there is none."""
    quarantine: frozenset[ChassisName] = frozenset()
    """Chassis whose SAs every peer ends, and with which nothing is exchanged in clear either."""
    revoked: frozenset[ChassisName] | None = frozenset()
    """Those of them that the certificate authority has revoked, as opposed to the operator's list;
    None if an older northd_ext did not say."""
    origin: str = ""
    """The northbound from which it came: the UUID of its NB_Global row; empty if an older
    northd_ext did not say."""
    tuning: Tuning = field(default_factory=Tuning)
    profile: Profile = Profile.DEFAULT
    """For pairs that `pairs` does not name."""
    pairs: Mapping[ClassPair, Treatment] = field(default_factory=_no_pairs, hash=False)
    """Sparse and symmetric: pairs of classes with a treatment other than the default."""
    rules: tuple[str, ...] = ()
    """The rules behind `pairs`, as `<priority> <rule>`, highest first: for people, and for a
    northd_ext that finds NB's rules invalid."""
    vnis: frozenset[int] = frozenset()
    """Geneve VNIs (Datapath_Binding.tunnel_key) whose packets must never be clear, on any pair."""


GENERATION_MAX = 2**53 - 1
"""The highest generation: the largest integer that every JSON reader represents exactly."""
CLOCK_MAX_MS = 4_102_444_800_000
"""The year 2100: a wall clock beyond it is broken, and no generation is made from it."""


def next_generation(last: int, wall_ms: int) -> int:
    """Return the generation after one.

    It is made from the time, so a northd that was restored from a backup with all its databases
    still produces newer ones than the chassis have seen. A clock that goes back lowers nothing, and
    after a clock that was ahead, generations are simply counted on from there.

    Args:
        last: The highest known generation.
        wall_ms: Milliseconds since the epoch.

    Returns:
        A higher one; GENERATION_MAX itself has no successor, but counting never reaches it.
    """
    clock = wall_ms if wall_ms <= CLOCK_MAX_MS else 0
    return min(max(last + 1, clock), GENERATION_MAX)


NO_POLICY = ClusterPolicy(generation=0, phase=Phase.OFF, default=Mode.OFF, floor=Mode.OFF)
"""What applies if northd_ext has never written anything."""
