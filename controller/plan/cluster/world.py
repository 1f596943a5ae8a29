# SPDX-License-Identifier: Apache-2.0
"""Pure: the chassis of the southbound, and the pairs that this chassis forms with them.

World keeps parsed chassis by name and an index of who claims which address, so that a changed row
costs a lookup and not a pass over the cluster.

An address is claimed for one tunnel type, as in OVN's own index (ovn-sb(5), Encap). If several
chassis claim one, it belongs to the chassis that has proved to be there: the one with a live
authenticated IKE_SA over it; our own addresses always belong to this chassis. If no chassis has
proved it, the address belongs to none of them: whoever answers first must not win.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import DEFAULT_PORT, ChassisName, EncapType, IpAddress, Pair
from ovn_ipsec.model.policy import ClassName, ClusterPolicy, Mode, Profile, Treatment
from ovn_ipsec.policy.across import End, ruled
from ovn_ipsec.policy.judgement import treatment_of
from ovn_ipsec.policy.pairs import encap_pairs, tunnels_to
from ovn_ipsec.schema.encap import ERRORS_MAX, Chassis, EncapIntent, ParsedChassis

NAMED_MAX = 3
"""Rivals for an address that a refusal names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Label:
    """What an Encap row states; nothing if the row has lost its keys."""

    mode: Mode | None = None
    class_name: ClassName | None = None

    @property
    def is_missing(self) -> bool:
        """Whether the row states nothing."""
        return self == Label()


@dataclass(frozen=True, slots=True, kw_only=True)
class PairIntent:
    """A pair, and how the policy wants it treated."""

    pair: Pair
    mode: Mode
    csum: bool | None
    """options:csum of the remote encap, which our own tunnel ports repeat."""
    profile: Profile = Profile.DEFAULT
    labels: tuple[Label, Label] = (Label(), Label())
    """What the rows of the local and of the remote encap state."""
    stated: bool = False
    """Whether both rows state something. Rows of ovn-ic chassis need not: we never write them. And
    no row need do so where a rule across availability zones decides."""
    across: bool = False
    """Whether the peer belongs to another availability zone."""
    ruled: bool = False
    """Whether a rule for pairs with other availability zones decides it, to which no floor applies:
    it comes from SB_Global, as the floor does."""

    @property
    def treatment(self) -> Treatment:
        """Mode and profile."""
        return Treatment(mode=self.mode, profile=self.profile)


def intents(local: Chassis, peer: Chassis, policy: ClusterPolicy) -> tuple[PairIntent, ...]:
    """All pairs between two chassis: every local with every remote address of the preferred type.

    Returns:
        Sorted by local, then remote address; empty if there are no tunnels between the two.
        Only addresses of one family form a pair.
    """
    if not tunnels_to(local, peer):
        return ()
    return tuple(
        _intent((local, local.encaps[i]), (peer, peer.encaps[j]), policy)
        for i, j in encap_pairs(local, peer)
    )


def _intent(
    local: tuple[Chassis, EncapIntent], remote: tuple[Chassis, EncapIntent], policy: ClusterPolicy
) -> PairIntent:
    (this, ours), (peer, theirs) = local, remote
    by_rule = ruled(policy, End(this, ours), End(peer, theirs))
    treatment = by_rule or treatment_of(policy, ours, theirs)
    labels = (Label(ours.mode, ours.class_name), Label(theirs.mode, theirs.class_name))
    return PairIntent(
        pair=Pair(
            peer=peer.name,
            type=theirs.encap.type,
            local=ours.encap.ip,
            remote=theirs.encap.ip,
            out_port=theirs.encap.port,
            in_port=ours.encap.port,
        ),
        mode=treatment.mode,
        profile=treatment.profile,
        csum=theirs.encap.csum,
        across=peer.is_remote,
        ruled=by_rule is not None,
        labels=labels,
        stated=by_rule is not None
        or not (
            (labels[0].is_missing and not this.is_remote)
            or (labels[1].is_missing and not peer.is_remote)
        ),
    )


