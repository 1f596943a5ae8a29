# SPDX-License-Identifier: Apache-2.0
"""Read the certificate, key and authority files of this chassis, and see when they change.

Edge (files, and ``cryptography`` for what is in them). Input: paths. Output: Credential, and its
key as a Secret. The key is in no log, error or representation.
"""

import os
import stat
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import NoReturn, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificatePublicKeyTypes,
    PrivateKeyTypes,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ovn_ipsec.errors import CredentialError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.schema.open_vswitch import CredentialFiles

from .plan.credential import Credential, Secret, check, moment

FILE_MAX = 1 << 20
RSA_MIN = 2048
CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""What charon signs with (RFC 4754, RFC 7427)."""
Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]
"""Modification time in ns, size and inode of each file, None for one that is not there."""


def stamp(files: CredentialFiles) -> Stamp:
    """Look whether the files are still the same, without reading them.

    Take it before ``read``: a change in between then shows the next time.
    """
    return tuple(map(_stamp, (files.certificate, files.private_key, files.ca_cert)))


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a path from a database may hold a null byte
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read(files: CredentialFiles, chassis: ChassisName, now: datetime) -> tuple[Credential, Secret]:
    """Read and check a credential.

    Args:
        files: the paths.
        chassis: the name that peers expect.
        now: wall time, aware.

    Returns:
        The credential and its private key, PKCS #8 in DER.

    Raises:
        CredentialError: a file is missing, does not hold what it should, or the three do not
            fit each other, the name or the time. It names the file and the cause.
    """
    certificate = _certificates(files.certificate, "certificate")[0]
    authorities = _certificates(files.ca_cert, "CA certificate")
    key = _key(files.private_key)
    public = _known(files.certificate, certificate.public_key)
    _check_strength(files.certificate, public)
    if _spki(public) != _spki(key.public_key()):
        _refuse(files.private_key, f"is not the key of the certificate in {files.certificate}")
    issuer = _issuer(files, certificate, authorities)
    if not issuer.not_valid_before_utc <= now < issuer.not_valid_after_utc:
        begin, end = moment(issuer.not_valid_before_utc), moment(issuer.not_valid_after_utc)
        _refuse(files.ca_cert, f"the CA certificate is valid only from {begin} to {end}")
    credential = _credential(files.certificate, certificate, public, authorities)
    if problems := check(credential, chassis, now):
        _refuse(files.certificate, "; ".join(problems))
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return credential, Secret(pkcs8)


def _refuse(path: str, cause: str) -> NoReturn:
    # No chained exception: its text could come from the key file.
    raise CredentialError(f"{path}: {cause}") from None


def _content(path: str, what: str) -> bytes:
    if not path:
        raise CredentialError(f"no {what} is configured")
    try:
        # Nonblocking, so that a pipe at that path does not hold the loop.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        _refuse(path, f"cannot read the {what}: {getattr(error, 'strerror', None) or error}")
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            _refuse(path, f"the {what} is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        _refuse(path, f"cannot read the {what}: {error.strerror}")
    finally:
        os.close(descriptor)
    if len(data) > FILE_MAX:
        _refuse(path, f"the {what} is larger than {FILE_MAX} bytes")
    return data


def _certificates(path: str, what: str) -> list[x509.Certificate]:
    data = _content(path, what)
    try:
        found = x509.load_pem_x509_certificates(data)
        for certificate in found:
            _names(certificate)
    except (ValueError, UnsupportedAlgorithm):
        _refuse(path, f"holds no {what} in PEM that can be parsed")
    return found


def _key(path: str) -> PrivateKeyTypes:
    data = _content(path, "private key")
    try:
        return load_pem_private_key(data, password=None)
    except TypeError:
        _refuse(path, "the private key is encrypted with a passphrase")
    except (ValueError, UnsupportedAlgorithm):
        _refuse(path, "holds no private key in PEM that can be parsed")


def _known(path: str, public: Callable[[], CertificatePublicKeyTypes]) -> CertificatePublicKeyTypes:
    try:
        return public()
    except (ValueError, UnsupportedAlgorithm):
        _refuse(path, "the certificate's key is of an unknown type")


def _check_strength(path: str, public: CertificatePublicKeyTypes) -> None:
    match public:
        case rsa.RSAPublicKey() if public.key_size < RSA_MIN:
            _refuse(path, f"an RSA key of {public.key_size} bits, at least {RSA_MIN} are needed")
        case ec.EllipticCurvePublicKey() if public.curve.name not in CURVES:
            _refuse(path, f"a key on the curve {public.curve.name}, not one of {CURVES}")
        case (
            rsa.RSAPublicKey()
            | ec.EllipticCurvePublicKey()
            | ed25519.Ed25519PublicKey()
            | ed448.Ed448PublicKey()
        ):
            return
        case _:
            _refuse(path, "the key is neither RSA, ECDSA, Ed25519 nor Ed448")


def _spki(public: object) -> bytes:
    encoded: bytes = public.public_bytes(  # type: ignore[attr-defined]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _issuer(
    files: CredentialFiles, certificate: x509.Certificate, authorities: Sequence[x509.Certificate]
) -> x509.Certificate:
    signed_by = [ca for ca in authorities if _signed(certificate, ca)]
    if not signed_by:
        issuer = certificate.issuer.rfc4514_string()[:80]
        _refuse(
            files.certificate,
            f"the certificate, issued by {issuer}, is not signed by a CA in {files.ca_cert}",
        )
    able = [ca for ca in signed_by if _is_authority(ca)]
    if not able:
        _refuse(files.ca_cert, "the certificate there is not a CA (basicConstraints)")
    # During a CA's renewal two certificates may hold one key: the one that lasts counts.
    return max(able, key=lambda ca: ca.not_valid_after_utc)


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(found.value.get_values_for_type(x509.DNSName))


def _credential(
    path: str,
    certificate: x509.Certificate,
    public: CertificatePublicKeyTypes,
    authorities: Sequence[x509.Certificate],
) -> Credential:
    der = certificate.public_bytes(Encoding.DER)
    ca_der = tuple(dict.fromkeys(ca.public_bytes(Encoding.DER) for ca in authorities))
    if max(map(len, (der, *ca_der))) > 0xFFFF:
        _refuse(path, "a certificate of more than 65535 bytes, which the IKE daemon cannot take")
    digest = sha256()
    for blob in (der, *ca_der):
        digest.update(len(blob).to_bytes(4, "big") + blob)
    return Credential(
        certificate_der=der,
        key_id=x509.SubjectKeyIdentifier.from_public_key(public).digest.hex(),
        ca_der=ca_der,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        names=_names(certificate),
        subject=certificate.subject.rfc4514_string(),
        fingerprint=digest.hexdigest(),
    )
