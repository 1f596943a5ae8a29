# SPDX-License-Identifier: Apache-2.0
"""Pure: an authority in memory, which signs certificates of chassis and lists revoked ones.

It keeps no ledger. Whoever signs for a cluster uses `issuance`, which also records what
was signed: only what is recorded can be revoked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ..errors import InvariantError
from ..model.chassis import CHASSIS_NAME, ChassisName
from .dates import not_after, not_before
from .errors import PkiError
from .keys import PrivateKey, PublicKey, kind_of, signature_hash
from .profile import authority_subject, blank, certificate_pem, for_authority, for_chassis, subject
from .request import Request
from .values import CLOCK_SKEW, COMMON_NAME_MAX, CRL_LIFE, KeyKind, numbered

EXPIRED = "make a new one: ovn-ipsec pki rollover start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a new authority is given: its name, how long it lives, what it may sign."""

    name: str
    """For people; its certificate says `<name> G<number>`."""
    life: timedelta
    permitted: tuple[str, ...] = ()
    """DNS names at or below which chassis names must be; empty: any."""


class Authority:
    """A certificate with the key that signs for it."""

    def __init__(self, certificate: x509.Certificate, key: PrivateKey) -> None:
        """Keep a certificate and its key, once they are known to belong together.

        Raises:
            PkiError: The key is not that of the certificate.
        """
        self.certificate = certificate
        self._key = key
        if certificate.public_key() != key.public_key():
            raise PkiError(self.name, "the authority's key is not that of its certificate")

    @classmethod
    def new(cls, key: PrivateKey, shape: Shape, number: int, now: datetime) -> Authority:
        """Make an authority.

        Args:
            key: Its key.
            shape: Its name, life and limits.
            number: Which one of its folder it is, from 1 on.
            now: Wall time, aware.

        Raises:
            PkiError: The name is too long, or a permitted name is no DNS name.
        """
        check_shape(shape, number)
        name = authority_subject(shape.name, number)
        begin, end = now - CLOCK_SKEW, now + shape.life
        builder = blank(key.public_key(), name, name, begin=begin, end=end)
        builder = for_authority(builder, shape.permitted)
        return cls(builder.sign(key, signature_hash(key)), key)

    def __repr__(self) -> str:
        """Show the name only."""
        return f"Authority({self.name!r})"

    @property
    def name(self) -> str:
        """Its subject's common name."""
        (name,) = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(name.value)

    @property
    def key_kind(self) -> KeyKind:
        """The kind of its key."""
        return kind_of(self._key)

    @property
    def permitted(self) -> tuple[str, ...]:
        """DNS names at or below which chassis names must be; empty: any."""
        try:
            found = self.certificate.extensions.get_extension_for_class(x509.NameConstraints)
        except x509.ExtensionNotFound:
            return ()
        return tuple(str(name.value) for name in found.value.permitted_subtrees or ())

    def sign(self, request: Request, chassis: ChassisName, life: timedelta, now: datetime) -> str:
        """Sign a request that has passed `check_request`.

        Args:
            request: The request.
            chassis: The chassis that sent it.
            life: How long from now; never longer than the authority itself lives.
            now: Wall time, aware.

        Returns:
            The certificate, PEM.

        Raises:
            PkiError: The authority is out of its dates, or may not sign that name.
            InvariantError: The request was checked for another chassis.
        """
        if request.chassis != chassis:
            raise InvariantError(f"a request checked for {request.chassis}, signed for {chassis}")
        return certificate_pem(self.certify(request.public_key, chassis, life, now))

    def certify(
        self, public_key: PublicKey, chassis: ChassisName, life: timedelta, now: datetime
    ) -> x509.Certificate:
        """Make a chassis' certificate for a public key; see `sign`."""
        own = self.certificate
        if not not_before(own) <= now < not_after(own):
            begin, end = not_before(own), not_after(own)
            what = f"cannot sign: it is valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d} only"
            raise PkiError(self.name, what, next_step=EXPIRED)
        if not is_permitted(chassis, self.permitted):
            limits = ", ".join(self.permitted)
            raise PkiError(str(chassis), f"{self.name} may only sign names at or below {limits}")
        begin = max(now - CLOCK_SKEW, not_before(own))
        end = min(now + life, not_after(own))
        builder = blank(public_key, subject(chassis), own.subject, begin=begin, end=end)
        builder = for_chassis(builder, public_key, chassis)
        builder = builder.add_extension(self._key_identifier(), critical=False)
        return builder.sign(self._key, signature_hash(self._key))

    def crl(self, revoked: Iterable[tuple[int, datetime]], number: int, now: datetime) -> str:
        """List revoked certificates; PEM.

        Args:
            revoked: Serial number and time of each.
            number: Higher than that of any list before (RFC 5280 section 5.2.3).
            now: Wall time, aware; the list is valid for 30 days.
        """
        now = now.replace(microsecond=0)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now)
            .next_update(now + CRL_LIFE)
            .add_extension(self._key_identifier(), critical=False)
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        for serial, when in revoked:
            entry = x509.RevokedCertificateBuilder(serial, when.replace(microsecond=0)).build()
            builder = builder.add_revoked_certificate(entry)
        signed = builder.sign(self._key, signature_hash(self._key))
        return signed.public_bytes(Encoding.PEM).decode("ascii")

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        found = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)


def check_shape(shape: Shape, number: int) -> None:
    """Refuse a name that no certificate can hold, and limits that are no DNS names."""
    room = COMMON_NAME_MAX - len(numbered("", number))
    if not (shape.name.isprintable() and 1 <= len(shape.name) <= room):
        what = f"not a name for an authority: expected 1 to {room} printable characters"
        raise PkiError(repr(shape.name[:80]), what)
    for name in shape.permitted:
        if not CHASSIS_NAME.match(name) or name.startswith(".") or name.endswith("."):
            what = "not a DNS name to limit an authority to: expected one such as dc1.example.org"
            raise PkiError(repr(name[:80]), what)


def is_permitted(chassis: ChassisName, permitted: Sequence[str]) -> bool:
    """Tell whether a name is at or below one of some DNS names (RFC 5280 section 4.2.1.10)."""
    name = f".{chassis.lower()}"
    return not permitted or any(name.endswith(f".{limit.lower()}") for limit in permitted)
