# SPDX-License-Identifier: Apache-2.0
"""What a controller says of itself, to what is well on its chassis."""

from __future__ import annotations

from typing import Any

import pytest

from ovn_ipsec.cli.doctor.checkup import (
    CLOSE,
    CONNECT,
    ESP,
    FOLLOW,
    HELD,
    LAYERS,
    NAME_IT,
    SEE_LOG,
    START_IKE,
    START_PLUTO,
    START_STOCK,
    Check,
    examine,
    verdict,
)
from ovn_ipsec.cli.settings import Exit

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


def test_the_ike_daemon_is_called_by_its_name():
    """One that a controller of another release does not name is strongSwan."""
    checks = examine(STATUS | {"ike_kind": "Libreswan", "ike_daemon": "4.10"}, GUARD, [UP])
    assert [check.said for check in checks if check.part == "IKE daemon"] == ["Libreswan 4.10"]


@pytest.mark.parametrize(
    ("change", "part", "said", "step"),
    [
        ({"southbound_connected": False}, "southbound", "not connected", CONNECT),
        (
            {"wanted_generation": 4, "wanted_phase": "establish"},
            "policy",
            "generation 3, enforce; the southbound asks for generation 4, establish",
            FOLLOW,
        ),
        ({"ike_daemon": None}, "IKE daemon", "none", START_IKE),
        ({"problems": ["IKE daemon: gone"]}, "IKE daemon", "gone", START_IKE),
        (
            {"ike_kind": "Libreswan", "problems": ["IKE daemon: pluto has ended"]},
            "IKE daemon",
            "pluto has ended",
            START_PLUTO,
        ),
        (
            {
                "ike_kind": "ovs-monitor-ipsec",
                "problems": ["IKE daemon: ovs-monitor-ipsec does not run here"],
            },
            "IKE daemon",
            "ovs-monitor-ipsec does not run here",
            START_STOCK,
        ),
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
        ("pins are no more trustworthy than tcp:h:6642", "use ssl:"),
        (
            "ovs-monitor-ipsec goes on encrypting 1 pair in quarantine",
            "stop the chassis in quarantine",
        ),
        ("ovs-monitor-ipsec (pid 3) drives this host", "migrate.md"),
        ("no certificate: set Open_vSwitch ...", "certificate signed"),
        ("no secret: set Open_vSwitch ...", "secret file"),
        ("the certificate has expired", "a new one"),
        ("ESP over IPv4: EPROTONOSUPPORT", "modprobe esp4"),
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


@pytest.mark.parametrize(
    ("esp", "is_well", "said", "step"),
    [
        (True, True, "supported by the kernel", ""),
        (False, False, "not supported by the kernel, so no SA can be installed", ESP),
        (None, None, "the kernel does not say whether it supports it", SEE_LOG),
    ],
)
def test_a_kernel_without_esp_is_not_well(
    esp: bool | None, is_well: bool | None, said: str, step: str
):
    """With the switch off too: it is asked before one turns it on."""
    for phase in ("off", "enforce"):
        told = STATUS | {"phase": phase, "wanted_phase": phase, "esp": esp}
        (check,) = (check for check in examine(told, GUARD, [UP]) if check.part == "ESP")
        assert (check.is_well, check.said, check.next_step) == (is_well, said, step)


@pytest.mark.parametrize(
    ("layers", "is_well", "said", "step"),
    [
        ({"nft": True, "xfrm": True}, True, "nft xfrm", ""),
        ({"nft": True, "xfrm": False}, True, "nft; missing: xfrm", ""),
        ({"nft": None, "xfrm": True}, True, "xfrm; unknown: nft", ""),
        ({"nft": False, "xfrm": False}, False, "missing: nft xfrm", LAYERS),
        ({"nft": False, "xfrm": None}, None, "missing: nft; unknown: xfrm", SEE_LOG),
    ],
)
def test_a_kernel_without_any_layer_of_the_guard_is_not_well(
    layers: dict[str, bool | None], is_well: bool | None, said: str, step: str
):
    """One holds alone, and that the other is missing is told."""
    checks = examine(STATUS | {"guard_layers": layers}, GUARD, [UP])
    (check,) = (check for check in checks if check.part == "guard layers")
    assert (check.is_well, check.said, check.next_step) == (is_well, said, step)


@pytest.mark.parametrize("layers", [None, {}, ["nft"], "nft"])
def test_layers_that_an_older_controller_does_not_name_are_not_judged(layers: object):
    """Nor is what it says in another way."""
    checks = examine(STATUS | {"guard_layers": layers}, GUARD, [UP])
    assert "guard layers" not in {check.part for check in checks}


def test_why_an_older_state_is_kept_is_told():
    """It is closed, and not well."""
    told = STATUS | {"held_because": "the southbound has no policy"}
    said = "an older state is kept: the southbound has no policy"
    assert bad(examine(told, GUARD, [UP])) == {"held": (said, HELD)}


def test_what_the_kernel_lacks_is_told_without_a_name_too():
    """And every problem of the controller's."""
    told = {"chassis": None, "problems": ["no row", "guard nft: x"], "esp": False}
    assert bad(examine(told, {}, [])) == {
        "name": ("none", NAME_IT),
        "ESP": ("not supported by the kernel, so no SA can be installed", ESP),
        "problem": ("no row", SEE_LOG),
    }


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((), Exit.WELL),
        ((True,), Exit.WELL),
        ((True, None), Exit.CANNOT_TELL),
        ((None, False, True), Exit.DEGRADED),
    ],
)
def test_what_is_bad_counts_before_what_nobody_can_tell(
    found: tuple[bool | None, ...], expected: Exit
):
    """And that before what is well."""
    checks = [Check(part="x", is_well=one, said="") for one in found]
    assert expected == verdict(checks)
