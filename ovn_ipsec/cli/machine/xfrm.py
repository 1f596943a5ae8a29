# SPDX-License-Identifier: Apache-2.0
"""Edge: the kernel's IPsec policies and SAs, never their keys.

The kernel sends keys along with an SA. They are in attributes behind the fixed part of a message,
and only that part is looked at here.

Source: include/uapi/linux/xfrm.h and netlink.h; the layouts of a 64-bit kernel, native byte order,
addresses, ports and SPIs in network order. The guard's marks: controller/guard/xfrm.py.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from time import monotonic

from ...errors import XfrmError
from ...model.chassis import IpAddress
from .values import Block, Way

LIMIT_S = 10.0
"""For a dump."""
GET_SA, GET_POLICY = 0x12, 0x15
"""XFRM_MSG_*."""
MARK, PRIORITY_BLOCK = 0x6F766E69, 2_000_006_081
"""By which policies of the guard are known."""
_NETLINK_XFRM = 6
_DUMP = 0x301
"""NLM_F_REQUEST, NLM_F_DUMP."""
_ERROR, _DONE, _INTERRUPTED = 2, 3, 0x10
"""NLMSG_ERROR, NLMSG_DONE, NLM_F_DUMP_INTR."""
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_SELECTOR = struct.Struct("=16s16s8sHBBB3xiI")
_PORTS = struct.Struct("!HHHH")
_POLICY = struct.Struct("=4Q4Q4QII4B4x")
_STATE = struct.Struct("=56x16s4sB3x16s96s12xIIHBBB7x")
_TEMPLATE = struct.Struct("=16s4sB3xHxx16sIBBBxIII")
_LIFETIME = struct.Struct("=4Q4Q4Q")
_TEMPLATES = 5
"""XFRMA_TMPL."""
_RECEIVE_BYTES = 1 << 18
_WAYS = ("in", "out", "fwd", "socket in", "socket out", "socket fwd")
_ACTIONS = ("allow", "block")
_MODES = ("transport", "tunnel", "route optimization", "in trigger", "beet", "iptfs")
_PROTOCOLS = {0: "any", 17: "udp", 50: "esp", 51: "ah", 108: "comp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is looked at of a policy."""

    way: str
    src: str
    dst: str
    proto: int
    ports: tuple[int, int, int, int]
    """dport and its mask, sport and its mask."""
    user: int
    priority: int
    action: str
    templates: tuple[str, ...]

    def line(self) -> str:
        """Say it in a line."""
        dport, dmask, sport, smask = self.ports
        words = [self.way, self.src, self.dst, "proto", _named(_PROTOCOLS, self.proto)]
        words += ["sport", str(sport) if smask else "any", "dport", str(dport) if dmask else "any"]
        words += ["priority", str(self.priority), self.action]
        words += ["of the guard"] if self.user == MARK else []
        return " ".join([*words, *self.templates])

    def block(self) -> Block | None:
        """What of the guard it is, where it is a block policy against whatever remote address."""
        way = next((way for way in Way if way.value == self.way), None)
        if way is None or (self.user, self.priority) != (MARK, PRIORITY_BLOCK):
            return None
        local, remote = (self.src, self.dst) if way is Way.OUT else (self.dst, self.src)
        if self.action != "block" or not remote.endswith("/0"):
            return None
        return Block(way=way, local=_ip(local.partition("/")[0]), port=self.ports[0])


def policies() -> list[Policy]:
    """Read the SPD of this network namespace.

    Raises:
        XfrmError: The kernel refused, or did not answer.
    """
    return [parse_policy(one) for one in _dump(GET_POLICY, _SELECTOR.size + 8)]


def states() -> list[str]:
    """Read the SAD: a line for each SA, without its keys.

    Raises:
        XfrmError: The kernel refused, or did not answer.
    """
    return [parse_state(one) for one in _dump(GET_SA, 24)]


