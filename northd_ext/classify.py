# SPDX-License-Identifier: Apache-2.0
"""Pure: which class each encap is in, worked out anew only for chassis that changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from ovn_ipsec.model.policy import ClassName, Mode
from ovn_ipsec.policy.classes import Matrix, RuleBook, Signature, Subject
from ovn_ipsec.policy.topology import Membership

from .views import ChassisFacts

_NOWHERE = Membership(hosts=frozenset(), reaches=frozenset())


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the rules say of the encaps that there are."""

    book: RuleBook
    signatures: Mapping[UUID, Signature]
    """By Encap row; those of is-remote chassis and of types without IPsec are not in it."""
    present: tuple[Signature, ...]
    """Every signature that some encap has."""
    matrix: Matrix

    def class_of(self, row: UUID) -> ClassName | None:
        """The class that an encap is to carry; None for no key."""
        return self.book.class_name(self.signatures[row])

    def needs_nobody(self, chassis: ChassisFacts, mode: Mode) -> bool:
        """Whether no pair of a chassis is of this mode or a stronger one."""
        own = {self.signatures[e.row] for e in chassis.encaps if e.row in self.signatures}
        return all(
            self.book.decide(one, other).treatment.mode.strength < mode.strength
            for one in own
            for other in self.present
        )


class Classifier:
    """The last assignment, and what it was made from."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self._book: RuleBook | None = None
        self._seen: dict[str, tuple[ChassisFacts, Membership]] = {}
        self._signatures: dict[UUID, Signature] = {}
        self._count: Counter[Signature] = Counter()
        self._matrix: Matrix | None = None

    def run(
        self,
        book: RuleBook,
        chassis: Mapping[str, ChassisFacts],
        memberships: Mapping[str, Membership],
    ) -> Assignment:
        """Bring the assignment up to date.

        Args:
            book: The rules; another object starts over.
            chassis: All chassis by name. One whose facts are the same object costs a lookup.
            memberships: Networks by chassis.
        """
        if book is not self._book:
            self.__init__()  # type: ignore[misc]
            self._book = book
        for name in [name for name in self._seen if name not in chassis]:
            self._forget(name)
        for name, facts in chassis.items():
            membership = memberships.get(name, _NOWHERE)
            seen = self._seen.get(name)
            if seen is None or seen[0] is not facts or seen[1] != membership:
                self._classify(book, facts, membership)
        if self._matrix is None:
            self._matrix = book.matrix(tuple(self._count))
        return Assignment(book, self._signatures, tuple(self._count), self._matrix)

    def _forget(self, name: str) -> None:
        facts, _ = self._seen.pop(name)
        for encap in facts.encaps:
            signature = self._signatures.pop(encap.row, None)
            if signature is not None:
                self._count[signature] -= 1
                if not self._count[signature]:
                    del self._count[signature]
                    self._matrix = None

    def _classify(self, book: RuleBook, facts: ChassisFacts, membership: Membership) -> None:
        if facts.name in self._seen:
            self._forget(facts.name)
        self._seen[facts.name] = (facts, membership)
        if facts.is_remote:
            return
        for encap in facts.encaps:
            if not encap.protectable:
                continue
            signature = book.signature(
                Subject(
                    chassis=facts.name,
                    hostname=facts.hostname,
                    zones=facts.zones,
                    azs=facts.azs,
                    ip=encap.ip,
                    hosts=membership.hosts,
                    reaches=membership.reaches,
                )
            )
            self._signatures[encap.row] = signature
            if not self._count[signature]:
                self._matrix = None
            self._count[signature] += 1
