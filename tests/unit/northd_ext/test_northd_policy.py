# SPDX-License-Identifier: Apache-2.0
"""northd_ext.observe.views and northd_ext.policy.evaluation: which encap carries which mode."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from northd_ext.observe.views import STATE_PHASE, ChassisFacts, EncapFacts, NbView, SbView
from northd_ext.policy.evaluation import EncapChange, SbPlan
from northd_ext.policy.evaluation import evaluate as evaluate_classes
from northd_ext.policy.ledger import Ledger
from ovn_ipsec.model.policy import ClusterPolicy, Mode, Phase, Treatment
from ovn_ipsec.policy.classes import RuleBook
from ovn_ipsec.schema.nb_global import ParsedPolicy

ENFORCED = ClusterPolicy(
    generation=3, phase=Phase.ENFORCE, default=Mode.REQUIRE, floor=Mode.REQUIRE
)
OFF = ClusterPolicy(generation=4, phase=Phase.OFF, default=Mode.OFF, floor=Mode.OFF)


def encap(number: int, text: str | None = None, kind: str = "geneve") -> EncapFacts:
    """An encap of chassis hv<number>."""
    label = f"hv{number}/{kind}/10.0.0.{number}"
    return EncapFacts(row=UUID(int=number), label=label, type=kind, text=text)


def view(*chassis: ChassisFacts, policy: ClusterPolicy | None = ENFORCED) -> SbView:
    """A southbound of these chassis."""
    return SbView(policy=policy, chassis={c.name: c for c in chassis})


def evaluate(policy: ClusterPolicy | None, sb: SbView) -> SbPlan:
    """Evaluate without any rule."""
    book = RuleBook((), Treatment(mode=Mode.REQUIRE))
    ledger = Ledger(book)
    ledger.update(sb.chassis, {}, {})
    return evaluate_classes(policy, sb.policy, ledger)


def nb(**report: str) -> NbView:
    """A northbound that holds these report keys."""
    keys = {f"ovn-ipsec-{key}": text for key, text in report.items()}
    return NbView(asked=ParsedPolicy(policy=None, errors=()), report=keys)


def test_missing_key_is_written() -> None:
    """An encap without the key gets the cluster's mode, and that is no refusal."""
    plan = evaluate(ENFORCED, view(ChassisFacts(name="hv1", encaps=(encap(1),))))
    change = EncapChange(row=UUID(int=1), label="hv1/geneve/10.0.0.1", mode=Mode.REQUIRE)
    assert (change,) == plan.changes
    assert plan.refusals == ()


@pytest.mark.parametrize("text", ["off", "prefer", "REQUIRE", "", "\x00junk"])
def test_weaker_or_junk_text_is_refused_and_put_right(text: str) -> None:
    """What a chassis wrote itself is replaced, and said with table, row, key, text, reason."""
    plan = evaluate(ENFORCED, view(ChassisFacts(name="hv1", encaps=(encap(1, text),))))
    (refusal,) = plan.refusals
    assert [change.mode for change in plan.changes] == [Mode.REQUIRE]
    assert ("Encap", "hv1/geneve/10.0.0.1", "options:ovn-ipsec", text) == (
        refusal.table,
        refusal.row,
        refusal.key,
        refusal.text,
    )
    assert "require" in refusal.reason


def test_policy_change_is_no_refusal() -> None:
    """When the operator changes the mode, rows that carry the old one are nobody's fault."""
    policy = ClusterPolicy(
        generation=4, phase=Phase.ESTABLISH, default=Mode.PREFER, floor=Mode.PREFER
    )
    plan = evaluate(policy, view(ChassisFacts(name="hv1", encaps=(encap(1, "require"),))))
    assert ([c.mode for c in plan.changes], plan.refusals) == ([Mode.PREFER], ())


def test_off_removes_the_key() -> None:
    """Phase off takes the keys away, and a key that appears later is refused."""
    chassis = ChassisFacts(name="hv1", encaps=(encap(1, "require"),))
    assert [c.mode for c in evaluate(OFF, view(chassis)).changes] == [None]
    (refusal,) = evaluate(OFF, view(chassis, policy=OFF)).refusals
    assert "nothing" in refusal.reason


def test_remote_chassis_and_other_types_are_never_written() -> None:
    """Encaps of ovn-ic's chassis and of types that IPsec does not cover stay as they are."""
    remote = ChassisFacts(name="far", is_remote=True, encaps=(encap(1, "off"),))
    other = ChassisFacts(name="hv2", encaps=(encap(2, kind="stt"),))
    plan = evaluate(ENFORCED, view(remote, other))
    assert (plan.changes, plan.refusals) == ((), ())
    assert frozenset() == other.types


def test_encap_that_is_right_stays_beside_one_that_is_wrong() -> None:
    """Only rows that differ are written, also of one chassis."""
    right, wrong = encap(1, "require"), encap(2)
    plan = evaluate(ENFORCED, view(ChassisFacts(name="hv1", encaps=(right, wrong))))
    assert [change.row for change in plan.changes] == [wrong.row]


def test_never_asked_for_leaves_everything() -> None:
    """Without a policy nothing is written, whatever the rows carry."""
    chassis = ChassisFacts(name="hv1", encaps=(encap(1, "require"),))
    assert evaluate(None, view(chassis, policy=None)).changes == ()


TEXTS = st.sampled_from([None, "require", "prefer", "off", "junk"])
WORLDS = st.lists(st.tuples(TEXTS, st.booleans()), max_size=6)


def world(spec: list[tuple[str | None, bool]], order: int = 1) -> SbView:
    """A southbound made from a list, in the given direction."""
    made = [
        ChassisFacts(name=f"hv{i}", is_remote=remote, encaps=(encap(i, text),))
        for i, (text, remote) in enumerate(spec)
    ]
    return view(*made[::order])


@given(WORLDS, st.sampled_from([ENFORCED, OFF]))
def test_evaluate_ignores_order(spec: list[tuple[str | None, bool]], policy: ClusterPolicy) -> None:
    """The plan is the same whichever way the rows come."""
    forward, backward = evaluate(policy, world(spec)), evaluate(policy, world(spec, -1))
    assert forward.changes == backward.changes
    assert [str(r) for r in forward.refusals] == [str(r) for r in backward.refusals]


@given(WORLDS, st.sampled_from([ENFORCED, OFF]))
def test_evaluate_is_idempotent(spec: list[tuple[str | None, bool]], policy: ClusterPolicy) -> None:
    """After everything was written there is nothing to write."""
    modes = {c.row.int: c.mode for c in evaluate(policy, world(spec)).changes}
    applied = [(modes.get(i, text), remote) for i, (text, remote) in enumerate(spec)]
    assert evaluate(policy, world(applied)).changes == ()


@pytest.mark.parametrize("word", STATE_PHASE)
def test_reported_phase(word: str) -> None:
    """Every state word, degraded or not, names its phase."""
    assert STATE_PHASE[word] is nb(state=word).reported_phase
    assert STATE_PHASE[word] is nb(state=f"{word} (degraded)").reported_phase


def test_reported_phase_unknown() -> None:
    """Junk and absence name none."""
    assert None is nb().reported_phase
    assert None is nb(state="junk").reported_phase


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7),
        ("", 0),
        ("-1", 0),
        ("x", 0),
        ("²", 0),
        ("9999999999", 9999999999),
        ("9" * 16, 0),
        ("1" * 99, 0),
    ],
)
def test_reported_generation(text: str, expected: int) -> None:
    """Only a plain number in range counts."""
    assert expected == nb(generation=text).reported_generation
