# SPDX-License-Identifier: Apache-2.0
"""A private key, parsed, and the id by which our programs know it.

Pure. For IKE daemons that do not parse it for us; charon does.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_pem_private_key,
)

from ovn_ipsec.errors import IkeError

from ..plan.credentials.credential import Secret

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
ONLY = "only RSA and ECDSA keys can be used"


def parse_private_key(key: Secret) -> PrivateKey:
    """Parse a private key, PEM or DER.

    Raises:
        IkeError: It cannot be used; the error does not quote it.
    """
    data = key.reveal()
    load = load_pem_private_key if data.startswith(b"-----") else load_der_private_key
    try:
        private = load(data, None)
    except Exception:  # noqa: BLE001 - whatever it says may quote the key
        raise IkeError("the key cannot be parsed") from None
    if not isinstance(private, PrivateKey):
        raise IkeError(ONLY)
    return private


def key_id(of: PrivateKey | x509.Certificate) -> str:
    """Return the id of a key, or of a certificate's key, as in ``Credential.key_id``."""
    return x509.SubjectKeyIdentifier.from_public_key(of.public_key()).digest.hex()
