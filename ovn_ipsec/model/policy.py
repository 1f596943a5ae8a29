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
    """How a pair is to be treated, weakest first."""

    OFF = "off"
    PREFER = "prefer"
    REQUIRE = "require"

    @property
    def strength(self) -> int:
        """Rank for comparisons: off 0, prefer 1, require 2."""
        return _STRENGTH[self]


_STRENGTH = {Mode.OFF: 0, Mode.PREFER: 1, Mode.REQUIRE: 2}


def strongest(*modes: Mode) -> Mode:
    """The strongest of the modes given; at least one is needed."""
    return max(modes, key=lambda mode: mode.strength)


class Phase(StrEnum):
    """The steps of a rollout (SB_Global.external_ids:ovn-ipsec-phase)."""

    OFF = "off"
    PREPARE = "prepare"
    ESTABLISH = "establish"
    ENFORCE = "enforce"
    RELAX = "relax"


PROTECTION = (Phase.OFF, Phase.RELAX, Phase.PREPARE, Phase.ESTABLISH, Phase.ENFORCE)
"""Phases, the one that protects least first."""


class Rollout(StrEnum):
    """Whether the rollout waits for every pair, or goes on at once."""

    GATED = "gated"
    IMMEDIATE = "immediate"


class Revocation(StrEnum):
    """What must be known of a peer's certificate, besides that it is not known to be revoked."""

    RELAXED = "relaxed"
    """Nothing."""
    IFURI = "ifuri"
    """That it is not revoked, where there is somebody to ask: a URI in it, or one that is set."""
    STRICT = "strict"
    """That it is not revoked."""


class Auth(StrEnum):
    """How chassis prove who they are to each other."""

    CA = "ca"
    """Certificates of an authority that all trust; the chassis name is the SAN DNS name."""
    PINNED = "pinned"
    """Certificates that each chassis makes itself and publishes in its own Chassis row."""
    PSK = "psk"
    """A secret of the cluster in a file; the key of each pair is derived from it."""


class Profile(StrEnum):
    """Named cipher suites, weakest claim first; each backend spells them in its own words."""

    DEFAULT = "default"
    """Modern suites first, and last what a stock ovs-monitor-ipsec offers."""
    CHACHA20 = "chacha20"
    """ChaCha20-Poly1305 (RFC 7634), for hosts without AES instructions."""
    AES256_SHA256 = "aes256-sha256"
    """AES-256-CBC with HMAC-SHA2-256-128 (RFC 4868), for hardware that knows no AEAD."""
    CNSA = "cnsa"
    """AES-256-GCM, SHA-384, ECP-384 (RFC 9206)."""
    PQ = "pq"
    """AES-256-GCM with ML-KEM-768 beside X25519 (RFC 9370)."""

    @property
    def strength(self) -> int:
        """Rank for comparisons, 0 for the default: where two ends differ the higher one holds."""
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
    """What policy says of a pair."""

    mode: Mode
    profile: Profile = Profile.DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Typed IKE and ESP settings; None leaves the daemon's or our default.

    Source: ovn-nb(5) NB_Global options ipsec_*; ranges in schema.nb_global.
    """

    force_encapsulation: bool = False
    """UDP encapsulation (RFC 3948) even where no NAT is seen."""
    replay_window: int | None = None
    """Packets; 0 turns the check off (RFC 4303 section 3.4.3)."""
    dpd_delay_s: int | None = None
    dpd_timeout_s: int | None = None
    esp_lifetime_s: int | None = None
    ike_lifetime_s: int | None = None


class SelectorKind(StrEnum):
    """What a selector looks at."""

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


NAMED = frozenset({SelectorKind.ZONE, SelectorKind.AZ, SelectorKind.NETWORK})
"""Selectors whose argument is a name that somebody chose, in any characters."""

BARE_NAME = re.compile(r"[A-Za-z0-9._:/@+-]+\Z")
"""Names that rules write without quotes; all others stand in them, and these never do."""


@dataclass(frozen=True, slots=True)
class Selector:
    """One end of a rule."""

    kind: SelectorKind
    argument: str = ""
    """In its canonical form; empty for ANY."""

    def __str__(self) -> str:
        """As rules write it, in one way of writing."""
        if self.kind is SelectorKind.ANY:
            return str(self.kind)
        argument = self.argument
        if self.kind in NAMED and not BARE_NAME.match(argument):
            escaped = argument.replace("\\", r"\\").replace('"', r"\"")
            argument = f'"{escaped}"'
        return f"{self.kind}:{argument}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One policy rule: it matches an unordered pair of encaps."""

    priority: int
    """1 to 32767; the highest that matches decides."""
    selectors: tuple[Selector, Selector]
    mode: Mode
    profile: Profile | None = None
    """None: the cluster's."""

    def __str__(self) -> str:
        """As NB_Global.options writes it, in one way of writing."""
        words = [*map(str, self.selectors), str(self.mode)]
        return " ".join(words if self.profile is None else [*words, f"profile={self.profile}"])


