# SPDX-License-Identifier: Apache-2.0
"""Wakes the loop when somebody else changes the guard's nftables table.

Edge. Input: multicast messages of nf_tables. Output: whether our table may have changed.

The messages of one transaction end with NEWGEN, which names the task that made it.

Source: include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h.
"""

import errno
import os
import socket
import struct
from typing import Self

from ovn_ipsec.errors import NftError

from .nft_table import TABLE

_NETLINK_NETFILTER = 12
_GROUP = 1 << 6
"""NFNLGRP_NFTABLES 7, as a mask."""
_SUBSYSTEM = 10
"""NFNL_SUBSYS_NFTABLES."""
_NEW_GENERATION = 15
"""NFT_MSG_NEWGEN."""
_PROCESS_ID = 2
"""NFTA_GEN_PROC_PID."""
_TABLE_NAME = 1
"""NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_OBJ_TABLE and
NFTA_SET_ELEM_LIST_TABLE are all attribute 1."""
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct("=BBH")
"""struct nfgenmsg."""
_ATTRIBUTE = struct.Struct("=HH")
_NFPROTO_INET = 1
_TYPE_MASK = 0x3FFF
_RECEIVE_BYTES = 1 << 18
_BUFFER_BYTES = 1 << 22


class NftEvents:
    """Subscription to changes of the ruleset."""

    def __init__(self, *, own_tasks: frozenset[int] = frozenset()) -> None:
        """Store nothing else; ``open`` subscribes.

        Args:
            own_tasks: thread ids whose changes are not news, as the initial PID namespace
                numbers them; inside a PID namespace they do not match and our own changes
                count as news. Empty means the calling process.
        """
        self._own_tasks = own_tasks or frozenset({os.getpid()})
        self._socket: socket.socket | None = None
        self._touched = False

    def open(self) -> Self:
        """Subscribe.

        Returns:
            Itself.

        Raises:
            NftError: the kernel refused.
        """
        if self._socket is not None:
            return self
        try:
            opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        except OSError as error:
            raise NftError(f"cannot open NETLINK_NETFILTER: {error}") from error
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            opened.bind((0, _GROUP))
        except OSError as error:
            opened.close()
            raise NftError(f"cannot subscribe to nftables events: {error}") from error
        opened.setblocking(False)
        self._socket = opened
        return self

    def close(self) -> None:
        """Unsubscribe."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def fileno(self) -> int:
        """Give the descriptor to poll for reading.

        Returns:
            The descriptor, -1 when closed.
        """
        return -1 if self._socket is None else self._socket.fileno()

    def drain(self) -> bool:
        """Read all events that wait, without blocking.

        Returns:
            Whether somebody else may have changed our table; true when events were lost.
        """
        changed = False
        while self._socket is not None:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return changed
            except OSError as error:
                changed = True
                self._touched = False
                if error.errno != errno.ENOBUFS:
                    self.close()
                continue
            changed |= self._scan(data)
        return True

    def _scan(self, data: bytes) -> bool:
        changed = False
        offset = 0
        while offset + _HEADER.size + _FAMILY.size <= len(data):
            length, kind, *_ = _HEADER.unpack_from(data, offset)
            if length < _HEADER.size + _FAMILY.size:
                return True
            body = data[offset + _HEADER.size : offset + length]
            if kind == _SUBSYSTEM << 8 | _NEW_GENERATION:
                process = _attribute(body, _PROCESS_ID)
                own = process is not None and int.from_bytes(process) in self._own_tasks
                changed |= self._touched and not own
                self._touched = False
            elif kind >> 8 == _SUBSYSTEM and body[0] == _NFPROTO_INET:
                name = _attribute(body, _TABLE_NAME) or b""
                self._touched |= name.rstrip(b"\0") == TABLE.encode()
            offset += (length + 3) & ~3
        return changed


def _attribute(body: bytes, wanted: int) -> bytes | None:
    offset = _FAMILY.size
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size:
            return None
        if kind & _TYPE_MASK == wanted:
            return body[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return None