Address = tuple[EncapType, IpAddress]
"""What an encap claims."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """The pairs with a peer that follow from its rows."""

    intents: tuple[PairIntent, ...] = ()
    """Sorted by local, then remote address."""
    contested: tuple[Pair, ...] = ()
    """Pairs whose remote address belongs to another chassis, or to none."""
    errors: tuple[InputError, ...] = ()
    """What was refused, at most ERRORS_MAX errors."""


class World:
    """The known chassis, by the name in their row."""

    def __init__(self) -> None:
        self._chassis: dict[str, ParsedChassis] = {}
        self._claims: dict[Address, set[str]] = {}
        self._holders: dict[Address, str] = {}

    def names(self) -> Iterator[str]:
        """Names of all rows, including those that could not be parsed."""
        return iter(self._chassis)

    def get(self, name: str) -> Chassis | None:
        """A chassis, or None if it has no row or one that cannot be a peer."""
        parsed = self._chassis.get(name)
        return parsed.chassis if parsed is not None else None

    def put(self, name: str, parsed: ParsedChassis | None) -> frozenset[str]:
        """Replace or, with None, remove a row.

        Returns:
            Names whose pairs may have changed: this one, and all that share an address with it.
        """
        touched = {name} | self._unclaim(name)
        self._chassis.pop(name, None)
        if parsed is not None:
            self._chassis[name] = parsed
            for address in self._addresses(parsed):
                claims = self._claims.setdefault(address, set())
                claims.add(name)
                touched |= claims
        return frozenset(touched)

    def _unclaim(self, name: str) -> set[str]:
        touched: set[str] = set()
        old = self._chassis.get(name)
        for address in self._addresses(old) if old is not None else ():
            self._claims[address].discard(name)
            touched |= self._claims[address]
            if not self._claims[address]:
                del self._claims[address]
        return touched

    @staticmethod
    def _addresses(parsed: ParsedChassis) -> frozenset[Address]:
        if parsed.chassis is None:
            return frozenset()
        return frozenset((one.encap.type, one.encap.ip) for one in parsed.chassis.encaps)

    def claimants(self, address: Address) -> frozenset[str]:
        """Names of the chassis with an encap of this type and address."""
        return frozenset(self._claims.get(address, ()))

    def hold(self, address: Address, name: str | None) -> frozenset[str]:
        """Set which chassis has proved to be at an address; None: none holds it any more.

        Returns:
            Names whose pairs may have changed because of that: none if nobody else claims it.
        """
        if self._holders.get(address) == name:
            return frozenset()
        if name is None:
            del self._holders[address]
        else:
            self._holders[address] = name
        claims = self._claims.get(address, set())
        return frozenset(claims) if claims - {name} else frozenset()

    def holder(self, address: Address) -> str | None:
        """The chassis that has proved to be at an address."""
        return self._holders.get(address)

    def pairs_with(self, local_name: ChassisName, peer_name: str, policy: ClusterPolicy) -> Offers:
        """The pairs between this chassis and a peer, and what of the peer was refused."""
        parsed = self._chassis.get(peer_name)
        if parsed is None or peer_name == local_name:
            return Offers()
        local = self.get(local_name)
        if parsed.chassis is None or local is None:
            return Offers(errors=parsed.errors)
        errors = list(parsed.errors)
        good: list[PairIntent] = []
        contested: list[Pair] = []
        for intent in intents(local, parsed.chassis, policy):
            rivals = self._rivals(intent.pair)
            if not rivals:
                good.append(intent)
                continue
            contested.append(intent.pair)
            if len(errors) < ERRORS_MAX:
                errors.append(_claimed_twice(intent.pair, rivals))
        return Offers(intents=tuple(good), contested=tuple(contested), errors=tuple(errors))

    def _rivals(self, pair: Pair) -> frozenset[str]:
        """Other chassis that have at least as good a claim to the peer's end of a pair.

        A port that is not the type's own may be another type's; then that type's claims count, too.
        """
        address = (pair.type, pair.remote)
        holder = self._holders.get(address)
        others = self.claimants(address) if holder is None else frozenset({holder})
        others -= {pair.peer}
        for kind in EncapType:
            if kind is pair.type or pair.out_port != DEFAULT_PORT[kind]:
                continue
            others |= self.claimants((kind, pair.remote)) - {pair.peer}
        return others


def _claimed_twice(pair: Pair, rivals: Iterable[str]) -> InputError:
    return InputError(
        table="Encap",
        row=f"{pair.peer}/{pair.remote}",
        key="ip",
        text=str(pair.remote),
        reason=f"{pair.type} {pair.remote} is claimed by {_some(sorted(rivals))} as well",
    )


def _some(names: list[str]) -> str:
    rest = len(names) - NAMED_MAX
    return f"{', '.join(names[:NAMED_MAX])} and {rest} more" if rest > 0 else ", ".join(names)
