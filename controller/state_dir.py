# SPDX-License-Identifier: Apache-2.0
"""Edge: the two things kept on this chassis' disk: reqids, and what holds after a reboot.

The reqids are a journal that only grows, one line for each pair, so that a new pair costs one
line; with a reqid that stays the same a restarted IKE daemon goes on with the kernel's SAs.
The boot guard says what to deny before the southbound can be asked.
"""

from __future__ import annotations

import json
import os
from ipaddress import ip_address
from pathlib import Path

from ovn_ipsec.errors import EdgeError

from .plan.guard import GuardState
from .plan.ike import ConnName

FIRST_REQID = 100_000
"""Above what strongSwan counts up from 1 for connections of others, below 2^32."""


class StateDir:
    """A directory of this program's own, mode 0700."""

    def __init__(self, path: Path) -> None:
        """Store the path."""
        self._path = path
        self._reqids: dict[str, int] = {}
        self._next = FIRST_REQID

    def open(self) -> None:
        """Create the directory and read the journal.

        Raises:
            EdgeError: It cannot be created or read.
        """
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            text = self._journal.read_text("ascii") if self._journal.exists() else ""
        except (OSError, ValueError) as error:
            raise EdgeError(f"{self._path}: {error}") from error
        for line in text.splitlines():
            number, _, name = line.partition(" ")
            if name and number.isdigit() and FIRST_REQID <= int(number) < 2**32 - 2:
                self._reqids.setdefault(name, int(number))
                self._next = max(self._next, int(number) + 2)

    @property
    def _journal(self) -> Path:
        return self._path / "reqids"

    @property
    def _boot(self) -> Path:
        return self._path / "boot-guard.json"

    def reqids(self, name: ConnName) -> tuple[int, int]:
        """The reqids of the children out and in, the same for ever for one name."""
        first = self._reqids.get(name)
        if first is None:
            first = self._next
            self._append(f"{first} {name}\n")
            self._reqids[name] = first
            self._next = first + 2
        return first, first + 1

    def all_reqids(self) -> frozenset[int]:
        """Every reqid that was ever given out."""
        return frozenset(reqid for first in self._reqids.values() for reqid in (first, first + 1))

    def _append(self, line: str) -> None:
        try:
            with self._journal.open("a", encoding="ascii") as file:
                file.write(line)
        except OSError as error:
            raise EdgeError(f"{self._journal}: {error}") from error

    def boot_guard(self) -> GuardState | None:
        """What to deny from the first packet on; None when nothing was enforced."""
        try:
            stored = json.loads(self._boot.read_text("ascii"))
            return GuardState(
                ports=frozenset(map(int, stored["ports"])),
                local=frozenset(map(ip_address, stored["local"])),
                may_clear=frozenset(),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EdgeError(f"{self._boot}: {error}") from error

    def keep_boot_guard(self, guard: GuardState | None) -> None:
        """Store what to deny after a reboot, or that nothing is to be."""
        try:
            if guard is None:
                self._boot.unlink(missing_ok=True)
                return
            stored = {"ports": sorted(guard.ports), "local": sorted(map(str, guard.local))}
            new = self._boot.with_suffix(".new")
            with new.open("w", encoding="ascii") as file:
                json.dump(stored, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._boot)
        except OSError as error:
            raise EdgeError(f"{self._boot}: {error}") from error
