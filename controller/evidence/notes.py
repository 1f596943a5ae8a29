# SPDX-License-Identifier: Apache-2.0
"""Pure: from what the plan and the kernel hold to events, and only where something is new."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from ovn_ipsec.evidence.events import Counted, Event, Own, Policy, Proof, State
from ovn_ipsec.evidence.ledger import GONE
from ovn_ipsec.evidence.values import (
    Certified,
    Counts,
    HostEvidence,
    LiveSa,
    PairEvidence,
    Reading,
    Sums,
)
from ovn_ipsec.model.chassis import IpAddress
from ovn_ipsec.model.policy import Auth, ClusterPolicy
from ovn_ipsec.pki.dates import not_after, not_before

from ..plan.connection import ConnName, IkeSa, established, installed
from ..plan.guard import GuardCounters
from ..plan.pair.record import PairRecord
from ..xfrm.values import XfrmState

ESP = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SasSeen:
    """Which SAs a pair had, by numbers that no other daemon gives out again."""

    children: frozenset[tuple[str, int]] = frozenset()
    """Child and inbound SPI of CHILD_SAs that carry traffic."""
    ikes: frozenset[int] = frozenset()
    """Initiator SPIs of IKE_SAs that are established."""


def sas_seen(sas: Iterable[IkeSa]) -> SasSeen:
    """Note which SAs there are."""
    up = [sa for sa in sas if established(sa)]
    children = (child for sa in up for child in sa.children if installed(child))
    return SasSeen(
        children=frozenset((child.name, child.spi_in) for child in children),
        ikes=frozenset(sa.initiator_spi for sa in up),
    )


def rekeyed(sums: Sums, before: SasSeen, after: SasSeen) -> Sums:
    """Count the SAs that are new and took the place of others."""
    names = {name for name, _ in before.children}
    children = sum(name in names for name, _ in after.children - before.children)
    ikes = len(after.ikes - before.ikes) if before.ikes else 0
    if not children and not ikes:
        return sums
    rekeys, ike_rekeys = sums.rekeys + children, sums.ike_rekeys + ikes
    return replace(sums, rekeys=rekeys, ike_rekeys=ike_rekeys)


def moved(
    known: PairEvidence | None, record: PairRecord, held_since: int | None, at: int
) -> State | None:
    """Note what a pair is now; None if that is known.

    Args:
        known: What the ledger says.
        record: What the plan says.
        held_since: As in State.
        at: Wall time.
    """
    pair = record.pair
    now = (record.state.value, record.mode.value, record.closed, None)
    if known and now == (known.state, known.mode, known.closed, known.unseen_since):
        return None
    return State(
        at=at,
        pair=str(record.name),
        peer=str(pair.peer),
        type=pair.type.value,
        local=str(pair.local),
        remote=str(pair.remote),
        state=record.state.value,
        mode=record.mode.value,
        closed=record.closed,
        held_since=held_since,
    )


def gone(known: PairEvidence, at: int) -> State:
    """Note that a pair is no longer there."""
    return State(
        at=at,
        pair=known.pair,
        peer=known.peer,
        type=known.type,
        local=known.local,
        remote=known.remote,
        state=GONE,
        mode=known.mode,
        closed=False,
    )


def authenticated(before: SasSeen, sas: Iterable[IkeSa]) -> str:
    """Tell who has authenticated anew, with a certificate.

    An IKE_SA that is rekeyed takes over the CHILD_SAs of the one before, and nobody authenticates.

    Args:
        before: What was there.
        sas: What is there.

    Returns:
        An identity; empty: nobody has.
    """
    known = {spi for _, spi in before.children}
    for sa in sorted(sas, key=lambda one: -one.id):
        is_new = established(sa) and sa.initiator_spi not in before.ikes
        if is_new and not any(child.spi_in in known for child in sa.children):
            return "" if sa.auth is Auth.PSK else sa.remote_id
    return ""


def proof(
    name: ConnName, sas: Iterable[IkeSa], certificate: Certified | None, at: int
) -> Proof | None:
    """Note how a pair is encrypted and authenticated; None while it is not up.

    Args:
        name: The pair.
        sas: Its IKE_SAs; the newest that carries traffic counts.
        certificate: That the peer has shown; None: not known.
        at: Wall time.
    """
    for sa in sorted(sas, key=lambda one: -one.id):
        child = next((one for one in sa.children if installed(one)), None)
        if child is not None and established(sa):
            return Proof(
                at=at,
                pair=str(name),
                auth=sa.auth.value,
                ike=sa.suite,
                esp=child.suite,
                esn=child.esn,
                identity=sa.remote_id,
                certificate=None if sa.auth is Auth.PSK else certificate,
            )
    return None


def live_sa(state: XfrmState, local: IpAddress) -> LiveSa:
    """An SA of the kernel, as the ledger has it."""
    return LiveSa(
        out=state.src == local,
        spi=state.spi,
        made_at=state.made_at,
        bytes=state.bytes,
        packets=state.packets,
    )


def held_since(
    reqids: tuple[int, int], local: IpAddress, states: Iterable[XfrmState]
) -> int | None:
    """Since when both directions of a pair have been protected by SAs that are still there.

    Args:
        reqids: Of the children out and in.
        local: The address of this chassis.
        states: SAs of this pair.

    Returns:
        Wall time; None if a direction has no SA.
    """
    out = [one.made_at for one in states if one.reqid == reqids[0] and one.src == local]
    into = [one.made_at for one in states if one.reqid == reqids[1] and one.dst == local]
    return max(min(out), min(into)) if out and into else None


def policies(
    host: HostEvidence, obeyed: ClusterPolicy, applied: ClusterPolicy, at: int
) -> list[Event]:
    """Note a policy that is obeyed, and that what it demands is in force."""
    last = host.policies[-1] if host.policies else None
    is_applied = applied == obeyed
    is_known = last is not None and (last.generation, last.phase) == _named(obeyed)
    if is_known and last is not None and (last.applied_at is not None or not is_applied):
        return []
    generation, phase = _named(obeyed)
    return [Policy(at=at, generation=generation, phase=phase, applied=is_applied)]


def _named(policy: ClusterPolicy) -> tuple[int, str]:
    return policy.generation, policy.phase.value


def counted(counters: Mapping[str, GuardCounters | None], boot: str, at: int) -> Counted:
    """Note what the layers have counted; those that could not be read are left out."""
    return Counted(
        at=at,
        layers=tuple(
            Reading(
                layer=layer,
                epoch=f"{boot} {found.epoch}".strip(),
                counts=Counts(
                    out_denied=found.out_denied,
                    out_clear=found.out_clear,
                    in_denied=found.in_denied,
                    in_clear=found.in_clear,
                ),
            )
            for layer, found in counters.items()
            if found is not None
        ),
    )


def own(host: HostEvidence, chassis: str, der: bytes | None, at: int) -> Own | None:
    """Note the certificate of this chassis; None if it is known."""
    found = None if der is None else certified(der)
    if host.own and host.chassis == chassis and host.own[-1].certificate == found:
        return None
    return Own(at=at, chassis=chassis, certificate=found)


def certified(der: bytes) -> Certified | None:
    """Describe a certificate; None if it cannot be parsed."""
    try:
        found = x509.load_der_x509_certificate(der)
        return Certified(
            subject=found.subject.rfc4514_string()[:300],
            issuer=found.issuer.rfc4514_string()[:300],
            serial=f"{found.serial_number:x}",
            sha256=found.fingerprint(SHA256()).hex(),
            not_before=int(not_before(found).timestamp()),
            not_after=int(not_after(found).timestamp()),
            key=_kind(found.public_key()),
        )
    except Exception:  # noqa: BLE001 - a peer's bytes: whatever the parser makes of them
        return None


def _kind(key: object) -> str:
    match key:
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}"
        case ec.EllipticCurvePublicKey():
            return f"ECDSA {key.curve.name}"
        case _:
            return type(key).__name__.strip("_").removesuffix("PublicKey")
