# SPDX-License-Identifier: Apache-2.0
"""Pure: which chassis without a controller are missed, by the measure of ovn-ipsec-northd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ..model.chassis import EncapType
from ..model.policy import ClusterPolicy, Phase
from ..policy.judgement import missed, quarantined, treatment_of
from ..schema.encap import EncapIntent
from .view import ChassisView


def in_quarantine(policy: ClusterPolicy | None, names: Mapping[str, ChassisView]) -> frozenset[str]:
    """Chassis in quarantine: what they say and lack counts for nothing."""
    if policy is None:
        return frozenset()
    known = [view.chassis.name for view in names.values()]
    return frozenset(quarantined(policy.phase, policy.quarantine, known))


def absent(policy: ClusterPolicy | None, chassis: Mapping[str, ChassisView]) -> frozenset[str]:
    """Chassis whose pairs are to be encrypted and that have no controller.

    Args:
        policy: What SB carries; while there is none, and while it is relaxed, nobody is missed.
        chassis: Of the southbound, by name.
    """
    if policy is None or policy.phase in (Phase.OFF, Phase.RELAX):
        return frozenset()
    local = {name: view for name, view in chassis.items() if not view.chassis.is_remote}
    users = Counter(kind for view in local.values() for kind in _types(view))
    met = {_key(i): i for view in local.values() for i in view.chassis.encaps}
    out = in_quarantine(policy, chassis)
    silent = {
        name: view
        for name, view in local.items()
        if view.digest is None and view.digest_error is None and name not in out
    }
    wanted = {
        key
        for key, intent in {_key(i): i for v in silent.values() for i in v.chassis.encaps}.items()
        if missed(
            (treatment_of(policy, intent, other).mode for other in met.values()), policy.end_mode
        )
    }
    far = {kind for view in chassis.values() if view.chassis.is_remote for kind in _types(view)}
    if not missed((policy.default,), policy.end_mode):
        far.clear()
    return frozenset(
        name
        for name, view in silent.items()
        if (
            any(users[kind] > 1 for kind in _types(view))
            and any(_key(intent) in wanted for intent in view.chassis.encaps)
        )
        or (view.chassis.is_interconn and far & _types(view))
    )


def _key(intent: EncapIntent) -> tuple[object, object]:
    """What policy sees of an encap."""
    return intent.mode, intent.class_name


def _types(view: ChassisView) -> frozenset[EncapType]:
    return frozenset(intent.encap.type for intent in view.chassis.encaps)
