# SPDX-License-Identifier: Apache-2.0
"""What a pair of encaps is to be, and who cannot follow."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ovn_ipsec.model.chassis import ChassisName, Encap, EncapType
from ovn_ipsec.model.policy import ClassName, ClusterPolicy, Mode, Phase, Profile, Treatment
from ovn_ipsec.policy.judgement import (
    can_do,
    follows,
    is_closed,
    lacking,
    missed,
    of_classes,
    quarantined,
    spared,
    treatment_of,
    weakens,
    weigh,
)
from ovn_ipsec.schema.encap import EncapIntent

A, B = ClassName("a"), ClassName("b")
HV1, HV2, HV3 = (ChassisName(f"hv{number}") for number in (1, 2, 3))
CLEAR = Treatment(mode=Mode.OFF, profile=Profile.CNSA)


def encap(mode: Mode | None, class_name: ClassName | None) -> EncapIntent:
    made = Encap(type=EncapType.GENEVE, ip=ip_address("10.0.0.1"), port=6081, csum=None)
    return EncapIntent(encap=made, mode=mode, class_name=class_name)


@pytest.mark.parametrize(
    ("one", "other", "floor", "mode"),
    [
        ((Mode.REQUIRE, A), (Mode.REQUIRE, B), Mode.OFF, Mode.OFF),
        ((Mode.REQUIRE, A), (Mode.REQUIRE, B), Mode.PREFER, Mode.PREFER),
        ((Mode.REQUIRE, A), (Mode.REQUIRE, A), Mode.OFF, Mode.REQUIRE),
        ((Mode.OFF, A), (Mode.OFF, A), Mode.OFF, Mode.OFF),
        ((Mode.OFF, A), (Mode.PREFER, None), Mode.OFF, Mode.PREFER),
        ((None, None), (Mode.OFF, B), Mode.OFF, Mode.REQUIRE),
    ],
)
def test_what_controllers_read_out_of_sb(one, other, floor: Mode, mode: Mode):
    """The matrix; where it says nothing, the stronger of both rows, and never below the floor."""
    policy = ClusterPolicy(
        generation=1,
        phase=Phase.ENFORCE,
        default=Mode.REQUIRE,
        floor=floor,
        profile=Profile.PQ,
        pairs={(A, B): CLEAR},
    )
    ends = [encap(*one), encap(*other)]
    profile = Profile.CNSA if {A, B} == {one[1], other[1]} else Profile.PQ
    expected = Treatment(mode=mode, profile=profile)
    assert [expected] * 2 == [treatment_of(policy, *ends), treatment_of(policy, *ends[::-1])]


def test_a_matrix_names_pairs_of_classes_in_either_order():
    """One of no class is in none."""
    matrix = {(A, B): CLEAR}
    found = [of_classes(matrix, *pair) for pair in ((A, B), (B, A), (A, A), (A, None), (None, B))]
    assert found == [CLEAR, CLEAR, None, None, None]


def test_only_a_lesser_mode_weakens():
    """Not the same one."""
    modes = (Mode.OFF, Mode.PREFER, Mode.REQUIRE)
    found = {(old, new) for old in modes for new in modes if weakens(old, new)}
    assert found == {
        (Mode.PREFER, Mode.OFF),
        (Mode.REQUIRE, Mode.OFF),
        (Mode.REQUIRE, Mode.PREFER),
    }


def test_only_enforce_closes_what_is_required():
    """Before it, and with prefer, what is not up may be clear."""
    found = {(phase, mode) for phase in Phase for mode in Mode if is_closed(phase, mode)}
    assert found == {(Phase.ENFORCE, Mode.REQUIRE)}


@pytest.mark.parametrize("phase", Phase)
def test_quarantine_is_part_of_a_policy_in_force(phase: Phase):
    """Lifted with it; the ends keep their order."""
    found = quarantined(phase, frozenset({HV1, HV3}), (HV3, HV2, HV1))
    assert found == (() if phase in (Phase.OFF, Phase.RELAX) else (HV3, HV1))


def test_who_follows_is_at_the_same_place():
    """Neither behind nor ahead."""
    policy = ClusterPolicy(generation=7, phase=Phase.ENFORCE, default=Mode.REQUIRE, floor=Mode.OFF)
    places = ((7, Phase.ENFORCE), (7, Phase.ESTABLISH), (6, Phase.ENFORCE), (8, Phase.ENFORCE))
    assert [follows(place, policy) for place in places] == [True, False, False, False]


def test_what_is_clear_needs_no_cipher_suite():
    """All else needs its own."""
    able = {Profile.DEFAULT}
    met = [
        CLEAR,
        Treatment(mode=Mode.PREFER),
        Treatment(mode=Mode.PREFER, profile=Profile.PQ),
        Treatment(mode=Mode.REQUIRE, profile=Profile.CHACHA20),
    ]
    assert [can_do(one.mode, one.profile, able) for one in met] == [True, True, False, False]
    assert lacking(met, able) == {Profile.PQ, Profile.CHACHA20}


def test_a_tenth_is_spared_and_at_least_one():
    """One's fault is not everybody's."""
    assert [spared(n) for n in (0, 1, 10, 20, 39, 40)] == [1, 1, 1, 2, 3, 4]
    weighed = weigh({Profile.PQ: ["a", "b"], Profile.CNSA: ["a"]}, 10)
    assert weighed == ({Profile.PQ: ["a", "b"]}, {Profile.CNSA: ["a"]})


@pytest.mark.parametrize(
    ("modes", "is_missed"),
    [
        ((), False),
        ((Mode.OFF, Mode.OFF), False),
        ((Mode.PREFER, Mode.OFF), False),
        ((Mode.PREFER, Mode.REQUIRE), True),
    ],
)
def test_a_controller_is_missed_where_a_pair_is_to_be_as_protected_as_any(
    modes: tuple[Mode, ...], is_missed: bool
):
    """The others hold nobody up."""
    assert is_missed == missed(modes, Mode.REQUIRE)
