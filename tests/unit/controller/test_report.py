# SPDX-License-Identifier: Apache-2.0
"""What a chassis tells of its own failures: one bounded line, without the values of others."""

from __future__ import annotations

from controller.plan.connection import ConnName
from controller.report import FAULT_MAX, fault, undecided_problems
from ovn_ipsec.errors import EdgeError


def test_a_failure_of_our_own_making_says_itself_and_any_other_only_its_kind() -> None:
    """The text of an exception that nobody foresaw may hold a key or a row."""
    assert fault(EdgeError("nft: no such table")) == EdgeError("nft: no such table").diagnostics()
    assert len(fault(EdgeError("x" * 10_000))) == FAULT_MAX
    said = fault(ValueError("PSK is hunter2"))
    assert "ValueError" in said
    assert "hunter2" not in said


def test_pairs_that_cannot_be_decided_are_one_problem() -> None:
    """With the first of them, and how many more."""
    names = [ConnName(f"ovn-ch{n}@10.0.0.{n}%10.0.0.9") for n in (2, 1, 3)]
    assert undecided_problems({}) == []
    (one,) = undecided_problems({names[0]: "KeyError"})
    assert one == f"pair {names[0]} cannot be decided: KeyError"
    (many,) = undecided_problems(dict.fromkeys(names, "KeyError"))
    assert many.startswith(f"pair {names[1]} and 2 more cannot be decided")
