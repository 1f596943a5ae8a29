# SPDX-License-Identifier: Apache-2.0
"""Pure: what each encap should carry, and what has to be written for that.

``evaluate`` is total, idempotent and independent of the order of rows. Every encap carries its
fallback mode; if rules tell encaps apart, it also carries its class.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.policy import ClassName, ClusterPolicy, Mode, Phase
from ovn_ipsec.schema import encap as schema

from ..observe.views import EncapFacts
from .ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class EncapChange:
    """What one Encap row should carry from now on."""

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
    """What has to be written to SB besides the policy itself."""

    changes: tuple[EncapChange, ...]
    """Sorted by label and row."""
    refusals: tuple[InputError, ...]
    """Keys that someone else has set to a value that the published policy does not have."""


def evaluate(
    policy: ClusterPolicy | None, published: ClusterPolicy | None, ledger: Ledger
) -> SbPlan:
    """Compare what each encap carries with what it should carry.

    Args:
        policy: What SB should carry from now on; None leaves every row as it is.
        published: What SB carries.
        ledger: What the encaps carry, and their classes; if these are not known, only ``off``
            writes anything. Encaps of is-remote chassis belong to ovn-ic and are never touched.
    """
    changes: list[EncapChange] = []
    refusals: list[InputError] = []
    if policy is None or (ledger.book is None and policy.phase is not Phase.OFF):
        return SbPlan(changes=(), refusals=())
    held = published or policy
    before = None if held.phase is Phase.OFF else held.default
    after = None if policy.phase is Phase.OFF else policy.default
    names = {
        kind: None if after is None else ledger.class_of(kind.signature) for kind in ledger.kinds
    }
    wrong = {
        kind: name
        for kind, name in names.items()
        if not (kind.text == after == before and kind.class_text == name)
    }
    for chassis in ledger.kinds.names(wrong):
        for encap, kind in ledger.encaps(chassis):
            if kind not in wrong:
                continue
            name = wrong[kind]
            if kind.text is not None and kind.text != before:
                refusals.append(_refusal(encap, schema.MODE, kind.text, before))
            if kind.class_text not in (None, name) and kind.ours is False:
                refusals.append(_refusal(encap, schema.CLASS, str(kind.class_text), name))
            if (kind.text, kind.class_text) != (after, name):
                changes.append(_change(encap, after, name))
    return SbPlan(
        changes=tuple(sorted(changes, key=lambda one: (one.label, one.row))),
        refusals=tuple(sorted(refusals, key=lambda one: (one.row, one.key, one.text))),
    )


def _change(encap: EncapFacts, mode: Mode | None, name: ClassName | None) -> EncapChange:
    return EncapChange(
        row=encap.row, label=encap.label, mode=mode, class_name=name, had=encap.class_text
    )


def _refusal(encap: EncapFacts, key: str, text: str, wanted: str | None) -> InputError:
    return InputError(
        table=schema.TABLE,
        row=encap.label,
        key=f"options:{key}",
        text=text,
        reason=f"the cluster's policy says {wanted or 'nothing'} here",
    )
