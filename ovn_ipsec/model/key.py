# SPDX-License-Identifier: Apache-2.0
"""Pure: the documentation of a database key; the reference pages are made from these."""

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
    PORT_MAKER = "the program that makes the tunnel ports"
    """ovn-controller or ovn-ipsec-controller: Open_vSwitch.other_config:ovn-ipsec-tunnels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a column, or a column that is not a map."""

    column: str
    """`NB_Global.options`: table and column."""
    name: str
    """The key; the reader fills in what is in `<>`. Empty: the column is not a map."""
    meaning: str
    """One or a few sentences, with code in backquotes and no other markup, for the man pages."""
    values: str
    """The allowed values."""
    default: str
    """What applies if it is not set."""
    example: str
    """A value that the parser accepts."""
    writer: Party
    readers: tuple[Party, ...]
    """Programs that act on it or show it."""
    page: str = ""
    """A page with more about it, relative to docs/."""

    @property
    def path(self) -> str:
        """Column and key, as ovs-vsctl(8) writes them: `options:ovn-ipsec-mode`."""
        column = self.column.partition(".")[2]
        return f"{column}:{self.name}" if self.name else column


def one_of(words: Iterable[str]) -> str:
    """List the words that may stand in a value."""
    *first, last = (f"`{word}`" for word in words)
    return f"{', '.join(first)} or {last}" if first else last
