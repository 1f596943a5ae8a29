# SPDX-License-Identifier: Apache-2.0
"""Pure: a detached signature over a file, as `openssl dgst -sha256` makes and verifies it.

ECDSA and RSA (PKCS #1 v1.5) sign the SHA-256 of the file; Ed25519 signs the file itself.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from .errors import PkiError
from .keys import EXPECTED, PrivateKey, PublicKey

SIGNATURE_MAX = 4096
"""Bytes; that of an RSA key of 8192 bits has 1024."""


def sign(key: PrivateKey, data: bytes) -> bytes:
    """Sign some bytes."""
    match key:
        case ec.EllipticCurvePrivateKey():
            return key.sign(data, ec.ECDSA(SHA256()))
        case rsa.RSAPrivateKey():
            return key.sign(data, padding.PKCS1v15(), SHA256())
        case _:
            return key.sign(data)


def verify(key: PublicKey, data: bytes, signature: bytes) -> bool:
    """Whether a signature is that of this key over these bytes."""
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                key.verify(signature, data, ec.ECDSA(SHA256()))
            case rsa.RSAPublicKey():
                key.verify(signature, data, padding.PKCS1v15(), SHA256())
            case _:
                key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def read_public(where: str, pem: bytes) -> PublicKey:
    """Read the public key of a certificate, or one on its own.

    Raises:
        PkiError: It is neither.
    """
    try:
        if b"BEGIN CERTIFICATE" in pem:
            found: object = x509.load_pem_x509_certificate(pem).public_key()
        else:
            found = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise PkiError(where, "expected a certificate or a public key in PEM") from None
    if not isinstance(
        found, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
    ):
        raise PkiError(where, f"a public key of another kind: {EXPECTED}")
    return found
