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
from itertools import compress, product
from operator import is_not
from typing import NamedTuple

from ovn_ipsec.model.policy import ClassName, Mode, Profile, Treatment
from ovn_ipsec.policy.across import NO_RULE, Across, Face
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


class Gate(NamedTuple):
    """What rules across availability zones, and OVN, see of an encap at either end."""

    type: str
    face: Face


class Need(NamedTuple):
    """Everything that determines whether others miss a chassis without a controller."""

    types: frozenset[str]
    signatures: frozenset[Signature]
    gates: frozenset[Gate]
    """How it meets other availability zones: empty if it has no tunnels to them."""


class Able(NamedTuple):
    """An encap's signature, and the cipher suites that its controller can do."""

    signature: Signature
    profiles: frozenset[Profile]
    gates: frozenset[Gate] = frozenset()
    """See Need.gates."""


_Encaps = tuple[tuple[EncapFacts, Kind], ...]
"""The encaps that are written: not those of is-remote chassis, nor of types without IPsec."""


class Ledger:
    """What the rules of one book say of the chassis as of the last update."""

    def __init__(self, book: RuleBook | None, across: Across | None = None) -> None:
        """Start with no chassis.

        Args:
            book: The rules; None if the classes cannot be known: then every class is NOTHING.
            across: The rules for pairs across availability zones; None if there are none.
        """
        self.book = book
        self.across = across
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
        self.far: Counter[Gate] = Counter()
        """The same of those in other availability zones, by what rules can tell apart."""
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
        """Whether a chassis has pairs with other availability zones of this mode."""
        if self.book is None:
            return any(True for _ in self._beyond(need.gates))
        default = self.book.default
        met = (
            default if self.across is None else self.across.decide(*both).treatment
            for both in self._beyond(need.gates)
        )
        return missed((treatment.mode for treatment in met), mode)

    def lacking(self, able: Able) -> frozenset[Profile]:
        """Cipher suites that the pairs of an encap use and that its chassis cannot do."""
        met = list(self._met.get(self.class_of(able.signature) or REST, ()))
        if self.across is not None:
            found = (self.across.decide(*both) for both in self._beyond(able.gates))
            met += [verdict.treatment for verdict in found if verdict.rule is not None]
        return lacking(met, able.profiles)

    @property
    def profiles(self) -> frozenset[Profile]:
        """Cipher suites that some pair may use."""
        within = frozenset[Profile]() if self.matrix is None else self.matrix.profiles
        rules = () if self.across is None else self.across.rules
        return within.union(rule.profile for rule in rules if rule.profile is not None)

    def _beyond(self, gates: frozenset[Gate]) -> Iterator[tuple[Face, Face]]:
        """The faces of the pairs of an encap or a chassis with other availability zones."""
        for near, far in product(gates, self.far):
            if near.type == far.type:
                yield near.face, far.face

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
            signature = self.book.signature(_subject(facts, encap, membership))
        if encap.label in self._written:
            ours = encap.class_text == self._written[encap.label]
        return Kind(signature, encap.text, encap.class_text, ours)

    def _put(self, name: str, facts: ChassisFacts | None, membership: Membership | None) -> None:
        """Replace what is known of a chassis, in every sum; without facts it is removed."""
        old, had = self._facts.pop(name, None), self._encaps.pop(name, ())
        for gate in self._far_gates(old):
            self.far[gate] -= 1
            if not self.far[gate]:
                del self.far[gate]
        self.far.update(self._far_gates(facts))
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

    def _far_gates(self, facts: ChassisFacts | None) -> frozenset[Gate]:
        if facts is None or not facts.is_remote:
            return frozenset()
        return frozenset(self._gate(facts, encap) for encap in facts.encaps if encap.protectable)

    def _gate(self, facts: ChassisFacts, encap: EncapFacts) -> Gate:
        if self.across is None:
            return Gate(encap.type, NO_RULE)
        side = self.across.far if facts.is_remote else self.across.near
        return Gate(encap.type, side(_subject(facts, encap, _NOWHERE)))

    def _sort(self, name: str, facts: ChassisFacts | None, encaps: _Encaps) -> None:
        """Put a chassis among those with a controller or among those without."""
        signatures = frozenset(kind.signature for _, kind in encaps)
        able: list[Able] = []
        needs: list[Need] = []
        if name in self._quarantined:
            facts = None
        gates = frozenset[Gate]()
        if facts is not None and facts.is_interconn:
            gates = frozenset(self._gate(facts, encap) for encap, _ in encaps)
        if facts is not None and facts.digest is not None:
            able = [Able(one, facts.digest.profiles, gates) for one in signatures]
        elif facts is not None and facts.digest_error is None and encaps:
            needs = [Need(_types(encaps), signatures, gates)]
        self.able.put(name, *able)
        self.unmanaged.put(name, *needs)


def _replaced(new: Mapping[str, object], old: Mapping[str, object]) -> Iterator[str]:
    """Names with a different object than before; there are thousands, so no Python loop."""
    return compress(new, map(is_not, new.values(), map(old.get, new)))


def _subject(facts: ChassisFacts, encap: EncapFacts, membership: Membership) -> Subject:
    return Subject(
        chassis=facts.name,
        hostname=facts.hostname,
        zones=facts.zones,
        azs=facts.azs,
        ip=encap.ip,
        hosts=membership.hosts,
        reaches=membership.reaches,
    )


def _types(encaps: _Encaps) -> frozenset[str]:
    return frozenset(encap.type for encap, _ in encaps)