def parse_policy(payload: bytes) -> Policy:
    """Read struct xfrm_userpolicy_info and its templates.

    Raises:
        struct.error: It is shorter.
    """
    dst, src, ports, family, dst_len, src_len, proto, _, user = _SELECTOR.unpack_from(payload)
    priority, _, way, action = _POLICY.unpack_from(payload, _SELECTOR.size)[12:16]
    body = payload[_SELECTOR.size + _POLICY.size :]
    templates = (
        _template(found[at : at + _TEMPLATE.size])
        for kind, found in _attributes(body)
        if kind == _TEMPLATES
        for at in range(0, len(found) - _TEMPLATE.size + 1, _TEMPLATE.size)
    )
    dport, dmask, sport, smask = _PORTS.unpack(ports)
    return Policy(
        way=_named(_WAYS, way),
        src=f"{_address(src, family)}/{src_len}",
        dst=f"{_address(dst, family)}/{dst_len}",
        proto=proto,
        ports=(dport, dmask, sport, smask),
        user=user,
        priority=priority,
        action=_named(_ACTIONS, action),
        templates=tuple(templates),
    )


def parse_state(payload: bytes) -> str:
    """Read struct xfrm_usersa_info, and nothing behind it, where the keys are.

    Raises:
        struct.error: It is shorter.
    """
    dst, spi, proto, src, life, _, reqid, family, mode, window, _ = _STATE.unpack_from(payload)
    octets, packets = _LIFETIME.unpack(life)[8:10]
    return (
        f"{_address(src, family)} {_address(dst, family)} proto {_named(_PROTOCOLS, proto)}"
        f" spi 0x{spi.hex()} reqid {reqid} {_named(_MODES, mode)} replay-window {window}"
        f" bytes {octets} packets {packets}"
    )


def _template(payload: bytes) -> str:
    dst, spi, proto, family, src, reqid, mode, *_ = _TEMPLATE.unpack(payload)
    return (
        f"tmpl {_address(src, family)} {_address(dst, family)} {_named(_PROTOCOLS, proto)}"
        f" spi 0x{spi.hex()} reqid {reqid} {_named(_MODES, mode)}"
    )


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def _dump(kind: int, size: int) -> list[bytes]:
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_XFRM) as sock:
            sock.bind((0, 0))
            sock.send(_HEADER.pack(_HEADER.size + size, kind, _DUMP, 1, 0) + bytes(size))
            return list(_answers(sock))
    except TimeoutError:
        raise XfrmError(f"the kernel did not answer within {LIMIT_S:g} s", errno.ETIME) from None
    except (OSError, struct.error) as error:
        number = getattr(error, "errno", 0) or 0
        said = os.strerror(number) if number else str(error)
        raise XfrmError(f"cannot read the kernel's IPsec tables: {said}", number) from error


def _answers(sock: socket.socket) -> Iterator[bytes]:
    until = monotonic() + LIMIT_S
    while True:
        sock.settimeout(max(0.001, until - monotonic()))
        data = sock.recv(_RECEIVE_BYTES)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, flags, _, _ = _HEADER.unpack_from(data, offset)
            payload = data[offset + _HEADER.size : offset + length]
            if flags & _INTERRUPTED:
                raise OSError(errno.EINTR, "the tables changed meanwhile")
            if kind == _ERROR:
                raise OSError(-struct.unpack_from("=i", payload)[0], "refused")
            if kind == _DONE:
                return
            yield payload
            offset += (max(length, _HEADER.size) + 3) & ~3


def _named(names: dict[int, str] | tuple[str, ...], number: int) -> str:
    if isinstance(names, tuple):
        return names[number] if number < len(names) else str(number)
    return names.get(number, str(number))


def _address(data: bytes, family: int) -> IpAddress:
    return IPv6Address(data) if family == socket.AF_INET6 else IPv4Address(data[:4])


def _ip(text: str) -> IpAddress:
    return IPv6Address(text) if ":" in text else IPv4Address(text)
