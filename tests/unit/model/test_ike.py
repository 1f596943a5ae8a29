# SPDX-License-Identifier: Apache-2.0
"""Which IKE daemon is chosen."""

from __future__ import annotations

import pytest

from ovn_ipsec.model.ike import Chosen, Ike, IkeSetting, IkesHere, choose

S, L = Ike.STRONGSWAN, Ike.LIBRESWAN


def here(running: set[Ike], installed: set[Ike] | None = None) -> IkesHere:
    return IkesHere(running=frozenset(running), installed=frozenset(installed or ()))


@pytest.mark.parametrize("found", [here(set()), here({S}), here({L}), here({S, L})])
@pytest.mark.parametrize("last", [None, *Ike])
def test_what_is_named_is_taken_whatever_is_here(found: IkesHere, last: Ike | None) -> None:
    """The operator knows best; whether it runs is found out by whoever asks it."""
    assert choose(IkeSetting.STRONGSWAN, found, last) == Chosen(ike=S)
    assert choose(IkeSetting.LIBRESWAN, found, last) == Chosen(ike=L)
    assert choose(IkeSetting.DELEGATE, found, last) == Chosen(ike=Ike.DELEGATE)


@pytest.mark.parametrize(
    ("found", "last", "expected"),
    [
        (here({S}), None, S),
        (here({L}), None, L),
        (here({L}, {S, L}), S, L),
        (here(set(), {L}), None, L),
        (here(set(), {S}), None, S),
        (here(set(), {S, L}), None, S),
        (here(set(), {S, L}), L, L),
        (here(set(), {S}), L, L),
        (here(set()), None, S),
    ],
)
def test_automatically_what_runs_is_taken_or_else_what_is_installed(
    found: IkesHere, last: Ike | None, expected: Ike
) -> None:
    """One that is away for a moment stays chosen."""
    assert choose(IkeSetting.AUTO, found, last) == Chosen(ike=expected)


@pytest.mark.parametrize("last", [None, *Ike])
def test_two_that_run_are_both_left_alone(last: Ike | None) -> None:
    """Only an operator can say which of them is meant."""
    chosen = choose(IkeSetting.AUTO, here({S, L}), last)
    assert chosen.ike is (last or S)
    assert chosen.problem.startswith("strongSwan and Libreswan both run here: stop one")


def test_what_cannot_be_seen_is_not_absent() -> None:
    """Neither is touched, and the one in use stays in use."""
    chosen = choose(IkeSetting.AUTO, IkesHere(installed=frozenset({S}), unknown="denied"), L)
    assert chosen == Chosen(ike=L, problem="which IKE daemon runs here is not known: denied")
