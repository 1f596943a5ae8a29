# SPDX-License-Identifier: Apache-2.0
"""Pure: for whom a rollout waits, how long, and without how many it goes on.

Everybody is waited for at first. After a while a gate goes on without a few: a tenth of the
chassis, and one of them in any case. So one chassis that is silent, that says what is not so, or
that has no pair up on purpose costs its own pairs and holds nobody up; and what is wrong with more
than a few is taken for a mistake of the operator, which `gated` is there to stop at. Chassis in
quarantine are not waited for at all.

No report says which pairs are missing, only how many. So a chassis counts as up when no more is
missing there than the few can be the reason of.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ovn_ipsec.policy.judgement import spared

PATIENCE_S = 300.0
"""How long `establish` waits for everybody."""
AUTH_PATIENCE_S = 600.0
"""How long a step to another way of authentication does: credentials are handed out by people."""


class Missing(NamedTuple):
    """Chassis that follow the policy and have pairs that are not up."""

    pairs: int
    """How many are not up, at each of them."""
    encaps: int
    """How many encaps each of them has."""
    chassis: int
    """How many chassis they are."""


def goes_on(chassis: int, left_out: int, missing: Iterable[Missing], widest: int) -> bool:
    """Whether a gate goes on without the few, once its patience is over.

    Args:
        chassis: All that count.
        left_out: Those of them that do not follow.
        missing: Those that follow and have pairs that are not up.
        widest: The most encaps that any chassis has.
    """
    few = spared(chassis)
    beyond = sum(one.chassis for one in missing if one.pairs > few * widest * one.encaps)
    return left_out + beyond <= few
