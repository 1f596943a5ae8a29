# SPDX-License-Identifier: Apache-2.0
"""Pure: private keys made and read, public keys judged; a private key only leaves as PEM bytes."""

from __future__ import annotations

from hashlib import sha256
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from .errors import PkiError
from .values import KeyKind

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

RSA_MIN, RSA_MAX = 2048, 8192
CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""What IKE daemons sign with (RFC 4754, RFC 7427)."""
EXPECTED = "expected RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519"


def new_key(kind: KeyKind) -> PrivateKey:
    """Make a private key."""
    if kind is KeyKind.RSA_3072:
        return rsa.generate_private_key(public_exponent=65537, key_size=3072)
    if kind is KeyKind.ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def kind_of(key: PrivateKey | PublicKey) -> KeyKind:
    """Return the kind of a key, to make another like it."""
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return KeyKind.RSA_3072
    if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        return KeyKind.ED25519
    return KeyKind.ECDSA_P256


def private_pem(key: PrivateKey) -> bytes:
    """Write a private key as unencrypted PKCS #8: only ever into a file of mode 0600."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_private(where: str, pem: bytes) -> PrivateKey:
    """Parse an unencrypted private key.

    Raises:
        PkiError: It is not one; says nothing of the content.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        # No chained exception: its text could come from the key file.
        raise PkiError(where, "expected one unencrypted private key in PEM") from None
    if not isinstance(key, PrivateKey):
        raise PkiError(where, f"a private key of another kind: {EXPECTED}")
    return key


def key_id(key: PublicKey) -> str:
    """Name a public key: SHA-256 of its SubjectPublicKeyInfo, in hex."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def weakness(key: object) -> str:
    """Say why a public key is refused for a chassis; empty if it is accepted."""
    match key:
        case rsa.RSAPublicKey() if not RSA_MIN <= key.key_size <= RSA_MAX:
            return f"an RSA key of {key.key_size} bits; {EXPECTED}"
        case ec.EllipticCurvePublicKey() if key.curve.name not in CURVES:
            return f"a key on the curve {key.curve.name}; {EXPECTED}"
        case rsa.RSAPublicKey() | ec.EllipticCurvePublicKey() | ed25519.Ed25519PublicKey():
            return ""
        case _:
            return f"a key of another kind; {EXPECTED}"


def signature_hash(key: PrivateKey) -> SHA256 | None:
    """The hash to sign with; Ed25519 has its own (RFC 8410)."""
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()
