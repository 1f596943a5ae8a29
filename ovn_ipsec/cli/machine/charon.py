# SPDX-License-Identifier: Apache-2.0
"""Edge: a short conversation over vici: what the IKE daemon is, and its IKE_SAs.

As in the controller, only the encoding of the vici package is used: its Session takes the time
limit off the socket inside a packet.
"""

from __future__ import annotations

import errno
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from ...errors import IkeError
from .values import Daemon, DaemonFiles

DEFAULT = "unix:///run/charon.vici"
LIMIT_S = 5.0
"""For a whole conversation."""
PACKET_MAX = 1 << 26
CONFIGURED = Path("/etc")
"""Where the settings of strongSwan are: Debian's below it, Fedora's below ``strongswan``."""
_NOT_THERE = frozenset({errno.ENOENT, errno.ECONNREFUSED})
_HEADER = struct.Struct("!I")
_COMMENT = re.compile(r"#.*")
_FILELOG = re.compile(r"\bfilelog\s*\{[^{}]*\{")
"""A section with a log in it: the one that Debian ships is empty."""


def look(uri: str) -> Daemon:
    """Ask the IKE daemon what it is.

    Args:
        uri: ``unix://`` and an absolute path.

    Raises:
        IkeError: Nobody can tell: it hangs, or we may not talk to it.
    """
    try:
        with _conversation(uri) as say:
            version, _ = say("version")
            stats, _ = say("stats")
    except OSError as error:
        if error.errno in _NOT_THERE:
            return Daemon(fault=f"{uri}: {error.strerror}")
        raise IkeError(f"{uri}: {error.strerror or 'does not answer'}") from error
    plugins = stats.get("plugins", [])
    return Daemon(version=_text(version.get("version")), plugins=frozenset(map(_text, plugins)))


def ike_sas(uri: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Ask which connections are loaded, and for the IKE_SAs.

    Returns:
        Names, and what list-sas streams, as text; there are no keys in either.

    Raises:
        IkeError: It is not there or does not answer.
    """
    try:
        with _conversation(uri) as say:
            conns, _ = say("get-conns")
            _, events = say("list-sas", "list-sa")
    except OSError as error:
        raise IkeError(f"{uri}: {error.strerror or 'does not answer'}") from error
    return [_text(one) for one in conns.get("conns", [])], [_readable(one) for one in events]


def files(root: Path = CONFIGURED) -> DaemonFiles:
    """Read the settings of strongSwan, as far as they can be read."""
    ours = filelog = ""
    for folder in (root, root / "strongswan"):
        if (folder / "strongswan.d" / "ovn-ipsec.conf").is_file():
            ours = str(folder / "strongswan.d" / "ovn-ipsec.conf")
        for path in (folder / "strongswan.conf", *sorted(folder.glob("strongswan.d/**/*.conf"))):
            try:
                text = path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            if _FILELOG.search(_COMMENT.sub("", text)):
                filelog = str(path)
    return DaemonFiles(ours=ours, filelog=filelog)


class _Conversation:
    """Requests over one connection until a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._until = monotonic() + LIMIT_S

    def __call__(self, command: str, event: str = "") -> tuple[dict[str, Any], list[Any]]:
        """Send a request; gives its answer, and the events of one kind that came before it."""
        from vici.protocol import Message, Packet  # noqa: PLC0415 - --help stays quick

        if event:
            self._exchange(Packet.register_event(event), [])
        payloads: list[Any] = []
        answer = self._exchange(Packet.request(command, Message.serialize({})), payloads)
        if answer.response_type != Packet.CMD_RESPONSE:
            raise IkeError(f"the IKE daemon did not answer {command}")
        return Message.deserialize(answer.payload), [Message.deserialize(p) for p in payloads]

    def _exchange(self, packet: bytes, events: list[Any]) -> Any:
        from vici.protocol import Packet  # noqa: PLC0415 - --help stays quick

        self._socket.settimeout(self._left())
        self._socket.sendall(_HEADER.pack(len(packet)) + packet)
        while True:
            (length,) = _HEADER.unpack(self._take(_HEADER.size))
            if length > PACKET_MAX:
                raise IkeError(f"the IKE daemon sent a packet of {length} bytes")
            answer = Packet.parse(self._take(length))
            if answer.response_type != Packet.EVENT:
                return answer
            events.append(answer.payload)

    def _take(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            self._socket.settimeout(self._left())
            chunk = self._socket.recv(count - len(data))
            if not chunk:
                raise IkeError("the IKE daemon closed the connection")
            data += chunk
        return bytes(data)

    def _left(self) -> float:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError
        return left


@contextmanager
def _conversation(uri: str) -> Iterator[_Conversation]:
    from vici.exception import DeserializationException  # noqa: PLC0415 - --help stays quick

    scheme, _, path = uri.partition("://")
    if scheme != "unix" or not path.startswith("/"):
        raise IkeError(f"{uri[:80]!r} is no vici socket: expected unix:///path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(LIMIT_S)
        sock.connect(path)
        try:
            yield _Conversation(sock)
        except (DeserializationException, struct.error) as error:
            raise IkeError(f"the IKE daemon sent a damaged message: {error}") from error


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else ""


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _readable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_readable(one) for one in value]
    return _text(value)
