# SPDX-License-Identifier: Apache-2.0
"""Pure: what is measured of a pair of chassis, and the median and spread of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median, quantiles

AS_IT_IS = ""
"""In the place of a profile: the pair was measured as the policy has it."""
NONE = "none"
"""In the place of a profile: no encryption."""


class Traffic(StrEnum):
    """What is sent in one run."""

    IDLE = "idle"
    """Only pings."""
    ONE = "one_stream"
    """One TCP stream."""
    FOUR = "four_streams"
    """Four of them at once."""
    SMALL = "small_packets"
    """UDP datagrams of SMALL_BYTES."""


SMALL_BYTES = 64
"""Payload of a small datagram."""
STREAMS = {Traffic.ONE: 1, Traffic.FOUR: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the processors of a host have done since it booted, in seconds of all together."""

    at_s: float
    """When, on a clock of that host that only goes forward."""
    user_s: float
    """Programs, nice ones too."""
    system_s: float
    """The kernel on behalf of programs, and its own threads."""
    softirq_s: float
    """Interrupts and what follows from them, such as arriving packets."""
    stolen_s: float
    """Taken away by the hypervisor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """How many processors were busy, on the average of a run."""

    user: float
    system: float
    softirq: float
    stolen: float

    @property
    def total(self) -> float:
        """What the host itself used."""
        return self.user + self.system + self.softirq


def busy(before: Sample, after: Sample) -> Busy:
    """Compare two samples of one host.

    Raises:
        ValueError: The second was not taken later.
    """
    time_s = after.at_s - before.at_s
    if time_s <= 0:
        raise ValueError(f"{time_s:g} s lie between two samples")
    return Busy(
        user=max(0.0, after.user_s - before.user_s) / time_s,
        system=max(0.0, after.system_s - before.system_s) / time_s,
        softirq=max(0.0, after.softirq_s - before.softirq_s) / time_s,
        stolen=max(0.0, after.stolen_s - before.stolen_s) / time_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What arrived, by iperf3."""

    mbps: float
    """Megabits of payload a second, 10^6 bits each."""
    pps: float = 0.0
    """Datagrams a second; 0 for TCP."""
    lost: float = 0.0
    """Share of the datagrams that did not arrive, 0 to 1."""
    retransmits: int = 0
    """TCP segments that were sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One measurement."""

    traffic: Traffic
    seconds: float
    """How long the processors were watched."""
    carried: Carried | None
    """None: nothing was sent but pings."""
    rtts_ms: tuple[float, ...]
    """Of the pings that were answered."""
    unanswered: int
    near: Busy
    far: Busy

    @property
    def rtt_ms(self) -> float | None:
        """Median round trip; None: no ping was answered."""
        return median(self.rtts_ms) if self.rtts_ms else None

    @property
    def rtt_high_ms(self) -> float | None:
        """The round trip that 95 of 100 do not exceed; None: too few were answered."""
        if len(self.rtts_ms) < 2:  # noqa: PLR2004 - what quantiles() needs
            return None
        return quantiles(self.rtts_ms, n=20, method="inclusive")[-1]

    def cost_s(self, part: Callable[[Busy], float], side: Busy) -> float | None:
        """Processor time for a gigabyte (10^9 bytes) that arrived; None: nothing did."""
        if self.carried is None or self.carried.mbps <= 0:
            return None
        return part(side) * 8000 / self.carried.mbps


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Repeated measurements of one figure."""

    low: float
    median: float
    high: float
    values: tuple[float, ...]
    """In the order in which they were measured."""


def spread(values: Iterable[float | None]) -> Spread | None:
    """Sum figures up; None where a run has none, or there is no run."""
    found = tuple(value for value in values if value is not None)
    if not found:
        return None
    return Spread(low=min(found), median=median(found), high=max(found), values=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """All runs with one treatment of the pair."""

    profile: str
    """What was asked for: a profile, NONE or AS_IT_IS."""
    state: str
    """What the controllers said of the pair."""
    suite: str
    """The cipher suite of its SAs; empty: none is known."""
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """What it is called in tables and pictures."""
        return self.profile or "as it is"

    def of(self, traffic: Traffic) -> tuple[Run, ...]:
        """The runs with one kind of traffic."""
        return tuple(run for run in self.runs if run.traffic is traffic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the figures of a host depend on."""

    chassis: str
    kernel: str
    boot: str
    """Of the running kernel: two chassis that have the same one share their processors."""
    processor: str
    """Its model."""
    processors: int
    device: str
    """The interface that has the encap address."""
    mtu: int
    """Of that."""
    offloads: tuple[str, ...]
    """Those that are on there, of the ones that matter for tunnels and ESP; sorted."""
    drivers: Mapping[str, str] = field(default_factory=dict)
    """Which driver the kernel takes for each ESP algorithm that it has been asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that one call has measured."""

    release: str
    """Of ovn-ipsec."""
    began: str
    """Wall time, RFC 3339."""
    near: Facts
    far: Facts
    inner_mtu: int
    """Of the two ports between which was measured."""
    seconds: float
    """What each run was to take."""
    rate_mbps: int
    """The limit; 0: none."""
    series: tuple[Series, ...]

    @property
    def one_kernel(self) -> bool:
        """Whether both ends share a kernel, so that processors are counted for both together."""
        return self.near.boot == self.far.boot
