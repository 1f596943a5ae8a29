# SPDX-License-Identifier: Apache-2.0
"""One certificate on its own: key, signature, extensions, and what it may be used for.

Pure (``cryptography`` on bytes). Input: a parsed certificate. Output: why it is unsuitable, if so.
"""

from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from ovn_ipsec.errors import CredentialError

RSA_MIN = 2048
CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""What charon signs with (RFC 4754, RFC 7427)."""
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
UNDERSTOOD = frozenset(
    {
        "1.3.6.1.5.5.7.1.1",  # authorityInfoAccess
        "1.3.6.1.5.5.7.1.7",  # ipAddrBlocks
        "2.5.29.14",  # subjectKeyIdentifier
        "2.5.29.15",  # keyUsage
        "2.5.29.17",  # subjectAltName
        "2.5.29.18",  # issuerAltName
        "2.5.29.19",  # basicConstraints
        "2.5.29.30",  # nameConstraints
        "2.5.29.31",  # cRLDistributionPoints
        "2.5.29.32",  # certificatePolicies
        "2.5.29.33",  # policyMappings
        "2.5.29.35",  # authorityKeyIdentifier
        "2.5.29.36",  # policyConstraints
        "2.5.29.37",  # extKeyUsage
        "2.5.29.54",  # inhibitAnyPolicy
    }
)
"""Critical extensions that charon takes (5.9.8, tried one by one); any other makes it refuse the
certificate, and with it the connection that names it (charon.x509.enforce_critical)."""
_BROKEN = {"md5": "MD5", "sha1": "SHA-1"}


def refuse(place: str, cause: str) -> NoReturn:
    """Raise the CredentialError; nothing is chained, for its text could come from a key."""
    raise CredentialError(f"{place}: {cause}") from None


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


def public_key(place: str, certificate: x509.Certificate) -> object:
    """Take the key out of a certificate.

    Raises:
        CredentialError: It is of a type that nobody knows here.
    """
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        refuse(place, "the certificate's key is of an unknown type")


def spki(public: object) -> bytes:
    """Encode a public key, for comparisons."""
    encoded: bytes = public.public_bytes(  # type: ignore[attr-defined]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def broken_signature(certificate: x509.Certificate) -> str:
    """Why what an authority has signed proves nothing; empty when it does."""
    try:
        found = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        oid = certificate.signature_algorithm_oid.dotted_string
        return f"signed by an unknown algorithm ({oid}); expected SHA-256 or better"
    name = "" if found is None else _BROKEN.get(found.name, "")
    return name and f"signed with {name}, which can be forged; expected SHA-256 or better"


def unknown_critical(certificate: x509.Certificate) -> str:
    """Which critical extension the IKE daemon would refuse a certificate for; empty: none."""
    found = sorted(
        extension.oid.dotted_string
        for extension in certificate.extensions
        if extension.critical and extension.oid.dotted_string not in UNDERSTOOD
    )
    return ", ".join(found[:3]) and (
        f"has the critical extension {', '.join(found[:3])}, which the IKE daemon does not know "
        "and refuses"
    )


def is_signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether an authority, by name and by key, has signed a certificate so that it counts."""
    if broken_signature(certificate):
        return False
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def is_root(certificate: x509.Certificate) -> bool:
    """Whether a certificate was issued by itself; who trusts it does not go by its signature."""
    if certificate.subject != certificate.issuer:
        return False
    return bool(broken_signature(certificate)) or is_signed(certificate, certificate)


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
