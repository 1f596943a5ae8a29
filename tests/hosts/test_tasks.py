# SPDX-License-Identifier: Apache-2.0
"""What an operator does with an encrypted cluster: chapters 5 and 6 of the tutorial."""

from __future__ import annotations

import re

from operator_words import CHAPTERS, Operator, nothing_clear, spis

from ovn_ipsec.lab.hosts.pair import Pair
from ovn_ipsec.lab.waiting import wait_until


def test_a_rule_is_followed_and_removed_without_a_clear_packet(
    enforced: Pair, operator: Operator
) -> None:
    """``explain`` says that the pair has the suite of the rule, and later that it has not."""
    with nothing_clear(enforced, "a rule"):
        typed = operator.read_to(CHAPTERS["rule"])
    with_rule, without = (
        one.output for one in typed if one.step.command.startswith("ovn-ipsec explain")
    )
    assert "cnsa" in with_rule
    assert "cnsa" not in without
    operator.wait_enforced()


def test_a_new_certificate_is_taken_without_a_clear_packet(
    enforced: Pair, operator: Operator
) -> None:
    """The authority has signed another one, and the SAs are others."""
    operator.read_to(CHAPTERS["rule"])
    before = spis(enforced.h2)
    with nothing_clear(enforced, "a new certificate"):
        typed = operator.read_to(CHAPTERS["certificate"])
        wait_until(lambda: not before & spis(enforced.h2), 120, "no SA of before on h2")
    old, new = (
        set(re.findall(r"[0-9a-f]{12,}", one.output))
        for one in typed
        if one.step.command == "ovn-ipsec pki status"
    )
    assert new - old, (old, new)
    operator.wait_enforced()
