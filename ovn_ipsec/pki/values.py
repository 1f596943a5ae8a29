# SPDX-License-Identifier: Apache-2.0
"""Pure: kinds of keys, lengths of lives, and the names that may stand in a certificate."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from ..model.chassis import CHASSIS_NAME, ChassisName
from .errors import PkiError


class KeyKind(StrEnum):
    """Keys that are made here."""

    ECDSA_P256 = "ecdsa-p256"
    RSA_3072 = "rsa-3072"
    ED25519 = "ed25519"


CHASSIS_LIFE = timedelta(days=365)
AUTHORITY_LIFE = timedelta(days=3650)
CRL_LIFE = timedelta(days=30)
CLOCK_SKEW = timedelta(minutes=10)
"""A certificate is valid from so long ago: clocks of chassis differ."""
COMMON_NAME_MAX = 64
"""RFC 5280 appendix A.1, ub-common-name."""
ORGANIZATION = "ovn-ipsec"
"""Stands in front of the CN in every subject: the stock ovs-monitor-ipsec finds no CN in a
subject that, printed as RFC 2253, has nothing behind it (its _get_cn_from_cert)."""


def numbered(name: str, number: int) -> str:
    """Name an authority: its number keeps it apart from its predecessor."""
    return f"{name} G{number}"


def checked_name(text: str) -> ChassisName:
    """Return a chassis name that can also be the name of a folder.

    Raises:
        PkiError: It is not one.
    """
    if not CHASSIS_NAME.match(text) or text in (".", ".."):
        raise PkiError(
            repr(text[:80]), "not a chassis name: expected 1 to 253 of A-Z a-z 0-9 . _ -"
        )
    return ChassisName(text)
