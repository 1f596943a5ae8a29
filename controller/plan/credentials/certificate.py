# SPDX-License-Identifier: Apache-2.0
"""Checks a certificate before it is used: key, chain, name, dates, usage.

Pure (``cryptography`` on bytes). Input: parsed certificates and the public half of the key.
Output: Credential, or a CredentialError that names the place and the cause.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki.dates import next_update, not_after, not_before

from .chain import Places, trace
from .credential import Credential, check, moment
from .suitability import (
    check_strength,
    misuse,
    names,
    public_key,
    refuse,
    spki,
    unknown_critical,
)

DER_MAX = 0xFFFF
"""What one vici value holds."""
_CRL_END = b"-----END X509 CRL-----"


def parse_certificates(place: str, data: bytes, what: str) -> list[x509.Certificate]:
    """Parse the certificates of a PEM text, at least one."""
    try:
        found = x509.load_pem_x509_certificates(data)
        for certificate in found:
            names(certificate)
    except (ValueError, UnsupportedAlgorithm):
        refuse(place, f"holds no {what} in PEM that can be parsed")
    return found


def parse_crls(place: str, data: bytes, now: datetime) -> tuple[tuple[bytes, ...], str]:
    """Parse the revocation lists of a PEM text, at least one.

    Returns:
        Each in DER, and which is out of date: the daemon then takes no certificate for revoked.
    """
    blocks = data.split(_CRL_END)[:-1]
    try:
        found = [x509.load_pem_x509_crl(block + _CRL_END) for block in blocks]
        der = tuple(crl.public_bytes(Encoding.DER) for crl in found)
        ends = [(crl.issuer.rfc4514_string()[:80], next_update(crl)) for crl in found]
    except (ValueError, UnsupportedAlgorithm):
        refuse(place, "holds no CRL in PEM that can be parsed")
    if not found:
        refuse(place, "holds no CRL in PEM that can be parsed")
    if max(map(len, der)) > DER_MAX:
        refuse(place, f"a CRL of more than {DER_MAX} bytes, which the IKE daemon refuses")
    late = (f"{name} since {moment(end)}" for name, end in ends if end is not None and now >= end)
    return der, ", ".join(late)


def judge(
    places: Places,
    parts: tuple[Sequence[x509.Certificate], Sequence[x509.Certificate], bytes],
    chassis: ChassisName,
    now: datetime,
) -> Credential:
    """Judge a certificate that shall stand for a chassis.

    Args:
        places: Where the parts are from.
        parts: The certificate with what came behind it, the authorities, and the public key
            (``spki``) of the private one.
        chassis: The name that peers expect.
        now: Wall time, aware.

    Raises:
        CredentialError: The parts do not fit each other, the name, the time or the purpose, or the
            IKE daemon would not take them.
    """
    certificates, authorities, key = parts
    certificate = certificates[0]
    public = public_key(places.certificate, certificate)
    check_strength(places.certificate, public)
    if spki(public) != key:
        refuse(places.private_key, f"is not the key of the certificate in {places.certificate}")
    *chain, root = trace(places, certificates, authorities, now)
    if cause := misuse(certificate):
        refuse(places.certificate, cause)
    if cause := unknown_critical(certificate):
        refuse(places.certificate, f"the certificate {cause}")
    for ca in authorities:
        # One that nobody needs costs the whole connection all the same.
        if cause := unknown_critical(ca):
            refuse(places.ca_cert, f"{ca.subject.rfc4514_string()[:80]} {cause}")
    found = describe(places.certificate, certificate, authorities, chain)
    until = min(not_after(ca) for ca in (*chain, root))
    credential = replace(found, authority_until=until)
    if problems := check(credential, chassis, now):
        refuse(places.certificate, "; ".join(problems))
    return credential


def describe(
    place: str,
    certificate: x509.Certificate,
    authorities: Sequence[x509.Certificate],
    chain: Sequence[x509.Certificate] = (),
) -> Credential:
    """Take down what is needed of a certificate, its authorities and what stands between them."""
    der = certificate.public_bytes(Encoding.DER)
    ca_der = tuple(dict.fromkeys(ca.public_bytes(Encoding.DER) for ca in authorities))
    chain_der = tuple(ca.public_bytes(Encoding.DER) for ca in chain)
    if max(map(len, (der, *ca_der, *chain_der))) > DER_MAX:
        refuse(place, f"a certificate of more than {DER_MAX} bytes, which the IKE daemon refuses")
    digest = sha256()
    for blob in (der, *ca_der, b"", *chain_der):
        digest.update(len(blob).to_bytes(4, "big") + blob)
    public = certificate.public_key()
    return Credential(
        certificate_der=der,
        key_id=x509.SubjectKeyIdentifier.from_public_key(public).digest.hex(),
        ca_der=ca_der,
        chain_der=chain_der,
        not_before=not_before(certificate),
        not_after=not_after(certificate),
        names=names(certificate),
        subject=certificate.subject.rfc4514_string(),
        fingerprint=digest.hexdigest(),
    )
