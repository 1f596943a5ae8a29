# SPDX-License-Identifier: Apache-2.0
"""Pure: certificate requests (PKCS #10) of chassis, made by one and checked by who signs.

A request comes from whoever can write a chassis' row or send an operator a file: nothing of it is
taken over but the public key, after the proof that its maker holds the private one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ..model.chassis import ChassisName
from .errors import PkiError, RequestError
from .keys import PrivateKey, PublicKey, signature_hash, weakness
from .profile import subject
from .values import checked_name

REQUEST_MAX = 8192
"""Bytes of PEM. RSA of 8192 bits takes 3 KiB."""
_PEM = re.compile(
    r"\s*-----BEGIN (?P<kind>(?:NEW )?CERTIFICATE REQUEST)-----\s"
    r"[A-Za-z0-9+/=\s]+-----END (?P=kind)-----\s*\Z",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that was checked: its maker holds the key, and it asks for this name only."""

    chassis: ChassisName
    public_key: PublicKey


def make_request(key: PrivateKey, chassis: ChassisName) -> str:
    """Ask for a certificate in a chassis' name; PEM."""
    names = x509.SubjectAlternativeName([x509.DNSName(chassis)])
    builder = x509.CertificateSigningRequestBuilder(subject(chassis))
    signed = builder.add_extension(names, critical=False).sign(key, signature_hash(key))
    return signed.public_bytes(Encoding.PEM).decode("ascii")


def check_request(pem: str, chassis: ChassisName) -> Request:
    """Check a request that anybody may have sent.

    Args:
        pem: One PEM block of at most 8 KiB.
        chassis: The only name that it may hold: as its one SAN DNS name (a CN must then be the
            same), or, without a SAN, as its CN.

    Raises:
        RequestError: It is not such a request; says why. No other exception is raised.
    """
    where = f"request of {chassis}"
    names, public_key = _read(where, pem)
    if names != {str(chassis)}:
        given = ", ".join(sorted(name[:80] for name in names)[:3]) or "none"
        raise RequestError(
            where, f"its names are {given!r}; expected one SAN DNS name, or a CN: {chassis}"
        )
    return Request(chassis=chassis, public_key=public_key)


def requested_name(pem: str) -> ChassisName:
    """Read which chassis a request is for, so that a person can check it.

    Raises:
        RequestError: It cannot be read, or does not hold exactly one name.
        PkiError: That name is not one of a chassis.
    """
    where = "request"
    names, _ = _read(where, pem)
    if len(names) != 1:
        raise RequestError(where, f"holds {len(names)} names; expected that of one chassis")
    return checked_name(names.pop())


def _read(where: str, pem: str) -> tuple[set[str], PublicKey]:
    if len(pem) > REQUEST_MAX:
        raise RequestError(where, f"{len(pem)} characters; expected at most {REQUEST_MAX}")
    if not _PEM.match(pem):
        raise RequestError(where, "expected one PEM block CERTIFICATE REQUEST and nothing else")
    try:
        return _parse(where, x509.load_pem_x509_csr(pem.encode("ascii")))
    except PkiError:
        raise
    except Exception as error:  # noqa: BLE001 - hostile bytes: whatever the parser makes of them
        cause = type(error).__name__
        raise RequestError(where, f"cannot be parsed as a request ({cause})") from None


def _parse(where: str, csr: x509.CertificateSigningRequest) -> tuple[set[str], PublicKey]:
    public_key = csr.public_key()
    if problem := weakness(public_key):
        raise RequestError(where, problem)
    if not csr.is_signature_valid:
        raise RequestError(where, "its signature does not fit its key; expected one made with it")
    assert isinstance(public_key, PublicKey)  # noqa: S101 - weakness() let nothing else pass
    names = {str(name.value) for name in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
    return names | _alternative_names(where, csr), public_key


def _alternative_names(where: str, csr: x509.CertificateSigningRequest) -> set[str]:
    try:
        found = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    names = list(found)
    if len(names) != 1 or not isinstance(names[0], x509.DNSName):
        raise RequestError(
            where, f"{len(names)} subject alternative names; expected one, a DNS name"
        )
    return {names[0].value}