def network_rule(name: str, mode: Mode) -> Rule:
    """The rule that Logical_Switch.other_config:ovn-ipsec is short for, of the lowest priority."""
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
    """For pairs that no rule gives one."""
    rules: tuple[Rule, ...] = ()
    """Highest priority first."""
    quarantine: frozenset[ChassisName] = frozenset()
    """Chassis that nobody may talk to."""
    hold_s: int = HOLD_S
    """Seconds that a chassis counts as a network's after its last port has gone."""


def _no_pairs() -> Mapping[ClassPair, Treatment]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPolicy:
    """The authoritative policy that northd_ext publishes in SB_Global.external_ids."""

    generation: int
    phase: Phase
    default: Mode
    floor: Mode
    """No pair goes below it, whatever an Encap row says."""
    auth: tuple[Auth, ...] = (Auth.CA,)
    """How chassis prove who they are: the first. The others are accepted from peers too."""
    authorities: str = ""
    """PEM bundle of the authorities that sign what chassis ask for; empty: nobody does."""
    quarantine: frozenset[ChassisName] = frozenset()
    """Chassis whose SAs end at every peer, and with whom nothing is exchanged in clear either."""
    revoked: frozenset[ChassisName] | None = frozenset()
    """Those of them that the certificate authority has put there, and not the operator; None where
    an older northd_ext did not say."""
    origin: str = ""
    """The northbound that it came from: the UUID of its NB_Global row; empty where an older
    northd_ext did not say."""
    tuning: Tuning = field(default_factory=Tuning)
    profile: Profile = Profile.DEFAULT
    """Of pairs that `pairs` does not name."""
    pairs: Mapping[ClassPair, Treatment] = field(default_factory=_no_pairs, hash=False)
    """Sparse and symmetric: pairs of classes whose treatment is not the default."""
    rules: tuple[str, ...] = ()
    """The rules behind `pairs`, `<priority> <rule>`, highest first: for people, and for a
    northd_ext that finds NB's rules broken."""
    vnis: frozenset[int] = frozenset()
    """Geneve VNIs (Datapath_Binding.tunnel_key) whose packets are never clear, between whomever."""

    @property
    def end_mode(self) -> Mode:
        """The strongest mode of any pair: only where one is `require` is there an enforce."""
        return strongest(self.default, *(t.mode for t in self.pairs.values()))


GENERATION_MAX = 2**53 - 1
"""The highest generation: what every reader of JSON can tell from its neighbours."""
CLOCK_MAX_MS = 4_102_444_800_000
"""The year 2100: a wall clock that says more is broken, and no generation is made of it."""


def next_generation(last: int, wall_ms: int) -> int:
    """The generation after one.

    Made of the time, so that one who was restored from a backup, with all its databases, still
    gives out newer ones than chassis have seen. A clock that goes back lowers nothing, and what
    one that was ahead has given out costs nothing but its beauty: from there on it is counted.

    Args:
        last: The highest one known.
        wall_ms: Milliseconds since the epoch.

    Returns:
        A higher one; GENERATION_MAX itself has no successor, which nobody reaches by counting.
    """
    clock = wall_ms if wall_ms <= CLOCK_MAX_MS else 0
    return min(max(last + 1, clock), GENERATION_MAX)


NO_POLICY = ClusterPolicy(generation=0, phase=Phase.OFF, default=Mode.OFF, floor=Mode.OFF)
"""What holds where northd_ext never wrote anything."""
