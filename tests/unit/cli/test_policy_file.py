# SPDX-License-Identifier: Apache-2.0
"""Files of rules: every fault has its line, its column and a caret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.cli.policy.rulefile import free_priority, parse_file, taken_priorities
from ovn_ipsec.schema.fields import Place
from ovn_ipsec.schema.rules import RuleError, missing_networks

GOOD = """\
\ufeff# between data centres
  300   zone:dc1 zone:dc2 require profile=cnsa\r

\t# the laboratory
50\tchassis:lab-* any off
"""


def test_comments_blank_lines_and_blanks_around_say_nothing():
    """Neither does the mark that some editors put first."""
    found = parse_file(GOOD)
    assert () == found.faults
    assert [(300, "zone:dc1 zone:dc2 require profile=cnsa"), (50, "chassis:lab-* any off")] == [
        (rule.priority, str(rule)) for rule in found.rules
    ]


@pytest.mark.parametrize(
    ("line", "column", "begins"),
    [
        ("any any off", 1, "expected a priority"),
        ("0 any any off", 1, "expected a priority"),
        ("32768 any any off", 1, "expected a priority"),
        ("0100 any any off", 1, "expected a priority"),
        ("100", 5, "expected a selector"),
        ("  100  any any of", 16, "expected a mode"),
        ("100 any any off # why", 17, "expected profile=NAME"),
        ('100 network:"a\x1bb" any off', 15, "expected only printable"),
        ("100 any\tany off", 8, "expected only printable"),
        ("\udcff", 1, "expected a priority"),
    ],
)
def test_a_fault_has_a_line_a_column_and_a_caret(line: str, column: int, begins: str):
    """And what is shown of the line does nothing to a terminal."""
    (fault,) = parse_file(f"# one\n{line}\n").faults
    assert (2, column, True) == (fault.line, fault.column, fault.reason.startswith(begins))
    shown, caret = fault.caret().split("\n")
    assert (True, column - 1) == (shown.isprintable(), caret.index("^"))


def test_all_faults_are_found():
    """Not only the first, and the good lines count."""
    found = parse_file("1 any any of\n2 any any off\n3 any\n")
    assert ([1, 3], 1) == ([fault.line for fault in found.faults], len(found.rules))


def test_a_priority_that_is_there_twice_is_a_fault_of_the_second_line():
    """The first one is named."""
    (fault,) = parse_file("1 any any off\n1 any any prefer\n").faults
    assert (2, "expected another priority: line 1 has this one") == (fault.line, fault.reason)


def test_a_fault_that_only_the_cluster_knows_has_its_line_too():
    """Such as a network that does not exist."""
    found = parse_file("# x\n  100  any network:web off\n")
    (error,) = missing_networks("NB_Global", found.rules, [])
    fault = found.fault(error, 100)
    shown, caret = fault.caret().split("\n")
    assert (2, "web off") == (fault.line, shown[caret.index("^") :])


@given(st.text())
def test_any_text_is_rules_and_faults(text: str):
    """Nothing else, and nothing unprintable comes out."""
    found = parse_file(text)
    assert all(fault.text.isprintable() and fault.column > 0 for fault in found.faults)


@pytest.mark.parametrize(
    ("taken", "expected"),
    [([], 100), ([100], 200), ([150], 200), ([199, 50], 200), ([32699], 32700), ([32700], None)],
)
def test_the_lowest_free_hundred_above_the_highest(taken: list[int], expected: int | None):
    """None where there is none left."""
    assert expected == free_priority(taken)


def test_a_priority_is_taken_by_a_rule_that_does_not_parse_too():
    """Keys that name no priority take none."""
    keys = ["ovn-ipsec-rule-7", "ovn-ipsec-rule-x", "ovn-ipsec-rule-\u0663", "ovn-ipsec-mode"]
    assert {7} == taken_priorities([*keys, "ovn-ipsec-rule-123456"])


def test_a_rule_error_points_into_its_own_text():
    """The place of a rule without a priority is told apart."""
    error = RuleError(Place(table="t", row=".", key="rule"), "any", 2, "why")
    assert "any\n ^" == error.caret()
