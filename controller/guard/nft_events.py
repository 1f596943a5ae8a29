# SPDX-License-Identifier: Apache-2.0
"""Wakes the loop when someone else changes the guard's nftables table.

Edge. Input: multicast messages of nf_tables. Output: whether our table may have changed.

The messages of one transaction end with NEWGEN, which names the task that made it.

Source: include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h.
"""

import os
import struct

from ..xfrm.netlink import EventSocket, Message, Protocol
from .nft_rules import TABLE

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
_FAMILY = struct.Struct("=BBH")
"""struct nfgenmsg."""
_ATTRIBUTE = struct.Struct("=HH")
_INET = b"\x01"
"""NFPROTO_INET, as struct nfgenmsg begins with it."""
_TYPE_MASK = 0x3FFF


class NftEvents(EventSocket):
    """Subscription to changes of the ruleset."""

    def __init__(self, *, own_tasks: frozenset[int] = frozenset()) -> None:
        """Choose the group; ``open`` subscribes.

        Args:
            own_tasks: thread ids whose changes are not news, as the initial PID namespace
                numbers them; inside a PID namespace they do not match and our own changes
                count as news. Empty means the calling process.
        """
        super().__init__(Protocol.NETFILTER, _GROUP)
        self._own_tasks = own_tasks or frozenset({os.getpid()})
        self._touched = False

    def drain(self) -> bool:
        """Read all waiting events, without blocking.

        Returns:
            Whether someone else may have changed our table; true if events were lost or the
            socket broke, false while it is closed.
        """
        changed = False
        for message in self._receive():
            if message is None:
                changed, self._touched = True, False
            else:
                changed |= self._ends(message)
        return changed

    def _ends(self, message: Message) -> bool:
        """Whether this ends a transaction of another process that touched our table."""
        if message.kind == _SUBSYSTEM << 8 | _NEW_GENERATION:
            process = _attribute(message.payload, _PROCESS_ID)
            own = process is not None and int.from_bytes(process) in self._own_tasks
            changed, self._touched = self._touched and not own, False
            return changed
        if message.kind >> 8 == _SUBSYSTEM and message.payload[:1] == _INET:
            name = _attribute(message.payload, _TABLE_NAME) or b""
            self._touched |= name.rstrip(b"\0") == TABLE.encode()
        return False


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
