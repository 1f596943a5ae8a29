# SPDX-License-Identifier: Apache-2.0
"""Pure: what is known of a chassis and of each of its pairs, from the first event on.

Times are whole seconds since the epoch, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """A certificate, without the certificate."""

    subject: str
    """RFC 4514; likewise for issuer."""
    issuer: str
    serial: str
    """In hex."""
    sha256: str
    """Of the DER, in hex."""
    not_before: int
    not_after: int
    key: str
    """Kind and size of its public key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """What was carried, as the kernel counts it: inside ESP, from the UDP header on."""

    out_bytes: int = 0
    out_packets: int = 0
    in_bytes: int = 0
    in_packets: int = 0

    def plus(self, other: Volume) -> Volume:
        """Add."""
        return Volume(
            out_bytes=self.out_bytes + other.out_bytes,
            out_packets=self.out_packets + other.out_packets,
            in_bytes=self.in_bytes + other.in_bytes,
            in_packets=self.in_packets + other.in_packets,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSa:
    """One SA of the kernel that has carried something, as it was last seen."""

    out: bool
    """Whether it protects what this chassis sends."""
    spi: int
    made_at: int
    bytes: int
    packets: int
    missed: bool = False
    """The last look at the kernel did not show it, and nothing said what it came to."""

    @property
    def volume(self) -> Volume:
        """What it has carried."""
        if self.out:
            return Volume(out_bytes=self.bytes, out_packets=self.packets)
        return Volume(in_bytes=self.bytes, in_packets=self.packets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What the SAs of a pair have carried, and how often one took the place of another."""

    ended: Volume = Volume()
    """SAs that are gone."""
    live: tuple[LiveSa, ...] = ()
    """The others, in no order that means anything."""
    at_least: bool = False
    """An SA went without its last count being seen."""
    rekeys: int = 0
    """CHILD_SAs that took the place of another one."""
    ike_rekeys: int = 0
    """IKE_SAs likewise."""

    @property
    def total(self) -> Volume:
        """What all of them have carried."""
        found = self.ended
        for one in self.live:
            found = found.plus(one.volume)
        return found

    @property
    def figures(self) -> tuple[int, ...]:
        """What a Point keeps of it."""
        total = self.total
        volume = (total.out_bytes, total.out_packets, total.in_bytes, total.in_packets)
        return (*volume, self.rekeys, self.ike_rekeys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The total of a pair at one time."""

    at: int
    figures: tuple[int, ...]
    """The fields of its Volume in their order, then both kinds of rekeys: short on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A time during which a pair was encrypted."""

    begin: int
    """When that was first seen."""
    end: int | None = None
    """None: it lasts."""
    lost: bool = False
    """Nobody saw it end: ``end`` is when it was last seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How a pair was encrypted and authenticated, since ``at``."""

    at: int
    auth: str
    ike: str
    esp: str
    esn: bool
    identity: str
    certificate: Certified | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairEvidence:
    """Everything that is known of a pair."""

    pair: str
    peer: str
    type: str
    local: str
    remote: str
    first: int
    """When it was first seen."""
    state: str
    since: int
    """When this state was first seen."""
    mode: str
    closed: bool = False
    closed_since: int | None = None
    """Since when clear text of it is denied, without a break that is known; None: it is not."""
    unseen_since: int | None = None
    """When a controller was last known to run that had seen it; None: the present one has."""
    spans: tuple[Span, ...] = ()
    spans_dropped: int = 0
    """Older ones, which are no longer kept."""
    held: tuple[int, ...] = ()
    """Gaps, by their beginning, at whose end the SAs were there that were there before."""
    methods: tuple[Method, ...] = ()
    sums: Sums = Sums()
    points: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A time in which no controller ran."""

    begin: int
    """When the last one was last known to run."""
    end: int
    clean: bool = False
    """It ended in an orderly way."""
    rebooted: bool = False
    """Another boot of the machine followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Packets; None for what a layer cannot count."""

    out_denied: int | None = None
    out_clear: int | None = None
    in_denied: int | None = None
    in_clear: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one layer of the guard had counted when it was read."""

    layer: str
    epoch: str
    """What counted: another text means that counting began anew."""
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts at one time."""

    at: int
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The counters of one layer, from one beginning to the next."""

    layer: str
    epoch: str
    after: int | None = None
    """The counters began after this moment, at nought; None: before anybody looked."""
    tallies: tuple[Tally, ...] = ()
    """In the order of time, thinner the older they are; the first and the last are always there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySeen:
    """A generation that was obeyed."""

    generation: int
    phase: str
    obeyed_at: int
    applied_at: int | None = None
    """When all that it demands was in force on this chassis; None: it was not seen to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCertificate:
    """The certificate of this chassis since ``at``; None: there is none."""

    at: int
    certificate: Certified | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostEvidence:
    """What is known of the chassis itself."""

    begun_at: int | None = None
    """When the first controller began to observe; None: none ever did."""
    alive_at: int | None = None
    """When a controller was last known to run."""
    stopped: bool = False
    boot: str = ""
    version: str = ""
    chassis: str = ""
    gaps: tuple[Gap, ...] = ()
    gaps_dropped: int = 0
    policies: tuple[PolicySeen, ...] = ()
    policies_dropped: int = 0
    epochs: tuple[Epoch, ...] = ()
    epochs_dropped: int = 0
    own: tuple[OwnCertificate, ...] = ()
    pairs_dropped: int = 0
    """Pairs that are gone and are no longer kept."""
    unreadable: int = 0
    """Lines of the journal that could not be read."""
