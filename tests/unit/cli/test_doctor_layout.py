# SPDX-License-Identifier: Apache-2.0
"""How the findings of doctor stand on a screen."""

from __future__ import annotations

import pytest

from ovn_ipsec.cli.doctor.checkup import Check
from ovn_ipsec.cli.doctor.layout import lay_out

CHECKS = (
    Check(part="name", is_well=True, said="hv1"),
    Check(part="vici", is_well=False, said="no socket " * 20, next_step="start it " * 20),
    Check(part="clock", is_well=None, said="not synchronised", next_step="timedatectl"),
    Check(part="guard unit", is_well=False, said="", next_step=""),
)


def test_failures_come_first():
    """Then what nobody can tell, and then what is well; each group in the order of the checks."""
    lines = [line.text for line in lay_out(CHECKS, None)]
    assert "2 bad, 1 unknown, 1 ok" == lines[0]
    firsts = [line.split()[:2] for line in lines[1:] if line and not line.startswith(" ")]
    assert [["BAD", "vici"], ["BAD", "guard"], ["???", "clock"], ["ok", "name"]] == firsts
    assert 3 == lines.count("")


@pytest.mark.parametrize("width", [40, 80, 160])
def test_no_line_is_longer_than_the_screen(width: int):
    """What goes on stands under what it goes on from."""
    lines = [line.text for line in lay_out(CHECKS, width)]
    assert max(map(len, lines)) <= width
    assert any(line.startswith("      next: start it") for line in lines)
    if width < 160:
        assert any(
            line.startswith("            start it") or line.startswith("            it")
            for line in lines
        )
    words = " ".join(" ".join(lines).split())
    assert 20 == words.count("no socket")
    assert 20 == words.count("start it")


def test_into_a_pipe_nothing_is_folded():
    """One line each, for grep."""
    lines = [line.text for line in lay_out(CHECKS, None)]
    assert any(line.count("no socket") == 20 for line in lines)


@pytest.mark.parametrize(
    ("checks", "text", "style"),
    [
        ((), "nothing was looked at", "yellow"),
        (CHECKS[:1], "1 ok", "green"),
        (CHECKS[2:3], "1 unknown", "yellow"),
        (CHECKS, "2 bad, 1 unknown, 1 ok", "bold red"),
    ],
)
def test_the_first_line_counts(checks: tuple[Check, ...], text: str, style: str):
    """In the colour of the worst."""
    first = next(lay_out(checks, 80))
    assert (text, style) == (first.text, first.style)
