# SPDX-License-Identifier: Apache-2.0
"""Pure: what the controller waits for, and what it does, each in one line. Input: Situation."""

from __future__ import annotations

from dataclasses import dataclass

from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import NO_POLICY, ClusterPolicy, Phase
from ovn_ipsec.model.status import PairCounts
from ovn_ipsec.model.wait import Reached, Wait, away
from ovn_ipsec.schema.open_vswitch import LocalChassis

_SYSTEM_ID = "external_ids:system-id"
_REMOTE = "external_ids:ovn-remote"
_WORDS = {
    Phase.OFF: "off",
    Phase.PREPARE: "preparing",
    Phase.ESTABLISH: "establishing",
    Phase.ENFORCE: "enforced",
    Phase.RELAX: "relaxing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What this host knows of the chassis that it is."""

    name: ChassisName
    southbound: Reached
    ike: Reached
    ready: bool
    """Whether a policy was ever taken in, if only the one that says nothing."""
    has_row: bool
    held: str
    """Why what is stated is not obeyed; empty: it is."""
    policy: ClusterPolicy
    applied: ClusterPolicy
    """The policy that all pairs have been brought to."""
    counts: PairCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a headline is made of."""

    local: Reached
    """The local Open_vSwitch database."""
    here: LocalChassis | None
    """What it says; None: it has no row."""
    chassis: Told | None
    """None: this host has no name or no southbound."""
    coming: str = ""
    """What the chassis that this host is to be lacks; empty: there is none, or nothing."""
    fault: str = ""
    """What of a pass fails; empty: nothing."""
    conflict: str = ""
    """Who else drives the IKE daemon; empty: nobody."""


def waits_for(seen: Situation) -> Wait | None:
    """The first thing that the controller waits for; None: nothing."""
    if seen.fault or seen.conflict:
        return Wait(seen.fault or seen.conflict, told=True)
    return _local(seen) or _chassis(seen)


def headline(seen: Situation) -> str:
    """What the controller waits for and does, for people."""
    wait, does = waits_for(seen), _does(seen.chassis)
    what = "failing" if seen.fault else "waiting"
    return "; ".join(([f"{what}: {wait.reason}"] if wait else []) + ([does] if does else []))


def _local(seen: Situation) -> Wait | None:
    """What the local database lacks."""
    here = seen.here
    if not seen.local.up:
        return away("no local database", seen.local)
    if here is None:
        return Wait("the local database has no row in table Open_vSwitch: ovs-vsctl init makes it")
    if here.name is None:
        return _missing("no system-id", _SYSTEM_ID, here)
    if not here.remote:
        return _missing("ovn-remote is not set", _REMOTE, here)
    return Wait(seen.coming, known=False) if seen.coming else None


def _missing(what: str, key: str, here: LocalChassis) -> Wait:
    for error in here.errors:
        if error.key == key:
            return Wait(error.diagnostics(), told=True)
    return Wait(f"{what}: set {key} in the local Open_vSwitch row")


def _chassis(seen: Situation) -> Wait | None:
    """What the chassis that this host is waits for."""
    told = seen.chassis
    if told is None:
        return None
    if not told.southbound.up:
        return away("southbound not reached", told.southbound)
    return _policy(told) or _means(told)


def _policy(told: Told) -> Wait | None:
    if told.held:
        return Wait(told.held, told=True)
    if not told.ready:
        return Wait("a policy: the rows of the southbound have not come yet", known=False)
    if told.policy == NO_POLICY:
        return Wait("a policy: the southbound has none of ovn-ipsec-northd")
    return None


def _means(told: Told) -> Wait | None:
    """What the chassis needs to do what the policy says."""
    if told.policy.phase is not Phase.OFF and not told.ike.up:
        if "the IKE daemon" in told.ike.problem:
            return Wait(told.ike.problem, told=True)
        return away("IKE daemon not reached", told.ike)
    if not told.has_row:
        reason = f"the southbound has no Chassis row {told.name}: ovn-controller makes it"
        return Wait(reason, known=False)
    return None


def _does(told: Told | None) -> str:
    if told is None or not told.ready or told.policy == NO_POLICY:
        return ""
    policy, counts = told.policy, told.counts
    word = _WORDS[policy.phase]
    if policy.phase is Phase.ENFORCE and told.applied != policy:
        word = "enforcing"
    text = f"{word} generation {policy.generation}"
    if policy.phase is Phase.OFF and not counts.wanted:
        return text
    return f"{text}, {counts.encrypted} of {counts.wanted} pairs encrypted"
