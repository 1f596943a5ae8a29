# SPDX-License-Identifier: Apache-2.0
"""Detached signatures: what a key has signed is verified by its public half, and nothing else."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ovn_ipsec.pki.errors import PkiError
from ovn_ipsec.pki.keys import new_key
from ovn_ipsec.pki.signature import read_public, sign, verify
from ovn_ipsec.pki.values import KeyKind

DATA = b"# Evidence of encryption\n"
SPKI = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("kind", KeyKind)
def test_what_is_signed_is_verified(kind: KeyKind):
    """By this key, over these bytes."""
    key = new_key(kind)
    public = read_public("key.pem", key.public_key().public_bytes(*SPKI))
    made = sign(key, DATA)
    assert verify(public, DATA, made)
    assert not verify(public, DATA + b" ", made)
    assert not verify(public, DATA, made[:-1])
    assert not verify(new_key(kind).public_key(), DATA, made)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        x25519.X25519PrivateKey.generate().public_key().public_bytes(*SPKI),
    ],
)
def test_what_is_no_key_to_verify_with_is_refused(pem: bytes):
    """With the file's name."""
    with pytest.raises(PkiError, match="where"):
        read_public("where", pem)
