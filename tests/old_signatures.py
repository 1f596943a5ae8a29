# SPDX-License-Identifier: Apache-2.0
"""Certificates with signatures that no library makes any more, good ones of their kind."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.hazmat.primitives.serialization import Encoding

_RSA = bytes.fromhex("2a864886f70d0101")
"""1.2.840.113549.1.1, of which 11 is RSA with SHA-256, 5 with SHA-1 and 4 with MD5."""
_OLD = {
    "sha1": (b"\x05", SHA1()),  # noqa: S303 - to be refused
    "md5": (b"\x04", MD5()),  # noqa: S303 - to be refused
    "unknown": (b"\x7f", SHA1()),  # noqa: S303 - to be refused
}


def signed_as(certificate: x509.Certificate, key: RSAPrivateKey, how: str) -> x509.Certificate:
    """Sign a certificate again that this key has signed with SHA-256.

    Args:
        certificate: The certificate.
        key: Its issuer's.
        how: ``sha1``, ``md5``, or ``unknown`` for an algorithm that does not exist.
    """
    number, digest = _OLD[how]
    der = certificate.public_bytes(Encoding.DER)
    body = certificate.tbs_certificate_bytes.replace(_RSA + b"\x0b", _RSA + number)
    signature = key.sign(body, PKCS1v15(), digest)
    der = der.replace(_RSA + b"\x0b", _RSA + number)
    return x509.load_der_x509_certificate(der[: -len(signature)] + signature)
