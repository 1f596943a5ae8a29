# SPDX-License-Identifier: Apache-2.0
"""Pure: what people are told of a key of the databases; the reference pages are made of these."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Party(StrEnum):
    """Who writes or reads a key."""

    OPERATOR = "operator"
    NORTHD = "ovn-ipsec-northd"
    CONTROLLER = "ovn-ipsec-controller"
    COMMAND = "ovn-ipsec"
    OVN_NORTHD = "ovn-northd"
    OVN_CONTROLLER = "ovn-controller"
    OVN_IC = "ovn-ic"
    MONITOR = "ovs-monitor-ipsec"
    VSWITCHD = "ovs-vswitchd"
    PORT_MAKER = "whoever makes the tunnel ports"
    """ovn-controller or ovn-ipsec-controller: Open_vSwitch.other_config:ovn-ipsec-tunnels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a column, or a column that is no map."""

    column: str
    """`NB_Global.options`: table and column."""
    name: str
    """The key; what stands in `<>` is for the reader to fill in. Empty: the column is no map."""
    meaning: str
    """One or a few sentences. Code stands in backquotes; no other markup, as man pages have it."""
    values: str
    """What may stand there."""
    default: str
    """What holds without it."""
    example: str
    """A value that the parser takes."""
    writer: Party
    readers: tuple[Party, ...]
    """Programs that act on it or show it."""
    page: str = ""
    """Where there is more about it: a page, relative to docs/."""

    @property
    def path(self) -> str:
        """Column and key, as ovs-vsctl(8) writes them: `options:ovn-ipsec-mode`."""
        column = self.column.partition(".")[2]
        return f"{column}:{self.name}" if self.name else column


def one_of(words: Iterable[str]) -> str:
    """List the words that may stand in a value."""
    *first, last = (f"`{word}`" for word in words)
    return f"{', '.join(first)} or {last}" if first else last
