# SPDX-License-Identifier: Apache-2.0
"""Pure: a list of OVSDB remotes to values, each part separately.

People write them into external_ids:ovn-remote, command lines and environment variables, and they
are read by ovn-controller and ovn-sbctl, which accept spaces after commas, host names, and a
missing port, which means 6640.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from ..errors import InputError
from .fields import Place

DEFAULT_PORT = 6640
"""Source: ovsdb(7), "OVSDB Connection Methods"."""
TEXT_MAX = 4096
REMOTES_MAX = 64
FILE_NAME_MAX = 80
"""Bytes of a socket's name that still fit after /proc/self/fd/N/ (unix(7): 108 in all)."""
NETWORK = frozenset({"ssl", "tcp"})
_EXPECTED = "expected ssl:HOST[:PORT], tcp:HOST[:PORT] or unix:FILE"
_HOST = re.compile(
    r"(?=.{1,253}\Z)(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?\Z", re.ASCII
)
_DIGITS = re.compile(r"(.*\.)?[0-9]+\.?\Z", re.ASCII)
_SCOPE = re.compile(r"[A-Za-z0-9._-]{1,15}\Z", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Where an OVSDB server listens."""

    method: str
    """ssl, tcp or unix."""
    host: str
    """An address, a name, or the path of a socket."""
    port: int = 0

    def __str__(self) -> str:
        """As ovsdb(7) writes it, with the port."""
        if self.method not in NETWORK:
            return f"{self.method}:{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.method}:{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remotes:
    """The content of a list of remotes."""

    usable: tuple[Remote, ...] = ()
    """In the order of the list, without duplicates."""
    errors: tuple[InputError, ...] = ()
    """One for each part that is not a remote."""

    def __str__(self) -> str:
        """Return the usable ones in the syntax of ovsdb(7)."""
        return ",".join(map(str, self.usable))


def parse_remotes(place: Place, text: str) -> Remotes:
    """Parse a comma-separated list of remotes; an invalid part costs only itself.

    Args:
        place: Where the text is stored, for errors.
        text: The list. A part without a colon belongs to the path of the unix: part before it.
    """
    if len(text) > TEXT_MAX or text.count(",") >= REMOTES_MAX:
        reason = f"expected at most {REMOTES_MAX} remotes in {TEXT_MAX} characters"
        return Remotes(errors=(place.error(text, reason),))
    usable: dict[Remote, None] = {}
    errors: list[InputError] = []
    for part in _parts(text.split(",")):
        try:
            usable[parse_remote(place, part)] = None
        except InputError as error:
            errors.append(error)
    return Remotes(usable=tuple(usable), errors=tuple(errors))


def parse_remote(place: Place, text: str) -> Remote:
    """Parse one remote.

    Raises:
        InputError: It is not a remote that a client can connect to.
    """
    method, colon, rest = text.partition(":")
    if method == "unix" and colon:
        return Remote(method=method, host=_path(place, text, rest))
    if method not in NETWORK or not colon:
        place.refuse(text, _EXPECTED)
    if rest.startswith("["):
        host, bracket, port = rest[1:].partition("]")
        if not bracket:
            place.refuse(text, "expected an address between [ and ]")
        return Remote(
            method=method, host=_address(place, text, host), port=_port(place, text, port)
        )
    if rest.count(":") > 1:
        place.refuse(text, "expected an IPv6 address in [ and ]")
    host, colon, port = rest.partition(":")
    return Remote(
        method=method, host=_name(place, text, host), port=_port(place, text, colon + port)
    )


def _parts(words: Iterable[str]) -> Iterator[str]:
    held = ""
    for word in words:
        if held.startswith("unix:") and word and ":" not in word:
            held += "," + word.rstrip()
            continue
        if held:
            yield held
        held = word.strip()
    if held:
        yield held


def _path(place: Place, text: str, path: str) -> str:
    name = path.rpartition("/")[2]
    if not name or not path.isprintable() or len(name.encode()) > FILE_NAME_MAX:
        place.refuse(
            text,
            f"expected unix:FILE, a printable path whose last part has 1 to {FILE_NAME_MAX} bytes",
        )
    return path


def _address(place: Place, text: str, host: str) -> str:
    address, percent, scope = host.partition("%")
    try:
        found = ip_address(address)
    except ValueError:
        place.refuse(text, "expected an address between [ and ]")
    if percent and not _SCOPE.match(scope):
        place.refuse(text, "expected the name of an interface after %")
    return f"{found}{percent}{scope}"


def _name(place: Place, text: str, host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    if not _HOST.match(host) or _DIGITS.match(host):
        place.refuse(text, "expected an address or the name of a host")
    return host


def _port(place: Place, text: str, part: str) -> int:
    """Parse what follows the host: nothing, or a colon and a port."""
    if not part:
        return DEFAULT_PORT
    if not re.fullmatch(r":[0-9]{1,5}", part, re.ASCII) or not 1 <= int(part[1:]) <= 65535:
        place.refuse(text, "expected a port from 1 to 65535 after the host")
    return int(part[1:])
