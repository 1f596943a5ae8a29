# SPDX-License-Identifier: Apache-2.0
"""Edge: what is kept on this chassis' disk: reqids, marks of SAs, ids of keys, the boot guard.

The reqids are a journal that only grows, one line for each pair, so that a new pair costs one
line; with a reqid that stays the same a restarted IKE daemon goes on with the kernel's SAs.
The marks say what the SAs that are up were made from, so that a credential that was replaced while
this program was down is not forgotten; the ids of keys, what to take out of the IKE daemon.
The boot guard says what to deny before the southbound can be asked.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path

from ovn_ipsec.errors import EdgeError
from ovn_ipsec.pki import files
from ovn_ipsec.pki.errors import PkiError

from .plan.guard import GuardState
from .plan.ike import ConnName

FIRST_REQID = 100_000
"""Above what strongSwan counts up from 1 for connections of others, below 2^32."""

MARKS_SLACK = 1000
"""Outdated lines that the journal of marks may have before it is written anew."""


class StateDir:
    """A directory of this program's own, mode 0700."""

    def __init__(self, path: Path) -> None:
        """Store the path."""
        self._path = path
        self._reqids: dict[str, int] = {}
        self._next = FIRST_REQID
        self._marks: dict[str, str] = {}
        self._lines = 0

    def open(self) -> None:
        """Create the directory and read the journal.

        Raises:
            EdgeError: It cannot be created or read.
        """
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            text = self._journal.read_text("ascii") if self._journal.exists() else ""
            marks = self._made.read_text("ascii", "replace") if self._made.exists() else ""
        except (OSError, ValueError) as error:
            raise EdgeError(f"{self._path}: {error}") from error
        for line in marks.splitlines():
            mark, _, name = line.partition(" ")
            self._marks[name] = mark
            self._lines += 1
        for line in text.splitlines():
            number, _, name = line.partition(" ")
            if name and number.isdigit() and FIRST_REQID <= int(number) < 2**32 - 2:
                self._reqids.setdefault(name, int(number))
                self._next = max(self._next, int(number) + 2)

    @property
    def _journal(self) -> Path:
        return self._path / "reqids"

    @property
    def _made(self) -> Path:
        return self._path / "made-from"

    @property
    def _key_ids(self) -> Path:
        return self._path / "key-ids"

    @property
    def path(self) -> Path:
        """The directory."""
        return self._path

    @property
    def _boot(self) -> Path:
        return self._path / "boot-guard.json"

    def reqids(self, name: ConnName) -> tuple[int, int]:
        """The reqids of the children out and in, the same for ever for one name."""
        first = self._reqids.get(name)
        if first is None:
            first = self._next
            self._append(self._journal, f"{first} {name}\n")
            self._reqids[name] = first
            self._next = first + 2
        return first, first + 1

    def all_reqids(self) -> frozenset[int]:
        """Every reqid that was ever given out."""
        return frozenset(reqid for first in self._reqids.values() for reqid in (first, first + 1))

    def mark(self, name: ConnName) -> str:
        """What the SAs of a pair were made from, when they were last all of one; empty: unknown."""
        return self._marks.get(name, "")

    def keep_mark(self, name: ConnName, mark: str) -> None:
        """Remember it over restarts; nothing is written when it is the same."""
        if self._marks.get(name) == mark:
            return
        self._marks[name] = mark
        self._lines += 1
        if self._lines <= 2 * len(self._marks) + MARKS_SLACK:
            self._append(self._made, f"{mark} {name}\n")
            return
        self._replace(self._made, "".join(f"{m} {n}\n" for n, m in self._marks.items()))
        self._lines = len(self._marks)

    def key_ids(self) -> frozenset[str]:
        """Ids of the private keys that the IKE daemon was given; junk counts as none."""
        try:
            return frozenset(self._key_ids.read_text("ascii", "replace").split())
        except OSError:
            return frozenset()

    def keep_key_ids(self, ids: frozenset[str]) -> None:
        """Remember them over restarts."""
        self._replace(self._key_ids, "".join(f"{one}\n" for one in sorted(ids)))

    @staticmethod
    def _append(path: Path, line: str) -> None:
        try:
            with path.open("a", encoding="ascii") as file:
                file.write(line)
        except OSError as error:
            raise EdgeError(f"{path}: {error}") from error

    @staticmethod
    def _replace(path: Path, text: str) -> None:
        try:
            files.write(path, text.encode("ascii"), files.PRIVATE)
        except PkiError as error:
            raise EdgeError(error.diagnostics()) from error

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
        except OSError as error:
            raise EdgeError(f"{self._boot}: {error}") from error
        stored = {"ports": sorted(guard.ports), "local": sorted(map(str, guard.local))}
        self._replace(self._boot, json.dumps(stored))
