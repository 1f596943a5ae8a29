# SPDX-License-Identifier: Apache-2.0
"""What a chassis tells of its own failures: one bounded line, without the values of others."""

from __future__ import annotations

import pytest

from controller.plan.connection import ConnName
from controller.report import FAULT_MAX, awaited, fault, status_text, undecided_problems
from ovn_ipsec.errors import EdgeError
from ovn_ipsec.model.policy import Phase
from ovn_ipsec.model.status import Digest, PairCounts


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


@pytest.mark.parametrize(
    ("phase", "counts", "generation"),
    [
        (Phase.ESTABLISH, PairCounts(encrypted=2), 7),
        (Phase.ESTABLISH, PairCounts(), 7),
        (Phase.ESTABLISH, PairCounts(encrypted=1, pending=1), None),
        (Phase.ESTABLISH, PairCounts(encrypted=1, blocked=1), None),
        (Phase.PREPARE, PairCounts(clear=2), None),
        (Phase.ENFORCE, PairCounts(encrypted=2), None),
    ],
)
def test_what_the_gate_of_establish_waits_for_is_reported_at_once(
    phase: Phase, counts: PairCounts, generation: int | None
) -> None:
    """Of everything else there is one report a second."""
    said = Digest(generation=7, phase=phase, counts=counts, agent="bench")
    assert generation == awaited(said)


STATUS = {
    "doing": "enforced generation 7, 3 of 4 pairs encrypted",
    "chassis": "chA",
    "generation": 7,
    "phase": "enforce",
    "wanted_generation": 7,
    "wanted_phase": "enforce",
    "pairs": {"encrypted": 3, "blocked": 1},
    "held_because": "",
    "southbound_connected": True,
    "ike_daemon": "5.9.8",
    "ike_kind": "strongSwan",
    "certificate": "CN=chA",
    "auths": ["ca", "psk"],
    "esp": True,
    "guard_layers": {"nft": True, "xfrm": None},
    "mtu": {"underlay": 1500, "inner": 1408, "larger": 1},
    "tunnel_ports": "adopt",
    "ovn_controller_unknown": "",
    "problems": ["one", "another"],
}


def test_status_is_a_name_and_a_value_in_each_line() -> None:
    """For people, and for those who cut at the colon."""
    assert status_text(STATUS).splitlines() == [
        "Status: enforced generation 7, 3 of 4 pairs encrypted",
        "Chassis: chA",
        "Southbound: connected",
        "Wanted: enforce generation 7",
        "Applied: enforce generation 7",
        "Pairs: 3 encrypted, 1 blocked",
        "IKE daemon: strongSwan 5.9.8",
        "Certificate: CN=chA",
        "Authentication: ca psk",
        "Kernel has ESP: yes",
        "Guard layers: nft yes, xfrm not known",
        "MTU: 1500 on the underlay, 1408 left to workloads, but 1 interface with a larger MTU",
        "Tunnel ports: adopt",
        "Problem: one",
        "Problem: another",
    ]


def test_status_of_a_host_that_knows_nothing_holds_no_word_of_python() -> None:
    """What there is none of is called none; what is not doubted is left out."""
    nothing = {
        **STATUS,
        "chassis": None,
        "wanted_generation": None,
        "wanted_phase": None,
        "pairs": {},
        "held_because": "it is older",
        "southbound_connected": False,
        "ike_daemon": None,
        "ike_kind": None,
        "certificate": None,
        "auths": [],
        "esp": None,
        "guard_layers": {},
        "mtu": None,
        "ovn_controller_unknown": "its pidfile cannot be read",
        "problems": [],
    }
    text = status_text(nothing)
    assert not any(word in text for word in ("None", "True", "False", "{", "["))
    assert "Wanted: none" in text.splitlines()
    assert "Held because: it is older" in text.splitlines()
    assert "MTU: not known" in text.splitlines()
    assert "IKE daemon: not reached" in text.splitlines()
    assert "ovn-controller: its pidfile cannot be read" in text.splitlines()
