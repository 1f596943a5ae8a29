# SPDX-License-Identifier: Apache-2.0
"""Pure: lines over a number that grows, both axes logarithmic, as SVG without any library."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 220, 50, 56
COLOURS = ("#777777", "#1b6ca8", "#c0392b", "#e67e22", "#8e44ad")
Points = list[tuple[float, float]]


def chart(title: str, x_label: str, y_label: str, series: Mapping[str, Points]) -> str:
    """Draw one line with marks for each series, named at its right end in the order of the ends.

    Args:
        title: Above it.
        x_label: Under the horizontal axis.
        y_label: Above the vertical axis.
        series: Positive points by name; a series without points is left out.
    """
    shown = {name: sorted(points) for name, points in series.items() if points}
    xs = sorted({x for points in shown.values() for x, _ in points})
    ys = [y for points in shown.values() for _, y in points]
    x_ends = (log10(xs[0]), log10(xs[-1]))
    y_ends = (floor(log10(min(ys))), ceil(log10(max(ys))))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="16" font-weight="bold">{escape(title)}</text>',
        f'<text x="{LEFT}" y="{TOP - 8}" fill="#444">{escape(y_label)}</text>',
        _text(WIDTH - RIGHT, HEIGHT - 12, x_label, "end"),
    ]
    for x in xs:
        at = _across(x, x_ends)
        parts.append(_line(at, TOP, at, HEIGHT - BOTTOM))
        parts.append(_text(at, HEIGHT - BOTTOM + 20, f"{x:g}", "middle"))
    for power in range(y_ends[0], y_ends[1] + 1):
        at = _up(10.0**power, y_ends)
        parts.append(_line(LEFT, at, WIDTH - RIGHT, at))
        parts.append(_text(LEFT - 8, at + 4, f"{10.0**power:g}", "end"))
    labels = _apart({name: _up(points[-1][1], y_ends) for name, points in shown.items()})
    for (name, points), colour in zip(shown.items(), COLOURS, strict=False):
        places = [(_across(x, x_ends), _up(y, y_ends)) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        x, y = WIDTH - RIGHT + 12, labels[name]
        parts.append(f'<text x="{x}" y="{y + 4:.1f}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _across(x: float, ends: tuple[float, float]) -> float:
    part = (log10(x) - ends[0]) / ((ends[1] - ends[0]) or 1.0)
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def _up(y: float, ends: tuple[float, float]) -> float:
    part = (log10(y) - ends[0]) / ((ends[1] - ends[0]) or 1.0)
    return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def _apart(wanted: Mapping[str, float], gap: float = 18.0) -> dict[str, float]:
    """Move labels down until none covers another."""
    found: dict[str, float] = {}
    last = float("-inf")
    for name, y in sorted(wanted.items(), key=lambda item: item[1]):
        last = max(y, last + gap)
        found[name] = last
    return found


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#ddd"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#444">{escape(words)}</text>'
    )
