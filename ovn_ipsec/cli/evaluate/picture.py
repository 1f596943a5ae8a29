# SPDX-License-Identifier: Apache-2.0
"""Pure: what was found as a picture: bars, in SVG.

Four panels: throughput, processor time for a gigabyte, small packets, and latency under load. A
thin line over a bar is the spread of its repetitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from .summary import PARTS, cost, figure, mbps, pps, shown, sides
from .values import SMALL_BYTES, Findings, Run, Spread, Traffic, spread

WIDTH, HEIGHT = 1120, 860
_LEFT, _TOP, _GAP = 70, 92, 60
_PANEL_WIDTH, _PLOT_HEIGHT, _PANEL_HEIGHT = 470, 250, 370
_FONT = "font-family='DejaVu Sans, Helvetica, Arial, sans-serif'"
_BLUE, _PALE = "#2b6cb0", "#90bfe8"
_USER, _SYSTEM, _SOFTIRQ = "#d9a441", "#b5482f", "#5b3a6b"
_INK, _FAINT = "#222222", "#dddddd"
_TEXT_MAX = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One colour of a bar."""

    label: str
    colour: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar: pieces on each other, and what is written above."""

    pieces: tuple[Piece, ...]
    total: Spread

    @property
    def top(self) -> float:
        """Where it or its spread ends."""
        return max(self.total.high, sum(piece.value for piece in self.pieces))


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Groups of bars on one axis."""

    title: str
    groups: tuple[tuple[str, tuple[Bar, ...]], ...]
    """What stands below, and its bars."""


