# SPDX-License-Identifier: Apache-2.0
"""What a controller says of itself, to what is well on its chassis."""

from __future__ import annotations

from typing import Any

import pytest

from ovn_ipsec.cli.checkup import (
    CLOSE,
    CONNECT,
    FOLLOW,
    NAME_IT,
    SEE_LOG,
    START_IKE,
    Check,
    examine,
)

STATUS: dict[str, Any] = {
    "chassis": "hv1",
    "generation": 3,
    "phase": "enforce",
    "wanted_generation": 3,
    "wanted_phase": "enforce",
    "ike_daemon": "5.9.8",
    "southbound_connected": True,
    "auths": ["ca"],
    "problems": [],
}
GUARD: dict[str, Any] = {"in_force": True, "may_be_clear": 0}
UP = {"peer": "hv2", "state": "encrypted", "last_error": ""}
DOWN = {"peer": "hv3", "state": "blocked", "last_error": "no answer"}


def bad(checks: tuple[Check, ...]) -> dict[str, tuple[str, str]]:
    return {check.part: (check.said, check.next_step) for check in checks if not check.is_well}


def test_all_is_well():
    """Every part is told, in the order in which one needs the other, and no next step."""
    checks = examine(STATUS, GUARD, [UP])
    assert bad(checks) == {}
    assert [(check.part, check.said) for check in checks] == [
        ("name", "hv1"),
        ("southbound", "connected"),
        ("policy", "generation 3, enforce"),
        ("IKE daemon", "strongSwan 5.9.8"),
        ("credentials", "ca"),
        ("guard", "in force"),
        ("pairs", "1, none missing"),
    ]
    assert {check.next_step for check in checks} == {""}


@pytest.mark.parametrize(
    ("change", "part", "said", "step"),
    [
        ({"southbound_connected": False}, "southbound", "not", CONNECT),
        (
            {"wanted_generation": 4, "wanted_phase": "establish"},
            "policy",
            "generation 3, enforce; wanted is generation 4, establish",
            FOLLOW,
        ),
        ({"ike_daemon": None}, "IKE daemon", "none", START_IKE),
        ({"problems": ["IKE daemon: gone"]}, "IKE daemon", "gone", START_IKE),
        ({"auths": []}, "credentials", "none", SEE_LOG),
        ({"problems": ["guard nft: no such thing"]}, "guard", "nft: no such thing", CLOSE),
        ({"problems": ["who knows"]}, "problem", "who knows", SEE_LOG),
    ],
)
def test_each_part_is_told_by_itself(change: dict[str, Any], part: str, said: str, step: str):
    """And what belongs to no part is a problem of its own."""
    assert bad(examine(STATUS | change, GUARD, [UP])) == {part: (said, step)}


@pytest.mark.parametrize(
    ("problem", "step"),
    [
        ("pins are worth no more than tcp:h:6642", "by ssl:"),
        ("ovs-monitor-ipsec (pid 3) drives this host", "migrate.md"),
        ("no certificate: set Open_vSwitch ...", "have them signed"),
        ("no secret: set Open_vSwitch ...", "secret's file"),
        ("the certificate has expired", "new certificate"),
    ],
)
def test_what_to_do_depends_on_the_problem(problem: str, step: str):
    """Where something better is known than to read the log."""
    ((said, next_step),) = bad(examine(STATUS | {"problems": [problem]}, GUARD, [])).values()
    assert said == problem
    assert step in next_step


def test_without_a_name_nothing_else_is_known():
    """Nothing runs before that."""
    assert bad(examine({"chassis": None, "problems": []}, {}, [])) == {"name": ("none", NAME_IT)}


def test_with_the_switch_off_nothing_is_needed():
    """Neither a credential nor a guard."""
    off = {"phase": "off", "wanted_phase": "off", "auths": []}
    checks = examine(STATUS | off, {"in_force": False}, [])
    assert bad(checks) == {}
    assert "not in force" in {check.said for check in checks}
    shut = examine(STATUS, {"in_force": False}, [])
    assert bad(shut) == {"guard": ("not in force", CLOSE)}


def test_what_may_be_clear_is_told():
    """It is well, and worth knowing."""
    checks = examine(STATUS, {"in_force": True, "may_be_clear": 4}, [])
    assert "in force; 4 directions may be clear" in {check.said for check in checks}


def test_pairs_that_are_not_up_are_named():
    """The first few, and how many more; hostile text cannot reach the terminal."""
    found = bad(examine(STATUS, GUARD, [UP, DOWN]))
    assert found == {"pairs": ("1 of 2 not up: hv3 blocked no answer", "ovn-ipsec explain hv1 hv3")}
    ((said, _),) = bad(examine(STATUS, GUARD, [{**DOWN, "last_error": "\x1b[2J"}] * 5)).values()
    assert said.endswith(" and 2 more")
    assert said.isprintable()
