# SPDX-License-Identifier: Apache-2.0
"""Pure: what stands in a certificate so that every IKE daemon and OVS itself accept it.

The name is a SAN DNS name, for the IKE daemons want the identity there, and the CN, where the
stock ovs-monitor-ipsec looks for it. digitalSignature and id-kp-ipsecIKE satisfy Libreswan's NSS
(RFC 4945 sections 5.1.3.2 and 5.1.3.12); serverAuth and clientAuth satisfy OVSDB over SSL.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..model.chassis import ChassisName
from .keys import PrivateKey, PublicKey, signature_hash
from .values import CLOCK_SKEW, COMMON_NAME_MAX, ORGANIZATION, numbered

USAGES = (
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.IPSEC_IKE,
)
RENEW_FROM, RENEW_SPREAD = 0.7, 0.2
"""Parts of a life: renewal is due between 70 and 90 % of it."""


def subject(chassis: ChassisName) -> x509.Name:
    """Name a chassis: O and CN, in this order; a name too long for a CN is there as its hash.

    Two subjects are never equal: NSS gives certificates of one subject one nickname.
    """
    oid, text = NameOID.COMMON_NAME, str(chassis)
    if len(chassis) > COMMON_NAME_MAX:
        oid, text = NameOID.SERIAL_NUMBER, sha256(chassis.encode("ascii")).hexdigest()
    return _name(x509.NameAttribute(oid, text))


def authority_subject(name: str, number: int) -> x509.Name:
    """Name an authority in a certificate."""
    return _name(x509.NameAttribute(NameOID.COMMON_NAME, numbered(name, number)))


def _name(last: x509.NameAttribute[str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION), last])


def blank(
    key: PublicKey, name: x509.Name, issuer: x509.Name, *, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    """Begin a certificate with names, dates, a random serial number and the id of the key."""
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin.replace(microsecond=0))
        .not_valid_after(end.replace(microsecond=0))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def for_chassis(
    builder: x509.CertificateBuilder, key: PublicKey, chassis: ChassisName
) -> x509.CertificateBuilder:
    """Add what makes it the certificate of a chassis."""
    names = x509.SubjectAlternativeName([x509.DNSName(chassis)])
    return (
        builder.add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=True, wraps=isinstance(key, rsa.RSAPublicKey)), critical=True)
        .add_extension(x509.ExtendedKeyUsage(USAGES), critical=False)
    )


def for_authority(
    builder: x509.CertificateBuilder, permitted: Sequence[str]
) -> x509.CertificateBuilder:
    """Add what makes it the certificate of an authority, for names below `permitted` if any."""
    builder = builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    ).add_extension(_usage(certifies=True), critical=True)
    if permitted:
        names = [x509.DNSName(name) for name in permitted]
        limits = x509.NameConstraints(permitted_subtrees=names, excluded_subtrees=None)
        builder = builder.add_extension(limits, critical=True)
    return builder


def _usage(*, signs: bool = False, wraps: bool = False, certifies: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=wraps,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certifies,
        crl_sign=certifies,
        encipher_only=False,
        decipher_only=False,
    )


def self_signed(key: PrivateKey, chassis: ChassisName, life: timedelta, now: datetime) -> str:
    """Make the certificate of a chassis whose peers pin it; PEM.

    Args:
        key: Its key.
        chassis: Its name.
        life: From now on; at least a second.
        now: Wall time, aware.
    """
    public_key, name = key.public_key(), subject(chassis)
    builder = blank(public_key, name, name, begin=now - CLOCK_SKEW, end=now + life)
    signed = for_chassis(builder, public_key, chassis).sign(key, signature_hash(key))
    return certificate_pem(signed)


def certificate_pem(certificate: x509.Certificate) -> str:
    """Write a certificate as PEM text."""
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def renewal_at(not_before: datetime, not_after: datetime, chassis: ChassisName) -> datetime:
    """Say when a chassis should renew: 70 to 90 % into the life, spread by its name.

    The same certificate gives the same time after every restart, and a thousand chassis that
    were enrolled in one minute do not all come back in one.
    """
    drawn = sha256(b"ovn-ipsec renewal 1:" + chassis.encode("ascii")).digest()[:8]
    part = RENEW_FROM + RENEW_SPREAD * int.from_bytes(drawn, "big") / 2**64
    return not_before + (not_after - not_before) * part
