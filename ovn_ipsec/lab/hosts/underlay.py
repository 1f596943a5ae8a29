# SPDX-License-Identifier: Apache-2.0
"""What went over the wire between the hosts, as QEMU recorded it outside both.

Edge (files). Every card has a capture of all that it sent and received, from the moment on at
which its host was powered on. A frame is counted where it was sent.

Source: the format is that of pcap-savefile(5), written by QEMU's filter-dump.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ovn_ipsec.lab.witness.wire import CLEAR_PORTS, Kind, classify

from .recipe import HOSTS, HostName

_HEADER = struct.calcsize("=IHHiIII")
_RECORD = struct.Struct("=IIII")


@dataclass(frozen=True, slots=True)
class Seen:
    """A packet of the overlay, or one that protects it."""

    at: float
    """Seconds since the epoch."""
    kind: Kind
    sender: str
    """Name of the host whose card sent it."""
    source: str
    destination: str


Mark = dict[Path, int]
"""Where the last whole record of each capture ended at a moment."""


def capture_of(folder: Path, host: HostName, life: int) -> Path:
    """Return the name of the capture of a host since it was powered on for the n-th time."""
    return folder / f"wire-{host.name}-{life}.pcap"


class Underlay:
    """The captures in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mark(self) -> Mark:
        """Return this moment: what is on the wire from now on is behind it."""
        ends = {}
        for path in self._folder.glob("wire-*.pcap"):
            ends[path] = _HEADER
            for record in _records(path.read_bytes(), _HEADER):
                ends[path] = record.end
        return ends

    def seen(self, since: Mark | None = None) -> list[Seen]:
        """Return what was sent since a moment, or ever, in the order of time."""
        found = [
            one
            for host in HOSTS
            for path in self._folder.glob(f"wire-{host.name}-*.pcap")
            for one in _sent(path, host, (since or {}).get(path, 0))
        ]
        return sorted(found, key=lambda one: one.at)

    def counts(self, since: Mark | None = None) -> Counter[Kind]:
        """Return how many packets of each kind were sent since a moment."""
        return Counter(one.kind for one in self.seen(since))


def _sent(path: Path, host: HostName, start: int) -> Iterator[Seen]:
    mac = bytes.fromhex(host.mac.replace(":", ""))
    ports = frozenset(CLEAR_PORTS)
    for record in _records(path.read_bytes(), max(start, _HEADER)):
        frame = record.frame
        if frame[6:12] == mac and (what := classify(frame, ports)) is not None:
            kind, source, destination, _ = what
            yield Seen(record.at, kind, host.name, source, destination)


class _Record(NamedTuple):
    at: float
    frame: bytes
    end: int


def _records(content: bytes, start: int) -> Iterator[_Record]:
    """Yield whole records: the last one may yet be written."""
    while start + _RECORD.size <= len(content):
        seconds, micro, length, _ = _RECORD.unpack_from(content, start)
        begin, end = start + _RECORD.size, start + _RECORD.size + length
        if end > len(content):
            return
        yield _Record(seconds + micro / 1e6, content[begin:end], end)
        start = end
