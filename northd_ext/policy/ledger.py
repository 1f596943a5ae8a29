# SPDX-License-Identifier: Apache-2.0
"""Pure: what a set of rules says of every chassis, recomputed only for the chassis that changed.

A decision covers thousands of chassis, of which one or two have changed. So what follows from a
single chassis is cached with the very objects that it was made from (an edge replaces the facts of
a chassis when its rows change), and questions about all chassis are asked about groups of them:
encaps that neither rules nor rows tell apart, chassis at the same generation, and so on. There are
few groups, and a chassis that changes moves from one to another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import compress
from operator import is_not
from typing import NamedTuple

from ovn_ipsec.model.policy import ClassName, Mode, Profile, Treatment
from ovn_ipsec.policy.classes import NOTHING, REST, Matrix, RuleBook, Signature, Subject
from ovn_ipsec.policy.judgement import lacking, missed
from ovn_ipsec.policy.limits import meetings
from ovn_ipsec.policy.topology import Membership
from ovn_ipsec.schema.sb_global import format_pairs

from ..observe.views import ChassisFacts, EncapFacts
from .groups import Groups
from .tally import Tally

_NOWHERE = Membership(hosts=frozenset(), reaches=frozenset())


class Kind(NamedTuple):
    """Everything about an encap that a decision uses."""

    signature: Signature
    text: str | None
    """See EncapFacts.text."""
    class_text: str | None
    """See EncapFacts.class_text."""
    ours: bool | None
    """Whether this class is the one last written there; None if that is not known."""


class Need(NamedTuple):
    """Everything that determines whether others miss a chassis without a controller."""

    types: frozenset[str]
    signatures: frozenset[Signature]
    gateway: bool
    """Whether it has tunnels to other availability zones."""


class Able(NamedTuple):
    """An encap's signature, and the cipher suites that its controller can do."""

    signature: Signature
    profiles: frozenset[Profile]


_Encaps = tuple[tuple[EncapFacts, Kind], ...]
"""The encaps that are written: not those of is-remote chassis, nor of types without IPsec."""


