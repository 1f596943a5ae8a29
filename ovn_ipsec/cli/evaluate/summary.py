# SPDX-License-Identifier: Apache-2.0
"""Pure: what was found, for programs and as the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from ...model.text import plural
from .values import SMALL_BYTES, Busy, Facts, Findings, Run, Series, Spread, Traffic, spread

COLUMNS = (
    "PROFILE",
    "TRAFFIC",
    "MBIT/S",
    "PACKETS/S",
    "LOST %",
    "PING MS",
    "95 OF 100 MS",
)
LIMITED = 0.95
"""Share of the limit from which on it may be the limit that was measured."""
WORDS = {
    Traffic.IDLE: "none",
    Traffic.ONE: "1 stream",
    Traffic.FOUR: "4 streams",
    Traffic.SMALL: f"UDP {SMALL_BYTES} B",
}
PARTS: dict[str, Callable[[Busy], float]] = {
    "user": lambda side: side.user,
    "system": lambda side: side.system,
    "softirq": lambda side: side.softirq,
}
"""What a host's processors do."""


def figure(runs: tuple[Run, ...], of: Callable[[Run], float | None]) -> Spread | None:
    """One figure over all runs."""
    return spread(map(of, runs))


def mbps(run: Run) -> float | None:
    """Throughput."""
    return None if run.carried is None else run.carried.mbps


def pps(run: Run) -> float | None:
    """Datagrams a second; None: it is no run of datagrams."""
    return None if run.carried is None or not run.carried.pps else run.carried.pps


def lost(run: Run) -> float | None:
    """Share of lost datagrams."""
    is_counted = run.traffic is Traffic.SMALL and run.carried is not None
    return run.carried.lost if is_counted and run.carried else None


def sides(findings: Findings) -> tuple[tuple[str, Callable[[Run], Busy]], ...]:
    """Whose processors there are: each with its name; one where both ends share a kernel."""
    near, far = findings.near.chassis, findings.far.chassis
    if findings.one_kernel:
        return ((f"{near} and {far}", lambda run: run.near),)
    return ((near, lambda run: run.near), (far, lambda run: run.far))


def columns(findings: Findings) -> tuple[str, ...]:
    """Headings of the table."""
    names = [name for name, _ in sides(findings)]
    cpu = [f"CPU {name} %" for name in names] + [f"CPU S/GB {name}" for name in names]
    return (*COLUMNS, *cpu)


def rows(findings: Findings) -> Iterator[tuple[str, ...]]:
    """One row for each profile and kind of traffic, medians with the lowest and highest value."""
    who = sides(findings)
    for series in findings.series:
        for traffic in Traffic:
            runs = series.of(traffic)
            if not runs:
                continue
            yield (
                series.name,
                WORDS[traffic],
                shown(figure(runs, mbps)),
                shown(figure(runs, pps)),
                shown(figure(runs, lost), scale=100),
                shown(figure(runs, lambda run: run.rtt_ms)),
                shown(figure(runs, lambda run: run.rtt_high_ms)),
                *(shown(figure(runs, _total(side)), scale=100) for _, side in who),
                *(shown(figure(runs, cost(side))) for _, side in who),
            )


def _total(side: Callable[[Run], Busy]) -> Callable[[Run], float]:
    return lambda run: side(run).total


def cost(
    side: Callable[[Run], Busy], part: Callable[[Busy], float] = lambda side: side.total
) -> Callable[[Run], float | None]:
    """Processor time for a gigabyte, of one side, all of it or a part."""
    return lambda run: run.cost_s(part, side(run))


def shown(found: Spread | None, *, scale: float = 1.0) -> str:
    """A median with its spread, or nothing."""
    if found is None:
        return ""
    low, middle, high = (_digits(value * scale) for value in (found.low, found.median, found.high))
    return middle if low == high else f"{middle} ({low}-{high})"


def _digits(value: float) -> str:
    """Three significant digits, and no exponent."""
    if value >= 100:  # noqa: PLR2004 - three digits
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"  # noqa: PLR2004


def facts_lines(findings: Findings) -> Iterator[str]:
    """What the figures depend on, for people."""
    for side in (findings.near, findings.far):
        processors = plural(side.processors, "processor")
        yield f"{side.chassis}: Linux {side.kernel}, {processors} ({side.processor})"
        yield f"  {side.device}, MTU {side.mtu}; on there: {', '.join(side.offloads) or 'nothing'}"
        for algorithm, driver in side.drivers.items():
            yield f"  {algorithm}: {driver}"
    if findings.one_kernel:
        yield "Both run on one kernel: its processors are counted once, for both together."
    limit = f"at most {findings.rate_mbps} Mbit/s" if findings.rate_mbps else "without a limit"
    yield f"Runs of {findings.seconds:g} s, {limit}, between ports of MTU {findings.inner_mtu}."
    for series in findings.series:
        suite = f", {series.suite}" if series.suite else ""
        yield f"{series.name}: {series.state}{suite}"


def limited(findings: Findings) -> list[str]:
    """Name the profiles for which it may be the limit that was measured, and not the pair."""
    if not findings.rate_mbps:
        return []
    return [
        series.name
        for series in findings.series
        for traffic in (Traffic.ONE, Traffic.FOUR)
        if (found := figure(series.of(traffic), mbps)) is not None
        and found.high >= LIMITED * findings.rate_mbps
    ]


def as_json(findings: Findings) -> dict[str, Any]:
    """What --json prints: every figure of every run, and what they depend on."""
    return {
        "release": findings.release,
        "began": findings.began,
        "seconds": findings.seconds,
        "rate_mbps": findings.rate_mbps or None,
        "inner_mtu": findings.inner_mtu,
        "one_kernel": findings.one_kernel,
        "chassis": [_facts(findings.near), _facts(findings.far)],
        "series": [_series(findings, series) for series in findings.series],
    }


def _facts(side: Facts) -> dict[str, Any]:
    return {key: value for key, value in asdict(side).items() if key != "boot"}


def _series(findings: Findings, series: Series) -> dict[str, Any]:
    return {
        "profile": series.profile or None,
        "state": series.state,
        "suite": series.suite,
        "traffic": {
            traffic.value: _traffic(findings, runs)
            for traffic in Traffic
            if (runs := series.of(traffic))
        },
    }


def _traffic(findings: Findings, runs: tuple[Run, ...]) -> dict[str, Any]:
    def again(run: Run) -> float | None:
        return None if run.carried is None else float(run.carried.retransmits)

    return {
        "mbps": _spread(figure(runs, mbps)),
        "pps": _spread(figure(runs, pps)),
        "lost": _spread(figure(runs, lost)),
        "retransmits": _spread(figure(runs, again)),
        "rtt_ms": _spread(figure(runs, lambda run: run.rtt_ms)),
        "rtt_95_ms": _spread(figure(runs, lambda run: run.rtt_high_ms)),
        "unanswered": _spread(figure(runs, lambda run: float(run.unanswered))),
        "cpu": {
            name: {
                part: _spread(figure(runs, _part(side, of)))
                for part, of in (*PARTS.items(), ("stolen", lambda side: side.stolen))
            }
            | {"seconds_for_a_gigabyte": _spread(figure(runs, cost(side)))}
            for name, side in sides(findings)
        },
    }


def _part(
    side: Callable[[Run], Busy], of: Callable[[Busy], float]
) -> Callable[[Run], float | None]:
    return lambda run: of(side(run))


def _spread(found: Spread | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        key: [round(v, 6) for v in value] if isinstance(value, tuple) else round(value, 6)
        for key, value in asdict(found).items()
    }
