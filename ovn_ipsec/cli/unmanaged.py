# SPDX-License-Identifier: Apache-2.0
"""Pure: which chassis without a controller are missed, by the measure of ovn-ipsec-northd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import product

from ..model.chassis import EncapType
from ..model.policy import ClusterPolicy, Mode, Phase
from ..policy.across import End, Face, end_mode, stated, subject_of
from ..policy.judgement import missed, quarantined, treatment_of
from ..schema.encap import EncapIntent
from .view import ChassisView

_Gate = tuple[EncapType, Face]


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
    end = end_mode(policy)
    wanted = {
        key
        for key, intent in {_key(i): i for v in silent.values() for i in v.chassis.encaps}.items()
        if missed((treatment_of(policy, intent, other).mode for other in met.values()), end)
    }
    far = _gates(policy, (view for view in chassis.values() if view.chassis.is_remote))
    return frozenset(
        name
        for name, view in silent.items()
        if (
            any(users[kind] > 1 for kind in _types(view))
            and any(_key(intent) in wanted for intent in view.chassis.encaps)
        )
        or (view.chassis.is_interconn and _is_missed_beyond(policy, view, far, end))
    )


def _gates(policy: ClusterPolicy, views: Iterable[ChassisView]) -> frozenset[_Gate]:
    """What rules across availability zones, and OVN, see of the encaps of one end's chassis."""
    book = stated(policy)
    found = set[_Gate]()
    for view in views:
        side = book.far if view.chassis.is_remote else book.near
        for intent in view.chassis.encaps:
            face = side(subject_of(End(view.chassis, intent)))
            found.add((intent.encap.type, face))
    return frozenset(found)


def _is_missed_beyond(
    policy: ClusterPolicy, view: ChassisView, far: frozenset[_Gate], end: Mode
) -> bool:
    """Whether gateways of other availability zones miss the controller of a gateway."""
    both = product(_gates(policy, [view]), far)
    met = (
        stated(policy).decide(near, face).treatment.mode
        for (kind, near), (of, face) in both
        if kind is of
    )
    return missed(met, end)


def _key(intent: EncapIntent) -> tuple[object, object]:
    """What policy sees of an encap."""
    return intent.mode, intent.class_name


def _types(view: ChassisView) -> frozenset[EncapType]:
    return frozenset(intent.encap.type for intent in view.chassis.encaps)
