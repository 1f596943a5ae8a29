# SPDX-License-Identifier: Apache-2.0
"""Pure: an Encap row alone never weakens a pair; that takes a new generation.

An Encap row can be written by the chassis that owns it, SB_Global by no chassis. So a row may raise
the mode of its pairs at any time, and lower it only together with a new generation, which
ovn-ipsec-northd raises in the transaction in which it weakens classes. A row that asks for less is
refused with an InputError until it is corrected, and what applied before continues to apply.

A row without our keys states nothing. ovn-controller creates such rows when it restarts, and for a
few seconds the default would apply to a pair that is stated to be clear, or the reverse. So a pair
keeps what was last stated within the generation; under a later one it keeps that, or takes what the
policy says without the keys if that is stronger, and its first new statement is accepted as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import ClusterPolicy, Treatment, strongest
from ovn_ipsec.policy.judgement import weakens
from ovn_ipsec.schema.encap import CLASS, MODE, TABLE

from ..connection import ConnName, conn_name
from .world import Label, PairIntent


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The last statement of a pair that was accepted, hence the strongest of its generation."""

    generation: int
    treatment: Treatment
    labels: tuple[Label, Label]
    """The labels of its rows: the local and the remote encap's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """How a pair is treated, and what is remembered for the next ruling."""

    intent: PairIntent
    statement: Statement | None
    refused: bool = False
    """Whether the rows ask for less than what applies."""


def rule(statement: Statement | None, offered: PairIntent, policy: ClusterPolicy) -> Ruling:
    """Rule on what the rows of a pair state.

    Args:
        statement: What was last accepted; None for a new pair.
        offered: What the rows and the policy state now.
        policy: The policy that it was computed from.

    Returns:
        The intent that applies: within a generation never weaker than any that was stated.
    """
    generation = policy.generation
    if statement is not None:
        # A generation older than the statement's was restored from a backup: it is not a new one.
        generation = max(generation, statement.generation)
    taken = Statement(generation=generation, treatment=offered.treatment, labels=offered.labels)
    if statement is None:
        return Ruling(intent=offered, statement=taken if offered.stated else None)
    kept = _kept(statement, offered, policy)
    same = policy.generation <= statement.generation
    if not offered.stated:
        mode = kept.mode if same else strongest(kept.mode, offered.mode)
        return Ruling(intent=replace(kept, mode=mode), statement=statement)
    if same and weakens(kept.mode, offered.mode):
        return Ruling(intent=kept, statement=statement, refused=True)
    return Ruling(intent=offered, statement=taken)


def _kept(statement: Statement, offered: PairIntent, policy: ClusterPolicy) -> PairIntent:
    kept = statement.treatment
    mode = kept.mode if offered.ruled else strongest(policy.floor, kept.mode)
    return replace(offered, mode=mode, profile=kept.profile)


def refusal(this_chassis: ChassisName, ruling: Ruling, offered: PairIntent) -> InputError:
    """Say which row asks for less than what applies, and for what.

    A pair with another availability zone may be decided by a rule: then it is what the rule
    matches that has changed.

    Args:
        this_chassis: Our name.
        ruling: A ruling that refused.
        offered: What it refused.
    """
    pair, old = offered.pair, ruling.statement
    reason = (
        f"would weaken {ruling.intent.mode} to {offered.mode} without a new generation of"
        " the policy; refused"
    )
    if offered.across and old is not None and old.labels == offered.labels:
        row = f"{this_chassis} or {pair.peer}"
        reason = f"a change of what rules match {reason}"
        return InputError(table="Chassis", row=row, key="hostname or zones", text="", reason=reason)
    ours = old is not None and (
        old.labels[1] == offered.labels[1] and old.labels[0] != offered.labels[0]
    )
    label = offered.labels[0 if ours else 1]
    chassis, ip = (this_chassis, pair.local) if ours else (pair.peer, pair.remote)
    key, text = (CLASS, label.class_name) if label.class_name is not None else (MODE, label.mode)
    return InputError(
        table=TABLE,
        row=f"{chassis}/{ip}",
        key=f"options:{key}",
        text=str(text or ""),
        reason=reason,
    )


class Statements:
    """The last statement of each pair; for pairs that are gone, one for each chassis.

    So an address that comes and goes weakens nothing, and does not use more memory each time.
    """

    def __init__(self) -> None:
        self.pairs: dict[ConnName, Statement] = {}
        self.peers: dict[str, Statement] = {}
        """By chassis, the strongest statement of pairs that are gone."""

    def rule(self, offered: PairIntent, policy: ClusterPolicy) -> Ruling:
        """Rule on what the rows of a pair state, and remember it."""
        name = conn_name(offered.pair)
        stated = self.pairs.get(name, self.peers.get(offered.pair.peer))
        ruling = rule(stated, offered, policy)
        if ruling.statement is not None:
            self.pairs[name] = ruling.statement
        return ruling

    def merge(self, name: ConnName, peer: str) -> None:
        """Note that a pair is gone."""
        found, known = self.pairs.pop(name, None), self.peers.get(peer)
        if found is None:
            return
        if known is None or known.treatment.mode.strength <= found.treatment.mode.strength:
            self.peers[peer] = found

    def forget(self, kept: Callable[[ConnName], bool]) -> None:
        """Under a new generation: forget the statements of pairs that no longer exist."""
        self.peers.clear()
        for name in [name for name in self.pairs if not kept(name)]:
            del self.pairs[name]

    def clear(self) -> None:
        """Forget everything, because encryption is off."""
        self.pairs.clear()
        self.peers.clear()
