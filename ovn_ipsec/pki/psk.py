# SPDX-License-Identifier: Apache-2.0
"""Pure: the key that two chassis share, derived from the secret that the whole cluster shares.

A chassis that knows the cluster's secret can compute every pair's key; what the derivation gives
is that one pair's key, taken from a daemon or its logs, opens no other pair.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import InvariantError
from ..model.chassis import ChassisName
from .errors import PkiError

SECRET_MIN = 16
"""Bytes of the cluster's secret: 128 bits, if they are random."""
KEY_BYTES = 32
SALT = b"ovn-ipsec psk 1"
"""The 1 is the version: another derivation gets another label, so that no key has two uses."""


def psk_for_pair(secret: bytes, a: ChassisName, b: ChassisName) -> bytes:
    """Derive the key of a pair with HKDF-SHA256 (RFC 5869).

    Args:
        secret: The cluster's secret, at least 16 bytes.
        a: One end.
        b: The other end; the order does not matter.

    Returns:
        32 bytes: a secret too.

    Raises:
        PkiError: The secret is too short.
        InvariantError: Both ends are the same chassis.
    """
    if len(secret) < SECRET_MIN:
        raise PkiError("cluster secret", f"too short; expected at least {SECRET_MIN} bytes")
    if a == b:
        raise InvariantError(f"{a}: a chassis has no pair with itself")
    ends = [name.encode("ascii") for name in sorted((a, b))]
    info = b"".join(len(end).to_bytes(2, "big") + end for end in ends)
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=SALT, info=info).derive(secret)
