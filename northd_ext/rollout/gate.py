# SPDX-License-Identifier: Apache-2.0
"""Pure: for which chassis a rollout waits, how long, and without how many it goes on.

At first a gate waits for every chassis. After a while it goes on without a few: a tenth of the
chassis, and at least one. So a chassis that is silent, reports falsehoods, or deliberately has no
pair up costs only its own pairs and holds nobody up; a problem with more than a few is taken for an
operator's mistake, at which `gated` is meant to stop. Chassis in quarantine are not waited for at
all.

Reports say only how many pairs are missing, not which. So a chassis counts as up if those few
chassis can account for all the pairs that it is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ovn_ipsec.policy.judgement import spared

PATIENCE_S = 300.0
"""How long `establish` waits for every chassis."""
AUTH_PATIENCE_S = 600.0
"""The same for a step to another authentication method: people distribute the credentials."""


class Missing(NamedTuple):
    """Chassis that follow the policy but have pairs that are not up."""

    pairs: int
    """How many are not up, on each of them."""
    encaps: int
    """How many encaps each of them has."""
    chassis: int
    """How many chassis these are."""


def goes_on(chassis: int, left_out: int, missing: Iterable[Missing], widest: int) -> bool:
    """Whether a gate goes on without the few, once its patience is over.

    Args:
        chassis: The number of all that count.
        left_out: The number of those that do not follow.
        missing: Those that follow but have pairs that are not up.
        widest: The most encaps that any chassis has.
    """
    few = spared(chassis)
    beyond = sum(one.chassis for one in missing if one.pairs > few * widest * one.encaps)
    return left_out + beyond <= few
