# SPDX-License-Identifier: Apache-2.0
"""Pure: the sections of vici messages, and strict access to the contents of a received one.

Source: strongSwan 5.9.8 src/libcharon/plugins/vici/README.md.
"""

from collections.abc import Mapping
from typing import TypeAlias

from ovn_ipsec.errors import IkeError

Section: TypeAlias = dict[str, "str | bytes | list[str] | list[bytes] | Section"]
"""What goes out."""
Seen: TypeAlias = Mapping[str, object]
"""What comes in: names to bytes, lists or sections."""


def words(value: object) -> str:
    """Decode text that a peer may have had a hand in: junk becomes a question mark."""
    if not isinstance(value, bytes):
        return ""
    plain = value.decode("utf-8", errors="replace")
    return "".join(char if char.isprintable() and char != "\ufffd" else "?" for char in plain)


def text(seen: Seen, key: str, default: str | None = None) -> str:
    """Decode a value of the daemon's own, strictly.

    Raises:
        IkeError: it is not there and has no default, or is not ASCII.
    """
    value = seen.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, bytes) or not value.isascii():
        raise IkeError(f"the IKE daemon sent {key}={value!r:.80}, expected ASCII text")
    return value.decode("ascii")


def number(seen: Seen, key: str, base: int = 10, default: int | None = None) -> int:
    """Parse a number.

    Raises:
        IkeError: it is not there and has no default, or is not a number.
    """
    if key not in seen and default is not None:
        return default
    digits = text(seen, key)
    try:
        return int(digits, base)
    except ValueError:
        raise IkeError(f"the IKE daemon sent {key}={digits:.80}, expected a number") from None


def section(seen: Seen, key: str) -> Seen:
    """Give a section inside another; one that is not there is empty.

    Raises:
        IkeError: it is a value.
    """
    value = seen.get(key, {})
    if not isinstance(value, Mapping):
        raise IkeError(f"the IKE daemon sent {key}={value!r:.80}, expected a section")
    return value


def listed(seen: Seen, key: str) -> list[object]:
    """Give a list; one that is not there is empty.

    Raises:
        IkeError: it is something else.
    """
    value = seen.get(key, [])
    if not isinstance(value, list):
        raise IkeError(f"the IKE daemon sent {key}={value!r:.80}, expected a list")
    return value
