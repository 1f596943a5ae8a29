# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.model.text: what came from a row, made fit to be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.errors import DIAGNOSTICS_MAX, IkeError, InputError
from ovn_ipsec.model.text import TEXT_MAX, printable, printable_lines


@given(st.text(), st.integers(0, 50))
def test_what_is_shown_is_one_short_printable_line(text: str, limit: int):
    """Each character stays or becomes a question mark."""
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) == min(limit, len(text))
    assert all(a in (b, "?") for a, b in zip(shown, text, strict=False))


@pytest.mark.parametrize("odd", ["\x1b", "\n", "\r", "\x00", "\x85", "\u2028", "\u202e", "\ud800"])
def test_what_a_terminal_obeys_or_nothing_can_encode_is_replaced(odd: str):
    """Escapes, line ends of every kind, text that runs backwards, half a character."""
    assert "a?b" == printable(f"a{odd}b")
    assert TEXT_MAX == len(printable(odd * 9999))


@pytest.mark.parametrize("where", ["table", "row", "key", "text", "reason"])
def test_an_error_is_one_bounded_printable_line_whatever_it_quotes(where: str):
    """Each part of it may be somebody else's."""
    parts = dict.fromkeys(("table", "row", "key", "text", "reason"), "x")
    error = InputError(**{**parts, where: "\x1b[2J\n" * 9999})
    for said in (str(error), error.diagnostics()):
        assert said.isprintable()
        assert len(said) < DIAGNOSTICS_MAX


def test_an_error_of_several_lines_is_said_in_one():
    """A daemon's answer may have them."""
    assert "cannot load: no key" == IkeError("cannot load:\nno key").diagnostics()


@given(st.text())
def test_what_is_laid_out_keeps_its_lines_and_tabs_and_nothing_else_that_is_odd(text: str):
    """Answers of appctl: one character each, as long as they were."""
    shown = printable_lines(text)
    assert len(text) == len(shown)
    assert shown.replace("\n", "").replace("\t", "").isprintable()
    assert all(
        a == b or (a == "?" and not b.isprintable()) for a, b in zip(shown, text, strict=True)
    )


def test_plain_lines_stay_as_they_are():
    """Tables of many peers are not looked at character by character twice."""
    assert "peer state" == printable_lines("peer state")
    assert "a\tb\n?[2J" == printable_lines("a\tb\n\x1b[2J")
