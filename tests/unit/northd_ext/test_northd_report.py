# SPDX-License-Identifier: Apache-2.0
"""northd_ext.report and policy.settling: what the operator reads, when encaps are repaired."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from northd_ext.observe.views import NbView, SbView
from northd_ext.policy.evaluation import EncapChange
from northd_ext.policy.settling import BACK_OFF_MAX_S, FOREIGN_MAX_S, FORGET_S, SETTLE_S, Settling
from northd_ext.policy.target import Target
from northd_ext.report import is_degraded, make_report, state_word, summarize
from northd_ext.rollout.census import Census
from northd_ext.rollout.gate import PATIENCE_S
from northd_ext.rollout.progress import JUST_NOW, Elapsed
from ovn_ipsec.errors import InputError
from ovn_ipsec.model.policy import ClusterPolicy, EncryptionPolicy, Mode, Phase
from ovn_ipsec.model.status import PairCounts
from ovn_ipsec.schema.nb_global import ParsedPolicy

GOOD = Census(chassis=2, ready=2, behind=(), junk=(), absent=(), problems=(), counts=PairCounts())
ERROR = InputError(table="NB_Global", row=".", key="ovn-ipsec-mode", text="x", reason="r")
SB = SbView(policy=None, chassis={})


def policy(phase: Phase, mode: Mode = Mode.REQUIRE) -> ClusterPolicy:
    """A published policy."""
    return ClusterPolicy(generation=3, phase=phase, default=mode, floor=mode)


def asking(*errors: InputError, junk: bool = False, known: bool = True) -> Target:
    """What is asked for, with errors in it."""
    asked = None if junk else EncryptionPolicy(enabled=True)
    return Target(policy=asked, errors=errors, known=known)


def reported(target: Target, sb: SbView) -> dict[str, str]:
    """The report after one that said generation 9."""
    asked = ParsedPolicy(policy=target.policy, errors=target.errors)
    nb = NbView(asked=asked, report={"ovn-ipsec-generation": "9"})
    return make_report(nb, sb, target, GOOD, JUST_NOW)


def test_example() -> None:
    """The summary names who lags, what is up, and what is wrong."""
    census = replace(
        GOOD,
        chassis=3,
        absent=("hv3",),
        counts=PairCounts(encrypted=4, blocked=2),
        problems=(("hv2", "certificate expired 2026-01-01"),),
        warnings=(("hv1", "it expires"), ("hv9", "it expires, too")),
    )
    expected = (
        "chassis 3 ready 2 lagging 1 (hv3: no controller)"
        " | pairs 6 encrypted 4 pending 0 blocked 2"
        " | hv2: certificate expired 2026-01-01"
        " | soon: hv1: it expires; hv9: it expires, too"
    )
    assert expected == summarize(census)


@pytest.mark.parametrize(
    ("across", "words"),
    [
        (PairCounts(encrypted=1), "pairs 1 encrypted 1 pending 0 blocked 0"),
        (PairCounts(blocked=1), "pairs 1 encrypted 0 pending 0 blocked 1, not waited for"),
        (PairCounts(lingering=1), "pairs 0 encrypted 0 pending 0 blocked 0"),
    ],
)
def test_pairs_with_other_zones_are_told_apart(across: PairCounts, words: str) -> None:
    """The first number is of what the rollout waits for; all of them can degrade the state."""
    census = replace(GOOD, counts=PairCounts(encrypted=2), across=across)
    first = "chassis 2 ready 2 lagging 0 | pairs 2 encrypted 2 pending 0 blocked 0"
    assert f"{first} | across zones: {words}" == summarize(census)
    at = policy(Phase.ENFORCE)
    degraded = is_degraded(asking(), SB, at, census, JUST_NOW)
    assert (across.blocked > 0) is degraded


def test_many_laggards_are_counted() -> None:
    """The first few are named in order, whatever keeps them; the others are counted."""
    census = replace(
        GOOD,
        absent=tuple(f"a{n}" for n in range(1000)),
        junk=("Z",),
        behind=(("B", "at generation 1 off"),),
    )
    text = summarize(census)
    assert text.startswith(
        "chassis 2 ready 2 lagging 1002 (B: at generation 1 off, Z: unreadable report, a0: no"
    )
    assert "and 997 more" in text


@given(
    st.lists(st.tuples(st.text(max_size=300), st.text(max_size=500)), max_size=20),
    st.lists(st.text(max_size=300), max_size=20),
)
def test_summary_is_bounded_and_printable(
    problems: list[tuple[str, str]], names: list[str]
) -> None:
    """Whatever chassis write, the summary is one short line."""
    found = tuple(problems)
    text = summarize(replace(GOOD, problems=found, warnings=found, absent=tuple(names)))
    assert text.isprintable()
    assert len(text) < 3500


@pytest.mark.parametrize(
    ("published", "acknowledged", "expected"),
    [
        (None, True, "off"),
        (policy(Phase.OFF, Mode.OFF), True, "off"),
        (policy(Phase.PREPARE), True, "preparing"),
        (policy(Phase.ESTABLISH), True, "establishing"),
        (policy(Phase.ESTABLISH, Mode.PREFER), True, "established"),
        (policy(Phase.ESTABLISH, Mode.PREFER), False, "establishing"),
        (policy(Phase.ENFORCE), True, "enforced"),
        (policy(Phase.RELAX), True, "relaxing"),
    ],
)
def test_state_words(published: ClusterPolicy | None, acknowledged: bool, expected: str) -> None:
    """Each phase has its word; prefer has ended when everybody follows."""
    census = GOOD if acknowledged else replace(GOOD, behind=(("hv1", "x"),))
    assert expected == state_word(published, census)


def test_prefer_ends_without_a_few() -> None:
    """One chassis that does not follow is no reason to wait for ever."""
    at, census = policy(Phase.ESTABLISH, Mode.PREFER), replace(GOOD, behind=(("hv1", "x"),))
    assert state_word(at, census, Elapsed(stated_s=PATIENCE_S - 1.0, step_s=1e9)) == "establishing"
    assert state_word(at, census, Elapsed(stated_s=PATIENCE_S)) == "established"
    anew = Elapsed(stated_s=PATIENCE_S, step_s=0.0)
    assert state_word(at, census, anew) == "established", "a generation of rows begins nothing anew"
    many = replace(census, behind=(("hv1", "x"), ("hv2", "x")))
    assert state_word(at, many, Elapsed(stated_s=1e9)) == "establishing"


def test_state_is_what_was_known_while_southbound_cannot_be_read() -> None:
    """To say that it is off would be a guess, and NB's word is what SB is restored from."""
    for old, shown in (("enforced", "enforced"), ("enforced (degraded)", "enforced"), ("x", "off")):
        nb = NbView(asked=ParsedPolicy(policy=None, errors=()), report={"ovn-ipsec-state": old})
        report = make_report(nb, replace(SB, error=ERROR), asking(), GOOD, JUST_NOW)
        assert report["ovn-ipsec-state"] == f"{shown} (degraded)"
        assert "ovn-ipsec-generation" not in report


