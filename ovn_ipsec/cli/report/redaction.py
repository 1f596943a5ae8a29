# SPDX-License-Identifier: Apache-2.0
"""Pure: what must not be in a report, and what is taken out of it.

No part of a report asks for a secret. This is for what others may have written where one looks:
charon's log has keys in it from level 4 on, and a value of a row is whatever somebody put there.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

PREFIX = "ovn-ipsec"
"""Of our keys, whatever table they are in."""
LEFT_OUT = "(bytes left out)"
MARKERS = (b"PRIVATE KEY-----",)
SECRET_MIN = 8
"""Bytes below which something is found by chance."""
_DUMPED = re.compile(r"\b\d+: (?:[0-9A-Fa-f]{2}(?:\s|$)).*")
"""A line of a hex dump as strongSwan writes it: offset, octets, characters."""
_HEX = re.compile(r"\b[0-9A-Fa-f]{32,}\b")


def without_bytes(text: str) -> str:
    """Take hex dumps and long hex numbers out of a log; what they belong to stays."""
    lines = (_HEX.sub(LEFT_OUT, _DUMPED.sub(LEFT_OUT, line)) for line in text.split("\n"))
    return "\n".join(lines)


def ours(column: Mapping[str, str], also: Iterable[str] = ()) -> dict[str, str]:
    """Keep what is ours of a column of other people's, sorted.

    Args:
        column: Keys and values.
        also: Further keys that are wanted.
    """
    wanted = frozenset(also)
    return {
        key: without_password(value)
        for key, value in sorted(column.items())
        if key.startswith(PREFIX) or key in wanted
    }


def without_password(value: str) -> str:
    """Take name and password out of a URI."""
    try:
        place = urlsplit(value).netloc
    except ValueError:
        return value
    _, at, host = place.rpartition("@")
    return value.replace(place, host, 1) if at else value


def spellings(secret: bytes) -> frozenset[bytes]:
    """In which ways a secret may stand somewhere; none for one that is found by chance."""
    if len(secret) < SECRET_MIN:
        return frozenset()
    hexed = secret.hex().encode()
    return frozenset({secret, hexed, hexed.upper(), b64encode(secret).rstrip(b"=")})


def holds_secret(data: bytes, secrets: Iterable[bytes]) -> bool:
    """Tell whether data holds a private key, or a secret in any spelling.

    Args:
        data: What would be written.
        secrets: Those that are known, as they are.
    """
    known = frozenset(one for secret in secrets for one in spellings(secret))
    return any(one in data for one in (*MARKERS, *known))
