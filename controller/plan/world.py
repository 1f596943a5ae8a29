# SPDX-License-Identifier: Apache-2.0
"""Pure: who there is: the chassis of the southbound, and the pairs that this chassis forms.

World keeps parsed chassis by name and an index of who claims which address, so that one changed
row costs one lookup and not a pass over the cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import ChassisName, IpAddress, Pair
from ovn_ipsec.model.policy import ClassName, ClusterPolicy, Mode, Profile, Treatment
from ovn_ipsec.policy.pairs import encap_pairs, treatment_of, tunnels_to
from ovn_ipsec.schema.encap import Chassis, EncapIntent, ParsedChassis


@dataclass(frozen=True, slots=True)
class Label:
    """What an Encap row says of itself; nothing where the row has lost its keys."""

    mode: Mode | None = None
    class_name: ClassName | None = None

    @property
    def is_missing(self) -> bool:
        """Whether the row says nothing."""
        return self == Label()


@dataclass(frozen=True, slots=True, kw_only=True)
class PairIntent:
    """A pair and how policy wants it treated."""

    pair: Pair
    mode: Mode
    csum: bool | None
    """options:csum of the remote encap, which own tunnels repeat."""
    profile: Profile = Profile.DEFAULT
    labels: tuple[Label, Label] = (Label(), Label())
    """What the rows of the local and of the remote encap say."""
    stated: bool = False
    """Whether both rows say something. Rows of is-remote chassis need not: nobody writes them."""

    @property
    def treatment(self) -> Treatment:
        """Mode and profile."""
        return Treatment(mode=self.mode, profile=self.profile)


def intents(local: Chassis, peer: Chassis, policy: ClusterPolicy) -> tuple[PairIntent, ...]:
    """All pairs between two chassis: every local with every remote address of the preferred type.

    Returns:
        Sorted by local, then remote address; empty when there are no tunnels between the two.
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
    treatment = treatment_of(policy, ours, theirs)
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
        labels=labels,
        stated=not (
            (labels[0].is_missing and not this.is_remote)
            or (labels[1].is_missing and not peer.is_remote)
        ),
    )


class World:
    """The chassis that are known, by the name in their row."""

    def __init__(self) -> None:
        """Start empty."""
        self._chassis: dict[str, ParsedChassis] = {}
        self._claims: dict[IpAddress, set[str]] = {}

    def names(self) -> Iterator[str]:
        """Names of all rows, also of those that could not be parsed."""
        return iter(self._chassis)

    def get(self, name: str) -> Chassis | None:
        """A chassis, or None when it has no row or one that cannot be a peer."""
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
            for ip in self._addresses(parsed):
                claims = self._claims.setdefault(ip, set())
                claims.add(name)
                touched |= claims
        return frozenset(touched)

    def _unclaim(self, name: str) -> set[str]:
        touched: set[str] = set()
        old = self._chassis.get(name)
        for ip in self._addresses(old) if old is not None else ():
            self._claims[ip].discard(name)
            touched |= self._claims[ip]
            if not self._claims[ip]:
                del self._claims[ip]
        return touched

    @staticmethod
    def _addresses(parsed: ParsedChassis) -> frozenset[IpAddress]:
        if parsed.chassis is None:
            return frozenset()
        return frozenset(intent.encap.ip for intent in parsed.chassis.encaps)

    def claimants(self, ip: IpAddress) -> frozenset[str]:
        """Names of the chassis with an encap of this address."""
        return frozenset(self._claims.get(ip, ()))

    def pairs_with(
        self, local_name: ChassisName, peer_name: str, policy: ClusterPolicy
    ) -> tuple[tuple[PairIntent, ...], tuple[InputError, ...]]:
        """What runs between this chassis and a peer, and what of the peer was refused.

        An address that two chassis claim belongs to neither: who is right cannot be told, and
        whoever answered first must not win.
        """
        parsed = self._chassis.get(peer_name)
        if parsed is None or peer_name == local_name:
            return (), ()
        local = self.get(local_name)
        if parsed.chassis is None or local is None:
            return (), parsed.errors
        errors = list(parsed.errors)
        good: list[PairIntent] = []
        for intent in intents(local, parsed.chassis, policy):
            pair = intent.pair
            ours, theirs = self.claimants(pair.local), self.claimants(pair.remote)
            if len(ours) > 1 or len(theirs) > 1:
                errors.append(_claimed_twice(pair, ours | theirs))
            else:
                good.append(intent)
        return tuple(good), tuple(errors)


def _claimed_twice(pair: Pair, rivals: frozenset[str]) -> InputError:
    return InputError(
        table="Encap",
        row=f"{pair.peer}/{pair.remote}",
        key="ip",
        text=str(pair.remote),
        reason=f"{pair.local} or {pair.remote} is claimed by several: {', '.join(sorted(rivals))}",
    )