PENDING = replace(GOOD, counts=PairCounts(pending=1))
BLOCKED = replace(GOOD, counts=PairCounts(blocked=1))
BEHIND = replace(GOOD, behind=(("hv1", "at generation 2 off"),))
ABSENT = replace(GOOD, absent=("hv1",))
PROBLEM = replace(GOOD, problems=(("hv1", "no certificate"),))
WARNING = replace(GOOD, warnings=(("hv1", "the certificate expires"),))
UNREADABLE = replace(GOOD, junk=("hv1",))


@pytest.mark.parametrize(
    ("phase", "census", "waited_s", "expected"),
    [
        (Phase.ENFORCE, GOOD, 99.0, False),
        (Phase.ENFORCE, BLOCKED, 0.0, True),
        (Phase.ENFORCE, PENDING, 0.0, True),
        (Phase.ESTABLISH, PENDING, 99.0, False),
        (Phase.ESTABLISH, BLOCKED, 0.0, True),
        (Phase.ENFORCE, BEHIND, 1.0, False),
        (Phase.ENFORCE, BEHIND, 10.0, True),
        (Phase.ENFORCE, ABSENT, 0.0, True),
        (Phase.ENFORCE, PROBLEM, 0.0, True),
        (Phase.ENFORCE, WARNING, 99.0, False),
        (Phase.ENFORCE, UNREADABLE, 0.0, True),
        (Phase.RELAX, ABSENT, 99.0, False),
        (Phase.RELAX, BEHIND, 99.0, True),
        (Phase.OFF, PROBLEM, 99.0, False),
    ],
)
def test_degraded(phase: Phase, census: Census, waited_s: float, expected: bool) -> None:
    """Degraded means that something that should hold does not."""
    assert expected is is_degraded(asking(), SB, policy(phase), census, Elapsed(step_s=waited_s))


def test_degraded_by_junk() -> None:
    """A policy that cannot be read degrades, in NB as in SB, even while off."""
    assert is_degraded(asking(junk=True), SB, None, GOOD, JUST_NOW)
    assert not is_degraded(asking(junk=True, known=False), SB, None, GOOD, JUST_NOW)
    assert is_degraded(asking(), replace(SB, error=ERROR), None, GOOD, JUST_NOW)
    assert not is_degraded(asking(), SB, None, GOOD, JUST_NOW)


