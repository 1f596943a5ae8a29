# SPDX-License-Identifier: Apache-2.0
"""Lines and tables in a width: no word, name or address is broken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.cli.layout import Line, folded, height, table

WORD = st.text(alphabet="abc019.:-%@", min_size=1, max_size=30)
CELL = st.lists(WORD, max_size=6).map(" ".join)
V6 = "fd00:1234:5678:9abc:def0:1234:5678:9abc"
UUID = "8a7dd0c6-1f0e-4d5b-9d52-7f2ac1a0f1b3"


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def test_lines_break_between_words():
    """And go on below an indent."""
    text = f"next: ask {UUID} at {V6}"
    found = texts(folded(text, 44, indent="  "))
    assert found == ["next: ask", f"  {UUID} at", f"  {V6}"]
    assert folded(text, None, style="red") == [Line(text, "red")]
    assert texts(folded("", 80)) == [""]


def test_what_is_left_out_is_seen_to_be():
    """The last line that is shown ends in dots, and is no wider for it."""
    assert texts(folded("one two three four five", 9, limit=2)) == ["one two", "three ..."]
    assert texts(folded("one two", 9, limit=2)) == ["one two"]
    assert texts(folded("threes eights", 8, limit=1)) == ["threes ..."]


@given(CELL, st.integers(10, 80), st.integers(0, 3))
def test_every_word_is_whole(text: str, width: int, limit: int):
    """However narrow it is."""
    lines = folded(text, width, indent="  ", limit=limit)
    found = [word for line in lines for word in line.text.split()]
    assert found == text.split()[: len(found)] or found[-1] == "..."
    assert not limit or len(lines) <= limit
    for line in lines:
        assert len(line.text) <= width or len(line.text.split()) <= 2


def test_a_table_that_fits_has_a_line_for_each_row():
    """Columns that are empty everywhere are left out."""
    found = table(("chassis", "x", "state"), [("hv1", "", "ready"), ("hv10", "", "")], 20)
    assert texts(found) == ["chassis  state", "hv1      ready", "hv10"]
    assert table(("a",), [("",)], 20) == []


def test_the_last_column_goes_on_below_itself():
    """Between words."""
    rows = [("hv1", "the certificate of this chassis has expired")]
    assert texts(table(("chassis", "problem"), rows, 40)) == [
        "chassis  problem",
        "hv1      the certificate of this chassis",
        "         has expired",
    ]


def test_what_does_not_fit_is_told_row_by_row():
    """Names and addresses stay whole, and rows keep their style."""
    found = table(("peer", "local", "remote"), [(UUID, V6, V6), ("hv2", "", "a")], 80, ("red", ""))
    assert found == [
        Line(UUID, "red"),
        Line(f"  local {V6},", "red"),
        Line(f"  remote {V6}", "red"),
        Line("hv2", "bold"),
        Line("  remote a", ""),
    ]
    assert texts(table(("rule",), [("a" * 30,)], 20)) == ["a" * 30]


def test_in_a_pipe_a_row_is_a_line():
    """For grep and awk."""
    found = table(("a", "b"), [("x" * 300, "y " * 300)], None)
    assert len(found) == 2


def test_a_line_that_is_too_long_counts_for_those_that_it_takes():
    """The terminal breaks it."""
    lines = [Line(""), Line("a" * 80), Line("a" * 81)]
    assert (height(lines, 80), height(lines, None)) == (4, 3)


@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=8), st.integers(20, 120))
def test_no_table_breaks_a_word(rows: list[tuple[str, str, str]], width: int):
    """In any width."""
    said = [word.rstrip(",") for row in rows for cell in row for word in cell.split()]
    lines = texts(table(("one", "two", "three"), rows, width))
    shown = [word.rstrip(",") for line in lines for word in line.split()]
    for word in said:
        assert word in shown
