# SPDX-License-Identifier: Apache-2.0
"""What one page repeats of another is the same there."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the table whose first line has these words."""
    lines = (DOCS / page).read_text("utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {heading}"))
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def test_sizes_are_those_that_the_bench_has_measured():
    measured = {
        row[0]: [row[0], row[11], row[12], row[4], row[5], row[3]]
        for row in rows("explanation/cost.md", "peers | system")
        if row[1] == "ovn-ipsec-controller"
    }
    assert list(measured.values()) == rows("howto/sizing.md", "peers | controller, MB")


def test_one_peer_more_costs_what_the_bench_has_measured():
    found = [
        row[7]
        for row in rows("explanation/cost.md", "peers | system")
        if row[1] == "ovn-ipsec-controller"
    ]
    text = (DOCS / "howto" / "sizing.md").read_text("utf-8")
    assert f"{min(found)} to {max(found)} s of CPU time" in text
