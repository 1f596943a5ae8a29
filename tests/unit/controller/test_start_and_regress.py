# SPDX-License-Identifier: Apache-2.0
"""With what a controller starts, and what it does not obey: unknown is not off."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.plan.boot import BootGuard, Start, start_guard
from controller.plan.cluster.regress import mark, refuse_regress
from controller.plan.guard import (
    DENY_ALL,
    ClearFlow,
    Direction,
    GuardState,
    PeerPort,
    narrowed,
)
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Auth, ClusterPolicy, Mode, Phase, Profile, Tuning
from tests.worlds import A, B, matrix, policy

US, THEM, OTHER = (ip_address(f"10.0.0.{n}") for n in (1, 2, 3))


def out(remote: str) -> ClearFlow:
    return ClearFlow(direction=Direction.OUT, local=US, remote=ip_address(remote), port=6081)


FIRST, SECOND = out("10.0.0.2"), out("10.0.0.3")
FOUND = GuardState(
    ports=frozenset({6081, 4789}),
    local=frozenset({US}),
    may_clear=frozenset({FIRST, SECOND}),
    vnis=frozenset({5}),
)
STORED = BootGuard(
    guard=replace(
        FOUND,
        local=frozenset({US, OTHER}),
        may_clear=frozenset(),
        vnis=frozenset(),
        peer_ports=frozenset({PeerPort(local=US, remote=THEM, port=7000)}),
    ),
    latched=frozenset({FIRST}),
    boot="b1",
)


def test_without_a_boot_guard_the_kernel_says_what_stands() -> None:
    """Nothing, or what an earlier life left."""
    assert start_guard(None, None, "b1") == Start(standing=None, closed_by=None)
    assert start_guard(FOUND, None, "b1") == Start(standing=FOUND, closed_by=FOUND)


def test_after_a_restart_what_was_found_stands() -> None:
    """But for what the disk has latched."""
    start = start_guard(FOUND, STORED, "b1")
    assert start.standing is not None
    assert start.standing.may_clear == {SECOND}
    assert start.standing.local == {US, OTHER}
    assert start.standing.vnis == {5}
    assert start.standing.peer_ports == STORED.guard.peer_ports
    assert start.closed_by == start.standing


@pytest.mark.parametrize("boot", ["b2", ""])
def test_after_a_boot_a_restored_ruleset_only_adds(boot: str) -> None:
    """It is of any age: what it lets pass is not let pass; what was not latched may open later."""
    start = start_guard(FOUND, STORED, boot)
    assert start.standing is not None
    assert start.standing.may_clear == frozenset()
    assert start.standing.vnis == {5}
    assert (start.closed_by, start.latched) == (None, {FIRST})


def test_after_a_boot_the_disk_says_what_stands() -> None:
    """Closed for all until the southbound is known; afterwards only for what was latched."""
    start = start_guard(None, STORED, "b2")
    assert start == Start(standing=STORED.guard, closed_by=None, latched=frozenset({FIRST}))


def test_a_guard_that_was_flushed_while_nobody_looked_is_closed_for_all() -> None:
    """In the same boot what was latched is only part of what was closed."""
    start = start_guard(None, STORED, "b1")
    assert start.standing == start.closed_by == STORED.guard


@pytest.mark.parametrize("found", [None, FOUND])
@pytest.mark.parametrize("boot", ["b1", ""])
def test_a_torn_boot_guard_closes_every_pair(found: GuardState | None, boot: str) -> None:
    """Whether it was latched is not known."""
    start = start_guard(found, BootGuard(guard=DENY_ALL, fault="torn"), boot)
    assert start.standing is not None
    assert start.standing.may_clear == frozenset()
    assert DENY_ALL.local <= start.standing.local
    assert start.closed_by == start.standing


def test_beside_another_driver_nothing_is_opened() -> None:
    """Nor is a guard put up, but under enforce."""
    closed = replace(FOUND, may_clear=frozenset())
    assert narrowed(None, FOUND, Phase.ESTABLISH) is None
    assert narrowed(None, FOUND, Phase.ENFORCE) == closed
    assert narrowed(None, None, Phase.ENFORCE) is None
    assert narrowed(FOUND, None, Phase.OFF) == FOUND
    some = replace(FOUND, may_clear=frozenset({FIRST}))
    assert narrowed(some, FOUND, Phase.ENFORCE) == some
    assert narrowed(FOUND, some, Phase.ESTABLISH) == some


END = "-----END CERTIFICATE-----\n"
BUNDLE = "-----BEGIN CERTIFICATE-----\none\n"
RULES = ("90 any remote:any require",)
KEPT = replace(
    policy(Phase.ENFORCE, floor=Mode.PREFER, generation=100),
    profile=Profile.CNSA,
    pairs=matrix(lab_lab="prefer/cnsa", lab_prod="require/cnsa"),
    tuning=Tuning(replay_window=32),
    authorities=f"{BUNDLE}{END}",
    quarantine=frozenset({ChassisName("bad")}),
    vnis=frozenset({7}),
    rules=RULES,
)


def older(**changes: object) -> ClusterPolicy:
    return replace(KEPT, generation=99, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("offered", "words"),
    [
        (older(phase=Phase.OFF), "phase off after enforce"),
        (older(phase=Phase.RELAX), "phase relax after enforce"),
        (older(phase=Phase.ESTABLISH), "phase establish"),
        (older(default=Mode.PREFER), "default prefer after require"),
        (older(floor=Mode.OFF), "floor off after prefer"),
        (older(profile=Profile.DEFAULT), "profile default after cnsa"),
        (older(pairs={}, default=Mode.REQUIRE), ""),
        (older(pairs=matrix(lab_lab="prefer/default", lab_prod="require/cnsa")), "pairs of"),
        (older(pairs=matrix(lab_lab="require/cnsa", lab_prod="require/cnsa")), ""),
        (older(tuning=Tuning(replay_window=0)), "replayed packets are accepted"),
        (older(authorities=BUNDLE), ""),
        (older(authorities=f"{BUNDLE}{END}another{END}"), "other authorities"),
        (older(pairs=matrix(lab_prod="off")), "pairs of classes"),
        (older(pairs=matrix(new_new="off")), "pairs of classes"),
        (older(quarantine=frozenset()), "quarantine"),
        (older(vnis=frozenset()), "networks are no longer protected"),
        (older(auth=(Auth.CA, Auth.PSK)), "authentication"),
        (older(rules=("100 any any off", *RULES)), ""),
        (older(rules=()), "other rules decide across availability zones"),
        (older(rules=("100 any remote:any off",)), "other rules decide across availability zones"),
        (older(), ""),
        (older(quarantine=frozenset({ChassisName("bad"), A, B})), ""),
        (replace(older(phase=Phase.OFF), generation=100), "phase off after enforce"),
        (replace(older(phase=Phase.RELAX), generation=100), "phase relax after enforce"),
        (replace(older(phase=Phase.ESTABLISH), generation=100), ""),
        (replace(older(pairs={}), generation=100), ""),
        (replace(older(phase=Phase.OFF), generation=101), ""),
    ],
)
def test_no_newer_generation_that_weakens_is_refused(offered: ClusterPolicy, words: str) -> None:
    """With what it weakens; a newer one may do anything, an older one what is no less."""
    refused = refuse_regress(KEPT, offered)
    if words:
        assert refused is not None
        assert words in refused.reason
        assert "generation 100" in refused.reason
    else:
        assert refused is None


def test_with_nothing_obeyed_everything_is() -> None:
    """And after off there is nothing to weaken; it ends what is relaxed already."""
    assert refuse_regress(None, older(phase=Phase.OFF)) is None
    off = replace(KEPT, phase=Phase.OFF)
    assert refuse_regress(off, older(default=Mode.OFF, phase=Phase.OFF)) is None
    assert refuse_regress(replace(KEPT, phase=Phase.RELAX), off) is None


@given(
    phases=st.lists(st.sampled_from(Phase), min_size=1, max_size=6),
    generations=st.lists(st.integers(1, 5), min_size=6, max_size=6),
)
def test_no_sequence_of_older_policies_opens(phases: list[Phase], generations: list[int]) -> None:
    """What is obeyed never protects less unless its generation is as new as any before."""
    order = [Phase.OFF, Phase.RELAX, Phase.PREPARE, Phase.ESTABLISH, Phase.ENFORCE]
    kept: ClusterPolicy | None = None
    newest = 0
    for phase, generation in zip(phases, generations, strict=False):
        offered = policy(phase, generation=generation)
        if refuse_regress(kept, offered) is not None:
            continue
        if kept is not None and order.index(phase) < order.index(kept.phase):
            assert generation >= newest
        newest = max(newest, generation)
        kept = mark(kept, offered)
        assert kept.generation == newest
