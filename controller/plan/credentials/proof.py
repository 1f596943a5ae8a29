# SPDX-License-Identifier: Apache-2.0
"""Pure: how this chassis authenticates to one peer, and what it accepts from it.

A Proof is one authentication method with one peer, the same on both sides. If there are several,
the first is used and the others are accepted: each becomes a connection of its own in the IKE
daemon, and the responder selects the one that the initiator has chosen. So changing the method
changes only the initiator's choice, and no connection accepts just anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256

from ovn_ipsec.model.chassis import ChassisName, IpAddress
from ovn_ipsec.model.policy import Auth, Revocation
from ovn_ipsec.pki.psk import psk_for_pair

from .credential import Credential, Secret

KEY_PREFIX = "ovn-psk-"
"""Of the daemon's ids of the keys that are ours."""


@lru_cache(maxsize=256)
def _digest(blob: bytes) -> str:
    return sha256(blob).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedKey:
    """The key of two chassis, under the id by which the IKE daemon keeps it."""

    id: str
    owner: str
    """The IKE identity of the peer, as vici takes it; the only one: a key that both ends own would
    be found for any third."""
    value: Secret = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One way to authenticate with one peer."""

    auth: Auth
    certificate_der: bytes = b""
    """Ours; empty with psk."""
    chain_der: tuple[bytes, ...] = ()
    """ca: what stands between ours and a root; shown to the peer, which may have the root only."""
    key_id: str = ""
    """The daemon's id of our private key; empty with psk."""
    trusted_der: tuple[bytes, ...] = ()
    """ca: the authorities that the peer's may come from. pinned: those that the peer may show."""
    keys: tuple[SharedKey, ...] = ()
    """psk: the first is used, all are accepted."""
    revocation: Revocation = Revocation.RELAXED
    """ca: what must be known of the peer's certificate."""
    plain: bool = False
    """psk: whether the ends are known by their addresses, as a stock ovs-monitor-ipsec has it."""

    @property
    def mark(self) -> str:
        """What we prove ourselves with: another mark asks for another authentication."""
        own = self.keys[0].id if self.keys else _digest(self.certificate_der)
        return f"{self.auth} {own}"

    @property
    def parts(self) -> tuple[object, ...]:
        """All of it, short and without a secret, for a fingerprint."""
        ids = tuple(key.id for key in self.keys)
        parts = (self.mark, tuple(map(_digest, self.trusted_der)), ids, self.revocation)
        # Nothing where there is no chain: fingerprints are kept on disk, and stay as they were.
        return (*parts, tuple(map(_digest, self.chain_der))) if self.chain_der else parts


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCredentials:
    """What this chassis has to prove itself with, and what it demands of others."""

    ca: Credential | None = None
    pinned: Credential | None = None
    """Its own certificate; the authorities in it are none."""
    secrets: tuple[Secret, ...] = ()
    revocation: Revocation = Revocation.RELAXED
    """Of certificates of an authority; a pin has none that could revoke it."""

    @property
    def auths(self) -> frozenset[Auth]:
        """The ways that it could go."""
        found = {Auth.CA: self.ca, Auth.PINNED: self.pinned, Auth.PSK: self.secrets}
        return frozenset(auth for auth, credentials in found.items() if credentials)

    def only(self, auths: frozenset[Auth]) -> LocalCredentials:
        """What of it belongs to some ways."""
        return replace(
            self,
            ca=self.ca if Auth.CA in auths else None,
            pinned=self.pinned if Auth.PINNED in auths else None,
            secrets=self.secrets if Auth.PSK in auths else (),
        )


def shared_key(secret: Secret, this: ChassisName, peer: ChassisName) -> SharedKey:
    """Derive the key of a pair of chassis; its id tells secrets apart and none of them."""
    value = psk_for_pair(secret.reveal(), this, peer)
    name = sha256(b"ovn-ipsec psk id 1:" + value).hexdigest()[:16]
    return SharedKey(id=f"{KEY_PREFIX}{peer}-{name}", owner=f"fqdn:{peer}", value=Secret(value))


def in_plain(found: tuple[Proof, ...], secret: Secret, remote: IpAddress) -> tuple[Proof, ...]:
    """Put a secret as it is in the place of derived keys, for a stock peer with ``options:psk``.

    Args:
        found: What ``proofs`` said; other ways stay as they are.
        secret: The key.
        remote: The peer's address, its identity.

    Source:
        ovs-monitor-ipsec, StrongSwanHelper.auth_tmpl["psk"] and LibreSwanHelper's.
    """
    name = sha256(b"ovn-ipsec plain psk id 1:" + secret.reveal()).hexdigest()[:16]
    key = SharedKey(id=f"{KEY_PREFIX}{remote}-{name}", owner=str(remote), value=secret)
    plain = Proof(auth=Auth.PSK, keys=(key,), plain=True)
    return tuple(plain if proof.auth is Auth.PSK else proof for proof in found)


def proofs(
    credentials: LocalCredentials,
    ways: Iterable[Auth],
    this: ChassisName,
    peer: ChassisName,
    pins: tuple[bytes, ...],
) -> tuple[Proof, ...]:
    """Say how this chassis and a peer can authenticate.

    Args:
        credentials: What this chassis has.
        ways: What policy says: the way in use first, then those that are accepted.
        this: Our name.
        peer: The other end's.
        pins: Certificates that the peer has published; empty: none that is good.

    Returns:
        In the order of `ways`, without those that something is missing for; each once.
    """
    found = (_proof(credentials, auth, (this, peer), pins) for auth in dict.fromkeys(ways))
    return tuple(proof for proof in found if proof is not None)


def _proof(
    credentials: LocalCredentials,
    auth: Auth,
    ends: tuple[ChassisName, ChassisName],
    pins: tuple[bytes, ...],
) -> Proof | None:
    if auth is Auth.PSK:
        keys = tuple(shared_key(secret, *ends) for secret in credentials.secrets)
        return Proof(auth=auth, keys=keys) if keys else None
    own = credentials.ca if auth is Auth.CA else credentials.pinned
    if own is None or (auth is Auth.PINNED and not pins):
        return None
    if auth is Auth.PINNED:
        return Proof(
            auth=auth, certificate_der=own.certificate_der, key_id=own.key_id, trusted_der=pins
        )
    return Proof(
        auth=auth,
        certificate_der=own.certificate_der,
        chain_der=own.chain_der,
        key_id=own.key_id,
        trusted_der=own.ca_der,
        revocation=credentials.revocation,
    )
