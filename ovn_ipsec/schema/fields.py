# SPDX-License-Identifier: Apache-2.0
"""Pure: strict parsers for single values; each refusal says where the value is and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import NoReturn, TypeVar

from ..errors import InputError
from ..model.chassis import CHASSIS_NAME, ChassisName, IpAddress
from ..model.policy import GENERATION_MAX

E = TypeVar("E", bound=StrEnum)

_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d)?\Z")
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_HTTP_URI = re.compile(
    r"(?=.{1,255}\Z)http://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
    r"(/[A-Za-z0-9._~/?&=%+:@-]*)?\Z"
)
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a value is stored, for the error that refuses it."""

    table: str
    row: str
    key: str

    def error(self, text: str, reason: str) -> InputError:
        """Make the InputError that names this place."""
        return InputError(table=self.table, row=self.row, key=self.key, text=text, reason=reason)

    def refuse(self, text: str, reason: str) -> NoReturn:
        """Raise the InputError that names this place."""
        raise self.error(text, reason)


def word(place: Place, text: str, kind: type[E]) -> E:
    """Parse one member of an enumeration by its value."""
    try:
        return kind(text)
    except ValueError:
        place.refuse(text, f"expected one of {', '.join(kind)}")


def integer(place: Place, text: str, low: int, high: int) -> int:
    """Parse decimal digits in [low, high]."""
    if not re.fullmatch(r"[0-9]{1,16}", text, re.ASCII) or not low <= int(text) <= high:
        place.refuse(text, f"expected a whole number from {low} to {high}")
    return int(text)


def generation(place: Place, text: str) -> int:
    """Parse the generation of a policy: a small counted one, or one made from the time."""
    return integer(place, text, 0, GENERATION_MAX)


def boolean(place: Place, text: str) -> bool:
    """Parse true/yes/on/1 or false/no/off/0, as smap_get_bool and people write it."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    place.refuse(text, "expected true or false")


def duration_s(place: Place, text: str, low: int, high: int) -> int:
    """Parse seconds with an optional unit s, m, h or d, as ipsec.conf(5) writes times."""
    found = _DURATION.match(text)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else -1
    if not low <= seconds <= high:
        place.refuse(text, f"expected a time from {low}s to {high}s, such as 30s, 10m, 8h")
    return seconds


def address(place: Place, text: str) -> IpAddress:
    """Parse a literal unicast IP address without a scope."""
    try:
        ip = ip_address(text)
    except (ValueError, AddressValueError):
        place.refuse(text, "expected an IPv4 or IPv6 address")
    scoped = isinstance(ip, IPv6Address) and ip.scope_id is not None
    broadcast = isinstance(ip, IPv4Address) and int(ip) == 2**32 - 1
    if scoped or broadcast or ip.is_multicast or ip.is_unspecified:
        place.refuse(text, "expected the unicast address of a host")
    return ip


def http_uri(place: Place, text: str) -> str:
    """Parse a URI for the IKE daemon to fetch: plain http, a literal host, no userinfo."""
    if not _HTTP_URI.match(text):
        place.refuse(text, "expected http://HOST[:PORT][/PATH], at most 255 characters")
    return text


def chassis_name(place: Place, text: str) -> ChassisName:
    """Parse a chassis name that can be an IKE identity."""
    if not CHASSIS_NAME.match(text):
        place.refuse(text, "expected 1 to 253 of A-Z a-z 0-9 . _ -")
    return ChassisName(text)


def chassis_names(place: Place, text: str) -> frozenset[ChassisName]:
    """Parse chassis names separated by spaces or commas."""
    return frozenset(chassis_name(place, word) for word in text.replace(",", " ").split())