def test_report() -> None:
    """State, generation, summary; an error only where there is one."""
    report = reported(asking(), replace(SB, policy=policy(Phase.ENFORCE)))
    expected = {
        "ovn-ipsec-state": "enforced",
        "ovn-ipsec-generation": "3",
        "ovn-ipsec-summary": summarize(GOOD),
    }
    assert expected == report


def test_report_errors() -> None:
    """Errors are shown with key, text and what was expected, and make the state degraded."""
    report = reported(asking(*[ERROR] * 7, junk=True), SB)
    assert report["ovn-ipsec-state"] == "off (degraded)"
    assert report["ovn-ipsec-error"].startswith("NB_Global . ovn-ipsec-mode='x': r; ")
    assert report["ovn-ipsec-error"].endswith("and 2 more")


def test_report_keeps_the_generation_while_southbound_is_damaged() -> None:
    """NB's record is what a damaged SB is restored from."""
    report = reported(asking(), replace(SB, error=ERROR))
    assert report["ovn-ipsec-generation"] == "9"


def change(number: int) -> EncapChange:
    """A key to write."""
    return EncapChange(row=UUID(int=number), label=f"hv{number}", mode=Mode.REQUIRE)


def test_differences_settle_and_are_written_together() -> None:
    """Nothing is written before the settling time; what came meanwhile goes with it."""
    settling = Settling()
    assert None is settling.deadline()
    assert settling.due([change(1)], 100.0) == ()
    assert settling.deadline() == 100.0 + SETTLE_S
    assert settling.due([change(1), change(2)], 101.0) == ()
    assert (change(1), change(2)) == settling.due([change(1), change(2)], 102.0)


def test_difference_that_goes_away_is_not_written() -> None:
    """A row that was put right by somebody else starts over."""
    settling = Settling()
    settling.due([change(1)], 100.0)
    settling.due([], 101.0)
    assert settling.due([change(1)], 102.5) == ()


def test_repairs_back_off() -> None:
    """An encap that loses its key again and again waits longer each time, up to a limit."""
    settling, now, waits = Settling(), 0.0, []
    for _ in range(10):
        settling.due([change(1)], now)
        deadline = settling.deadline()
        assert deadline is not None
        waits.append(deadline - now)
        now = deadline
        assert (change(1),) == settling.due([change(1)], now)
        settling.repaired([change(1)], now)
    assert waits[:3] == [2.0, 4.0, 8.0]
    assert waits[-1] == BACK_OFF_MAX_S
    settling.due([change(1)], now)
    settling.due([change(1), change(2)], now)
    assert (change(2),) == settling.due([change(1), change(2)], now + SETTLE_S)


def waits(settling: Settling, times: int, wrong: EncapChange) -> list[float]:
    """How long each of so many repairs of this has to wait."""
    now, found = 0.0, []
    for _ in range(times):
        settling.due([wrong], now)
        deadline = settling.deadline()
        assert deadline is not None
        assert settling.due([wrong], deadline - 0.1) == ()
        assert (wrong,) == settling.due([wrong], deadline)
        found.append(deadline - now)
        now = deadline
        settling.repaired([wrong], now)
    return found


def test_class_of_somebody_else_is_put_right_soon_however_often() -> None:
    """Who labels his row again and again gains a few seconds, also with a row that gets lost."""
    lost, foreign = change(1), replace(change(1), had="c1")
    settling = Settling()
    assert waits(settling, 5, foreign) == [2.0, 4.0, 8.0, 8.0, 8.0]
    assert waits(settling, 7, lost)[-1] == BACK_OFF_MAX_S
    assert waits(settling, 2, foreign) == [FOREIGN_MAX_S] * 2
    assert waits(settling, 1, lost) == [BACK_OFF_MAX_S]
    settling.due([lost], 0.0)
    settling.due([foreign], 1.0)
    assert settling.deadline() == FOREIGN_MAX_S
    settling.due([lost], 2.0)
    assert settling.deadline() == BACK_OFF_MAX_S


def test_long_peace_is_forgiven() -> None:
    """An encap that was right for long starts over with the short time."""
    settling = Settling()
    settling.repaired([change(1)], 0.0)
    settling.due([], FORGET_S - 1.0)
    settling.due([], FORGET_S)
    settling.due([change(1)], FORGET_S)
    assert settling.deadline() == FORGET_S + SETTLE_S
