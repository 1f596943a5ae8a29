# SPDX-License-Identifier: Apache-2.0
"""Certificates judged before they are used: key, chain, name, dates, usage.

Pure (``cryptography`` on bytes). Input: parsed certificates and the public half of the key.
Output: Credential, or a CredentialError that names the place and the cause.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from ovn_ipsec.errors import CredentialError
from ovn_ipsec.model.chassis import ChassisName

from .credential import Credential, check, moment

RSA_MIN = 2048
CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""What charon signs with (RFC 4754, RFC 7427)."""
DER_MAX = 0xFFFF
"""What one vici value holds."""
_CRL_END = b"-----END X509 CRL-----"
USAGES = frozenset(
    {
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        ExtendedKeyUsageOID.IPSEC_IKE,
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
        x509.ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
        x509.ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
        x509.ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
        x509.ObjectIdentifier("1.3.6.1.5.5.8.2.2"),
    }
)
"""Any of these will do where a certificate limits its use (RFC 4945 section 5.1.3.12)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the three parts of a credential came from, for what is said of them."""

    certificate: str
    private_key: str
    ca_cert: str


def refuse(place: str, cause: str) -> NoReturn:
    """Raise the CredentialError; nothing is chained, for its text could come from a key."""
    raise CredentialError(f"{place}: {cause}") from None


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
        ends = [(crl.issuer.rfc4514_string()[:80], crl.next_update_utc) for crl in found]
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
    parts: tuple[x509.Certificate, Sequence[x509.Certificate], bytes],
    chassis: ChassisName,
    now: datetime,
) -> Credential:
    """Judge a certificate that shall stand for a chassis.

    Args:
        places: Where the parts are from.
        parts: The certificate, the authorities, and the public key (``spki``) of the private one.
        chassis: The name that peers expect.
        now: Wall time, aware.

    Raises:
        CredentialError: The parts do not fit each other, the name, the time or the purpose.
    """
    certificate, authorities, key = parts
    public = _known(places.certificate, certificate.public_key)
    check_strength(places.certificate, public)
    if spki(public) != key:
        refuse(places.private_key, f"is not the key of the certificate in {places.certificate}")
    issuer = _issuer(places, certificate, authorities)
    if not issuer.not_valid_before_utc <= now < issuer.not_valid_after_utc:
        begin, end = moment(issuer.not_valid_before_utc), moment(issuer.not_valid_after_utc)
        refuse(places.ca_cert, f"the CA certificate is valid only from {begin} to {end}")
    if cause := misuse(certificate):
        refuse(places.certificate, cause)
    credential = describe(places.certificate, certificate, authorities)
    if problems := check(credential, chassis, now):
        refuse(places.certificate, "; ".join(problems))
    return credential


def describe(
    place: str, certificate: x509.Certificate, authorities: Sequence[x509.Certificate]
) -> Credential:
    """Take down what is needed of a certificate."""
    der = certificate.public_bytes(Encoding.DER)
    ca_der = tuple(dict.fromkeys(ca.public_bytes(Encoding.DER) for ca in authorities))
    if max(map(len, (der, *ca_der))) > DER_MAX:
        refuse(place, f"a certificate of more than {DER_MAX} bytes, which the IKE daemon refuses")
    digest = sha256()
    for blob in (der, *ca_der):
        digest.update(len(blob).to_bytes(4, "big") + blob)
    public = certificate.public_key()
    return Credential(
        certificate_der=der,
        key_id=x509.SubjectKeyIdentifier.from_public_key(public).digest.hex(),
        ca_der=ca_der,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        names=names(certificate),
        subject=certificate.subject.rfc4514_string(),
        fingerprint=digest.hexdigest(),
    )


def _known(
    place: str, public: Callable[[], CertificatePublicKeyTypes]
) -> CertificatePublicKeyTypes:
    try:
        return public()
    except (ValueError, UnsupportedAlgorithm):
        refuse(place, "the certificate's key is of an unknown type")


def check_strength(place: str, public: object) -> None:
    """Refuse a key that the IKE daemon does not sign with, or that is too short."""
    match public:
        case rsa.RSAPublicKey() if public.key_size < RSA_MIN:
            refuse(place, f"an RSA key of {public.key_size} bits, at least {RSA_MIN} are needed")
        case ec.EllipticCurvePublicKey() if public.curve.name not in CURVES:
            refuse(place, f"a key on the curve {public.curve.name}, not one of {CURVES}")
        case (
            rsa.RSAPublicKey()
            | ec.EllipticCurvePublicKey()
            | ed25519.Ed25519PublicKey()
            | ed448.Ed448PublicKey()
        ):
            return
        case _:
            refuse(place, "the key is neither RSA, ECDSA, Ed25519 nor Ed448")


def spki(public: object) -> bytes:
    """Encode a public key, for comparisons."""
    encoded: bytes = public.public_bytes(  # type: ignore[attr-defined]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _issuer(
    places: Places, certificate: x509.Certificate, authorities: Sequence[x509.Certificate]
) -> x509.Certificate:
    signed_by = [ca for ca in authorities if is_signed(certificate, ca)]
    if not signed_by:
        issuer = certificate.issuer.rfc4514_string()[:80]
        refuse(
            places.certificate,
            f"the certificate, issued by {issuer}, is not signed by a CA in {places.ca_cert}",
        )
    able = [ca for ca in signed_by if is_authority(ca)]
    if not able:
        refuse(places.ca_cert, "the certificate there is not a CA (basicConstraints, keyUsage)")
    # During a CA's renewal two certificates may hold one key: the one that lasts counts.
    return max(able, key=lambda ca: ca.not_valid_after_utc)


def is_signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether an authority, by name and by key, has signed a certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether a certificate may sign others."""
    usage = _usage(certificate)
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
    return found and (usage is None or usage.key_cert_sign)


def misuse(certificate: x509.Certificate) -> str:
    """Why a certificate is not meant to authenticate a host; empty when it is or does not say."""
    usage = _usage(certificate)
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        return "its keyUsage lacks digitalSignature"
    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return ""
    return "" if USAGES & set(found) else "its extendedKeyUsage allows neither IKE nor TLS"


def _usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def names(certificate: x509.Certificate) -> tuple[str, ...]:
    """List the DNS names among the subject alternative names."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(found.value.get_values_for_type(x509.DNSName))