def draw(findings: Findings) -> str:
    """The picture as an SVG document."""
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HEIGHT}' "
        f"viewBox='0 0 {WIDTH} {HEIGHT}' role='img' {_FONT}>",
        f"<title>{_safe(_heading(findings))}</title>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>",
        _text(_LEFT - 40, 36, _heading(findings), size=20, weight="bold"),
        _text(_LEFT - 40, 58, _small_print(findings), size=12, colour="#555555"),
    ]
    filled = (panel for panel in panels(findings) if any(bars for _, bars in panel.groups))
    for index, panel in enumerate(filled):
        x = _LEFT + (index % 2) * (_PANEL_WIDTH + _GAP)
        y = _TOP + (index // 2) * _PANEL_HEIGHT
        parts += _panel(panel, x, y)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _heading(findings: Findings) -> str:
    return f"What {findings.near.chassis} to {findings.far.chassis} carries, and what it costs"


def _small_print(findings: Findings) -> str:
    near = findings.near
    limit = f"at most {findings.rate_mbps} Mbit/s" if findings.rate_mbps else "no limit"
    runs = max((len(s.of(Traffic.ONE)) for s in findings.series), default=0)
    return (
        f"Linux {near.kernel}, {near.processors} x {near.processor}; MTU {findings.inner_mtu} in "
        f"{near.mtu}; medians of {runs} runs of {findings.seconds:g} s, {limit}"
    )


def panels(findings: Findings) -> tuple[Panel, ...]:
    """What is drawn."""
    streams = ((Traffic.ONE, "1 stream", _PALE), (Traffic.FOUR, "4 streams", _BLUE))
    idle = ((Traffic.IDLE, "idle", _FAINT), *streams)
    small = ((Traffic.SMALL, f"UDP, {SMALL_BYTES} bytes", _BLUE),)
    return (
        _plain("Throughput, Mbit/s", findings, streams, mbps),
        _processors(findings),
        _plain("Small packets a second", findings, small, pps),
        _plain("Ping under load, ms", findings, idle, lambda run: run.rtt_ms),
    )


def _plain(
    title: str,
    findings: Findings,
    kinds: Sequence[tuple[Traffic, str, str]],
    of: Callable[[Run], float | None],
) -> Panel:
    groups = []
    for series in findings.series:
        bars = []
        for traffic, label, colour in kinds:
            found = figure(series.of(traffic), of)
            if found is not None:
                piece = Piece(label=label, colour=colour, value=found.median)
                bars.append(Bar(pieces=(piece,), total=found))
        groups.append((series.name, tuple(bars)))
    return Panel(title=title, groups=tuple(groups))


def _processors(findings: Findings) -> Panel:
    """A bar for each end, of what its processors do."""
    who = sides(findings)
    colours = dict(zip(PARTS, (_USER, _SYSTEM, _SOFTIRQ), strict=True))
    groups = []
    for series in findings.series:
        runs, bars = series.of(Traffic.FOUR), []
        for _, side in who:
            total = figure(runs, cost(side))
            if total is None:
                continue
            shares = {part: figure(runs, cost(side, of)) for part, of in PARTS.items()}
            whole = sum(found.median for found in shares.values() if found) or 1.0
            # Medians of parts do not add up to the median of the whole: the parts are scaled to it.
            pieces = tuple(
                Piece(
                    label=part,
                    colour=colours[part],
                    value=found.median * total.median / whole,
                )
                for part, found in shares.items()
                if found
            )
            bars.append(Bar(pieces=pieces, total=total))
        groups.append((series.name, tuple(bars)))
    names = ", ".join(name for name, _ in who)
    return Panel(title=f"CPU seconds per GB, 4 streams ({names})", groups=tuple(groups))


def steps(top: float) -> list[float]:
    """Where an axis from 0 has its lines: four to ten round numbers, the last one at the top.

    Args:
        top: The highest value to be shown.
    """
    if top <= 0:
        return [0.0, 1.0]
    size = 10.0 ** floor(log10(top / 4))
    step = next(size * factor for factor in (1, 2, 5, 10) if top / (size * factor) <= 8)  # noqa: PLR2004 - lines
    return [step * number for number in range(ceil(top / step - 1e-9) + 1)]


def _panel(panel: Panel, x: int, y: int) -> Iterator[str]:
    bottom = y + 50 + _PLOT_HEIGHT
    yield _text(x - 40, y + 4, panel.title, size=15, weight="bold")
    yield from _legend(panel, x, y + 24)
    lines = steps(max((bar.top for _, bars in panel.groups for bar in bars), default=0.0))

    def height(value: float) -> float:
        return value / lines[-1] * _PLOT_HEIGHT

    for value in lines:
        at = bottom - height(value)
        yield f"<path d='M{x} {at:.1f}h{_PANEL_WIDTH}' stroke='{_FAINT}'/>"
        yield _text(x - 6, at + 4, f"{value:g}", size=11, anchor="end")
    room = _PANEL_WIDTH / max(1, len(panel.groups))
    for index, (name, bars) in enumerate(panel.groups):
        middle = x + room * (index + 0.5)
        wide = min(64.0, room * 0.84 / max(1, len(bars)))
        yield _text(middle, bottom + 18, name, size=13, anchor="middle")
        for number, bar in enumerate(bars):
            yield from _bar(bar, middle + (number - len(bars) / 2) * wide, wide, bottom, height)


def _bar(
    bar: Bar, left: float, wide: float, bottom: float, height: Callable[[float], float]
) -> Iterator[str]:
    at = bottom
    for piece in bar.pieces:
        at -= height(piece.value)
        yield (
            f"<rect x='{left + 2:.1f}' y='{at:.1f}' width='{wide - 4:.1f}' "
            f"height='{height(piece.value):.1f}' fill='{piece.colour}'/>"
        )
    middle, low, high = (
        left + wide / 2,
        *(bottom - height(v) for v in (bar.total.low, bar.total.high)),
    )
    if bar.total.high > bar.total.low:
        yield (
            f"<path d='M{middle - 4:.1f} {high:.1f}h8m-4 0V{low:.1f}m-4 0h8' "
            f"stroke='{_INK}' fill='none'/>"
        )
    alone = spread([bar.total.median])
    yield _text(middle, min(at, high) - 5, shown(alone), size=11, anchor="middle")


def _legend(panel: Panel, x: float, y: float) -> Iterator[str]:
    seen: dict[str, str] = {}
    for _, bars in panel.groups:
        for bar in bars:
            seen |= {piece.label: piece.colour for piece in bar.pieces}
    at = float(x)
    for label, colour in seen.items():
        yield f"<rect x='{at:.0f}' y='{y - 10:.0f}' width='11' height='11' fill='{colour}'/>"
        yield _text(at + 16, y, label, size=12)
        at += 34 + 7.2 * len(label)


def _text(  # noqa: PLR0913 - what a text has
    x: float,
    y: float,
    text: str,
    *,
    size: int,
    anchor: str = "start",
    weight: str = "normal",
    colour: str = _INK,
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' "
        f"text-anchor='{anchor}' fill='{colour}'>{_safe(text)}</text>"
    )


def _safe(text: str) -> str:
    """Text of others in a document: markup in it is text."""
    return escape(text if len(text) <= _TEXT_MAX else f"{text[: _TEXT_MAX - 3]}...")
