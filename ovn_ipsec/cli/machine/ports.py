# SPDX-License-Identifier: Apache-2.0
"""Edge: who has a UDP port of this network namespace.

Source: proc(5), /proc/net/udp: the port in hex behind the address, the inode in the tenth column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from .values import Holder

TABLES = ("udp", "udp6")


def holders(ports: Iterable[int]) -> tuple[Holder, ...]:
    """Look who has UDP ports.

    Args:
        ports: Those to look at.

    Returns:
        Each program once for each port, sorted; a port that nobody has is not among them.

    Raises:
        OSError: The kernel's table cannot be read.
    """
    wanted = frozenset(ports)
    inodes = {inode: port for port, inode in _sockets() if port in wanted}
    found: set[tuple[int, str, int]] = set()
    for pid, inode in _opened(frozenset(inodes)) if inodes else ():
        found.add((inodes.pop(inode, 0), _program(pid), pid))
    found |= {(port, "", 0) for port in inodes.values()}
    return tuple(
        Holder(port=port, program=program, pid=pid) for port, program, pid in sorted(found) if port
    )


def _sockets() -> Iterator[tuple[int, int]]:
    for table in TABLES:
        path = Path("/proc/thread-self/net") / table
        if table == "udp6" and not path.exists():
            return  # a kernel without IPv6
        for line in path.read_text(encoding="ascii").splitlines()[1:]:
            words = line.split()
            yield int(words[1].rpartition(":")[2], 16), int(words[9])


def _opened(inodes: frozenset[int]) -> Iterator[tuple[int, int]]:
    names = {f"socket:[{inode}]": inode for inode in inodes}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            for descriptor in (process / "fd").iterdir():
                inode = names.get(str(descriptor.readlink()))
                if inode is not None:
                    yield int(process.name), inode
        except OSError:
            continue  # it ended meanwhile, or is not for us to see


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
