# SPDX-License-Identifier: Apache-2.0
"""Pure: what each encap is to carry, and what has to be written so that it does.

``evaluate`` is total, idempotent and blind to the order of rows. Every encap carries the mode that
it falls back to; where rules tell encaps apart, also its class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.policy import ClassName, ClusterPolicy, Mode, Phase
from ovn_ipsec.schema import encap as schema

from .classify import Assignment
from .views import EncapFacts, SbView


@dataclass(frozen=True, slots=True, kw_only=True)
class EncapChange:
    """What one Encap row is to carry from now on."""

    row: UUID
    label: str
    mode: Mode | None
    """options:ovn-ipsec; None removes the key."""
    class_name: ClassName | None = None
    """options:ovn-ipsec-class; None removes the key."""
    had: str | None = None
    """The class that the row carries now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SbPlan:
    """What is to be written to SB beside the policy itself."""

    changes: tuple[EncapChange, ...]
    """Sorted by label and row."""
    refusals: tuple[InputError, ...]
    """Keys that somebody else has set to something that the published policy does not say."""


def evaluate(
    policy: ClusterPolicy | None,
    sb: SbView,
    assignment: Assignment | None,
    written: Mapping[str, ClassName | None],
) -> SbPlan:
    """Compare what each encap carries with what it is to carry.

    Args:
        policy: What SB is to carry from now on; None leaves every row as it is.
        sb: What SB carries. Encaps of is-remote chassis are ovn-ic's and never touched.
        assignment: The classes; None when they are not known: then only off writes anything.
        written: The class that was last written to each encap, by label: another text is not ours.
    """
    changes: list[EncapChange] = []
    refusals: list[InputError] = []
    if policy is None or (assignment is None and policy.phase is not Phase.OFF):
        return SbPlan(changes=(), refusals=())
    published = sb.policy or policy
    before = None if published.phase is Phase.OFF else published.default
    after = None if policy.phase is Phase.OFF else policy.default
    for encap in _writable(sb):
        name = None
        if after is not None and assignment is not None:
            name = assignment.class_of(encap.row)
        text, held = encap.text, encap.class_text
        if text == after == before and held == name:
            continue
        if text is not None and text != before:
            refusals.append(_refusal(encap, schema.MODE, text, before))
        if held is not None and held != name and held != written.get(encap.label, held):
            refusals.append(_refusal(encap, schema.CLASS, held, name))
        if text != after or held != name:
            change = EncapChange(
                row=encap.row, label=encap.label, mode=after, class_name=name, had=held
            )
            changes.append(change)
    return SbPlan(
        changes=tuple(sorted(changes, key=lambda change: (change.label, change.row))),
        refusals=tuple(sorted(refusals, key=lambda refusal: (refusal.row, refusal.key))),
    )


def _writable(sb: SbView) -> Iterator[EncapFacts]:
    return (
        encap
        for chassis in sb.chassis.values()
        if not chassis.is_remote
        for encap in chassis.encaps
        if encap.protectable
    )


def _refusal(encap: EncapFacts, key: str, text: str, wanted: str | None) -> InputError:
    return InputError(
        table=schema.TABLE,
        row=encap.label,
        key=f"options:{key}",
        text=text,
        reason=f"the cluster's policy says {wanted or 'nothing'} here",
    )
