# SPDX-License-Identifier: Apache-2.0
"""Pure: which mode each encap is to carry, and what has to be written so that it does.

``evaluate`` is total, idempotent and blind to the order of rows. There is one class of encaps so
far: ``wanted_mode`` is the one place that decides for an encap, and where rules would be asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.policy import ClusterPolicy, Mode, Phase
from ovn_ipsec.schema import encap as schema

from .views import ChassisFacts, EncapFacts, SbView


@dataclass(frozen=True, slots=True, kw_only=True)
class EncapChange:
    """One Encap.options:ovn-ipsec to write, or to remove."""

    row: UUID
    label: str
    mode: Mode | None
    """None removes the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SbPlan:
    """What is to be written to SB beside the policy itself."""

    changes: tuple[EncapChange, ...]
    """Sorted by label and row."""
    refusals: tuple[InputError, ...]
    """Keys that somebody else has set to something that the published policy does not say."""


def wanted_mode(policy: ClusterPolicy, _chassis: ChassisFacts, _encap: EncapFacts) -> Mode | None:
    """The mode that an encap is to carry; None for no key.

    Every encap is of the one class that there is, whose mode is the cluster's default. Rules that
    tell encaps apart would be evaluated here: that is what the chassis and the encap are for.
    """
    return None if policy.phase is Phase.OFF else policy.default


def evaluate(policy: ClusterPolicy | None, sb: SbView) -> SbPlan:
    """Compare what each encap carries with what it is to carry.

    Args:
        policy: What SB is to carry from now on; None leaves every row as it is.
        sb: What SB carries. Encaps of is-remote chassis are ovn-ic's and never touched.
    """
    changes: list[EncapChange] = []
    refusals: list[InputError] = []
    if policy is None:
        return SbPlan(changes=(), refusals=())
    published = sb.policy or policy
    for chassis in sb.chassis.values():
        if chassis.is_remote:
            continue
        for encap in chassis.encaps:
            if not encap.protectable:
                continue
            if encap.text not in (None, wanted_mode(published, chassis, encap)):
                refusals.append(_refusal(encap, wanted_mode(published, chassis, encap)))
            mode = wanted_mode(policy, chassis, encap)
            if encap.text != mode:
                changes.append(EncapChange(row=encap.row, label=encap.label, mode=mode))
    return SbPlan(
        changes=tuple(sorted(changes, key=lambda change: (change.label, change.row))),
        refusals=tuple(sorted(refusals, key=lambda refusal: refusal.row)),
    )


def _refusal(encap: EncapFacts, mode: Mode | None) -> InputError:
    return InputError(
        table=schema.TABLE,
        row=encap.label,
        key=f"options:{schema.MODE}",
        text=encap.text or "",
        reason=f"the cluster's policy says {mode or 'nothing'} here",
    )