class Ledger:
    """What the rules of one book say of the chassis as of the last update."""

    def __init__(self, book: RuleBook | None) -> None:
        """Start with no chassis.

        Args:
            book: The rules; None if the classes cannot be known: then every class is NOTHING.
        """
        self.book = book
        self.matrix: Matrix | None = None
        """The treatment of every pair of classes; None without a book."""
        self.size = 0
        """Bytes of that matrix as SB carries it."""
        self.present: frozenset[Signature] = frozenset()
        """Every signature that some encap has."""
        self.kinds: Groups[Kind] = Groups()
        """Chassis by the kinds of their encaps."""
        self.unmanaged: Groups[Need] = Groups()
        """Chassis without a controller."""
        self.able: Groups[Able] = Groups()
        """Chassis with a controller, by what it can do."""
        self.users: Counter[str] = Counter()
        """How many chassis have encaps of a type that IPsec covers."""
        self.far: Counter[str] = Counter()
        """The same of those in other availability zones."""
        self.tally = Tally()
        self._quarantined: frozenset[str] = frozenset()
        self._facts: dict[str, ChassisFacts] = {}
        self._members: dict[str, Membership] = {}
        self._encaps: dict[str, _Encaps] = {}
        self._labels: Groups[str] = Groups()
        self._written: dict[str, ClassName | None] = {}
        self._met: dict[ClassName, tuple[Treatment, ...]] = {}

    def update(
        self,
        chassis: Mapping[str, ChassisFacts],
        memberships: Mapping[str, Membership],
        written: Mapping[str, ClassName | None],
        quarantined: frozenset[str] = frozenset(),
    ) -> None:
        """Update to the current state.

        Args:
            chassis: All chassis by name; one whose facts are the same object costs only a lookup.
            memberships: Networks by chassis; the same applies.
            written: The class that was last written to each encap, by label.
            quarantined: Chassis in quarantine: what they report and can do is ignored.
        """
        members = self._members
        differing = self._relabelled(written)
        differing.update(_replaced(chassis, self._facts))
        differing |= members.keys() - memberships.keys()
        moved = _replaced(memberships, members)
        differing.update(name for name in moved if members.get(name) != memberships[name])
        if quarantined != self._quarantined:
            differing |= quarantined ^ self._quarantined
            self._quarantined = quarantined
        for name in differing & chassis.keys():
            self._put(name, chassis[name], memberships.get(name))
        if len(self._facts) != len(chassis):
            for name in self._facts.keys() - chassis.keys():
                self._put(name, None, None)
        if self.book is not None:
            self._decide(self.book)

    def encaps(self, chassis: str) -> _Encaps:
        """The encaps of a chassis that are written, each with its kind."""
        return self._encaps[chassis]

    def class_of(self, signature: Signature) -> ClassName | None:
        """The class that an encap should carry; None for no key, and if it is not known."""
        return None if self.book is None else self.book.class_name(signature)

    def needs_nobody(self, signatures: frozenset[Signature], mode: Mode) -> bool:
        """Whether no pair of a chassis with these signatures is of this mode or a stronger one."""
        if self.book is None:
            return False
        met = (
            treatment.mode
            for signature in signatures
            for treatment in self._met[self.class_of(signature) or REST]
        )
        return not missed(met, mode)

    def meets_others(self, need: Need, mode: Mode) -> bool:
        """Whether a chassis has pairs with other zones, where the default applies, of this mode."""
        default = None if self.book is None else self.book.default.mode
        met = need.gateway and any(self.far[kind] for kind in need.types)
        return met and (default is None or missed((default,), mode))

    def lacking(self, able: Able) -> frozenset[Profile]:
        """Cipher suites that the pairs of an encap use and that its chassis cannot do."""
        met = self._met.get(self.class_of(able.signature) or REST, ())
        return lacking(met, able.profiles)

    def _decide(self, book: RuleBook) -> None:
        present = frozenset(kind.signature for kind in self.kinds)
        if self.matrix is None or present != self.present:
            self.present, self.matrix = present, book.matrix(present)
            self.size = len(format_pairs(self.matrix.pairs))
            classes = [self.class_of(one) or REST for one in present]
            self._met = meetings(self.matrix, classes, book.default)

    def _relabelled(self, written: Mapping[str, ClassName | None]) -> set[str]:
        """Chassis with encaps whose last written class differs from what was known so far."""
        held = self._written
        if written == held:
            return set()
        labels = {*_replaced(written, held), *(written.keys() ^ held.keys())}
        self._written = dict(written)
        return set(self._labels.names(labels))

    def _kind(self, facts: ChassisFacts, encap: EncapFacts, membership: Membership) -> Kind:
        signature, ours = NOTHING, None
        if self.book is not None:
            subject = Subject(
                chassis=facts.name,
                hostname=facts.hostname,
                zones=facts.zones,
                azs=facts.azs,
                ip=encap.ip,
                hosts=membership.hosts,
                reaches=membership.reaches,
            )
            signature = self.book.signature(subject)
        if encap.label in self._written:
            ours = encap.class_text == self._written[encap.label]
        return Kind(signature, encap.text, encap.class_text, ours)

    def _put(self, name: str, facts: ChassisFacts | None, membership: Membership | None) -> None:
        """Replace what is known of a chassis, in every sum; without facts it is removed."""
        old, had = self._facts.pop(name, None), self._encaps.pop(name, ())
        self.far.subtract(_far_types(old))
        self.far.update(_far_types(facts))
        self._members.pop(name, None)
        encaps: _Encaps = ()
        if facts is not None:
            encaps = tuple(
                (encap, self._kind(facts, encap, membership or _NOWHERE))
                for encap in facts.encaps
                if encap.protectable and not facts.is_remote
            )
            self._facts[name], self._encaps[name] = facts, encaps
        if membership is not None:
            self._members[name] = membership
        self.tally.put(name, old, facts, quarantined=name in self._quarantined)
        self.users.subtract(_types(had))
        self.users.update(_types(encaps))
        self._labels.put(name, *(encap.label for encap, _ in encaps))
        self.kinds.put(name, *(kind for _, kind in encaps))
        self._sort(name, facts, encaps)

    def _sort(self, name: str, facts: ChassisFacts | None, encaps: _Encaps) -> None:
        """Put a chassis among those with a controller or among those without."""
        signatures = frozenset(kind.signature for _, kind in encaps)
        able: list[Able] = []
        needs: list[Need] = []
        if name in self._quarantined:
            facts = None
        if facts is not None and facts.digest is not None:
            able = [Able(one, facts.digest.profiles) for one in signatures]
        elif facts is not None and facts.digest_error is None and encaps:
            needs = [Need(_types(encaps), signatures, gateway=facts.is_interconn)]
        self.able.put(name, *able)
        self.unmanaged.put(name, *needs)


def _replaced(new: Mapping[str, object], old: Mapping[str, object]) -> Iterator[str]:
    """Names with a different object than before; there are thousands, so no Python loop."""
    return compress(new, map(is_not, new.values(), map(old.get, new)))


def _far_types(facts: ChassisFacts | None) -> frozenset[str]:
    return facts.types if facts is not None and facts.is_remote else frozenset()


def _types(encaps: _Encaps) -> frozenset[str]:
    return frozenset(encap.type for encap, _ in encaps)
