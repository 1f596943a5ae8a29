# SPDX-License-Identifier: Apache-2.0
"""Edge: what is kept on this chassis' disk, and what an earlier run has left there.

- ``reqids``: a journal of the reqids of connections, so that a new pair costs one line; with an
  unchanged reqid, a restarted IKE daemon continues with the kernel's SAs.
- ``made-from``: what the existing SAs were made from, so that a credential that was replaced while
  this program was down is noticed.
- ``key-ids``: the private keys that the IKE daemon was given, in order to remove them again.
- ``boot-guard.json``: what to deny before the southbound can be read.
- ``policy.json``: the policy that was last obeyed, so that no older one weakens it.

Nothing here keeps the program from running. What cannot be read counts as missing, except for the
boot guard: a damaged one denies everything. What cannot be written is a problem, and is tried
again: journals are retried here from time to time, everything else by whoever wants it stored.
"""

from __future__ import annotations

import json
from collections.abc import Container
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol

from ovn_ipsec.errors import EdgeError, InputError
from ovn_ipsec.model.policy import ClusterPolicy
from ovn_ipsec.pki import files
from ovn_ipsec.pki.errors import PkiError
from ovn_ipsec.schema import sb_global

from .plan.boot import BootGuard
from .plan.connection import ConnName
from .plan.guard import DENY_ALL, ClearFlow, Direction, GuardState, PeerPort

FIRST_REQID = 100_000
"""Above those that strongSwan counts up from 1 for other connections, below 2^32."""

NEAR = 1_000_000
"""No journal is this many reqids behind the kernel."""

RETRY_S = 1.0
"""Until a journal that could not be written is tried again."""

SLACK = 1000
"""Outdated lines that a journal may have before it is rewritten."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class State(Protocol):
    """What the controller remembers across restarts and reboots."""

    @property
    def problem(self) -> str:
        """What could not be read or written; empty if nothing."""

    def open(self) -> None:
        """Read what is stored."""

    def retry(self, now: float) -> None:
        """Write what could not be written, if it is time to; monotonic seconds."""

    def wake_at(self) -> float | None:
        """When to try that again, monotonic seconds; None: everything is written."""

    def reqids(self, name: ConnName) -> tuple[int, int]:
        """The reqids of the children out and in, the same until the name is released."""

    def release(self, name: ConnName) -> None:
        """Forget a connection that no longer exists."""

    def own_reqids(self) -> Container[int]:
        """Every reqid that was ever given out and may be in the kernel."""

    def note_used(self, reqid: int) -> None:
        """Note a reqid that the kernel has: it is not given out again."""

    def mark(self, name: ConnName) -> str:
        """The mark of what all SAs of a pair were last made from; empty: unknown."""

    def keep_mark(self, name: ConnName, mark: str) -> None:
        """Remember that mark."""

    def key_ids(self) -> frozenset[str]:
        """Ids of the private keys that the IKE daemon was given."""

    def keep_key_ids(self, ids: frozenset[str]) -> None:
        """Remember them.

        Raises:
            EdgeError: They cannot be written.
        """

    def boot_guard(self) -> BootGuard | None:
        """What to deny from the first packet on; None: nothing was ever enforced."""

    def keep_boot_guard(self, kept: BootGuard | None) -> bool:
        """Store what to deny after a reboot; None: nothing. Returns whether it is stored."""

    def policy(self) -> ClusterPolicy | None:
        """The last policy that was obeyed; None: none, or it cannot be read."""

    def keep_policy(self, policy: ClusterPolicy | None) -> bool:
        """Store the policy; returns whether it is stored."""


class StateDir:
    """A directory that belongs to this program alone, mode 0700."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reqids: dict[str, int] = {}
        self._next = FIRST_REQID
        self._marks: dict[str, str] = {}
        self._lines = {"reqids": 0, "made-from": 0}
        self._torn: set[str] = set()
        """Journals that lack a line or have an incomplete one: they have to be rewritten."""
        self._failed: set[str] = set()
        """Files that could not be replaced; they still have their old content."""
        self._retry_at = float("-inf")
        self._problems: dict[str, str] = {}

    @property
    def path(self) -> Path:
        """The directory."""
        return self._path

    @property
    def problem(self) -> str:
        """What could not be read or written; empty if nothing."""
        return "; ".join(f"{self._path / name}: {why}" for name, why in self._problems.items())

    def open(self) -> None:
        """Create the directory and read the journals; lines that make no sense are skipped."""
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            self._problems["."] = _cause(error)
        for line in self._read("made-from").splitlines():
            mark, _, name = line.partition(" ")
            if mark:
                self._marks[name] = mark
            else:
                self._marks.pop(name, None)
            self._lines["made-from"] += 1
        for line in self._read("reqids").splitlines():
            self._lines["reqids"] += 1
            number, _, name = line.partition(" ")
            if name and number.isascii() and number.isdigit() and len(number) <= len(str(2**32)):
                self._take_in(name, int(number))

    def retry(self, now: float) -> None:
        """Write what could not be written, if it is time to; monotonic seconds.

        Journals that lack a line are rewritten. A file that could not be replaced is rewritten with
        its old content: whoever still wants another one stores it again, and possibly nobody does.
        """
        if not (self._torn or self._failed) or now < self._retry_at:
            return
        self._retry_at = now + RETRY_S
        for name in sorted(self._torn):
            self._rewrite(name)
        for name in sorted(self._failed - self._torn):
            self._write_again(name)

    def _write_again(self, name: str) -> None:
        try:
            text = (self._path / name).read_text("ascii", "replace")
        except OSError:
            return
        self._replace(name, text)

    def wake_at(self) -> float | None:
        """When to try that again, monotonic seconds; None: everything is written."""
        return self._retry_at if self._torn or self._failed else None

    def _take_in(self, name: str, number: int) -> None:
        if not FIRST_REQID <= number < _REQID_END:
            return
        self._next = max(self._next, number + 2)
        if name == _NOBODY:
            return
        if name.startswith(_RELEASED):
            self._reqids.pop(name.removeprefix(_RELEASED), None)
        else:
            self._reqids.setdefault(name, number)

    def note_used(self, reqid: int) -> None:
        """Note a reqid that the kernel has: it is not given out, though no line names it.

        One that is far from ours belongs to another program.
        """
        if FIRST_REQID <= reqid < min(_REQID_END, self._next + NEAR):
            self._next = max(self._next, reqid + 2 - reqid % 2)

    def _read(self, name: str) -> str:
        try:
            text = (self._path / name).read_text("ascii", "replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            self._problems[name] = _cause(error)
            return ""
        if name in self._lines and text and not text.endswith("\n"):
            self._torn.add(name)
        return text

    # --- reqids ----------------------------------------------------------------------------------

    def reqids(self, name: ConnName) -> tuple[int, int]:
        """The reqids of the children out and in, the same until the name is released."""
        first = self._reqids.get(name)
        if first is None:
            first = self._next
            self._reqids[name] = first
            self._next = first + 2
            self._append("reqids", f"{first} {name}\n")
        return first, first + 1

    def release(self, name: ConnName) -> None:
        """Forget a connection that no longer exists; its reqids are not given out again."""
        first = self._reqids.pop(name, None)
        if first is None:
            return
        if self._marks.pop(name, None) is not None:
            self._append("made-from", f" {name}\n")
        self._append("reqids", f"{first} {_RELEASED}{name}\n")

    def own_reqids(self) -> Container[int]:
        """Every reqid that was ever given out and may be in the kernel."""
        return range(FIRST_REQID, self._next)

    # --- marks and keys --------------------------------------------------------------------------

    def mark(self, name: ConnName) -> str:
        """The mark of what all SAs of a pair were last made from; empty: unknown."""
        return self._marks.get(name, "")

    def keep_mark(self, name: ConnName, mark: str) -> None:
        """Remember it across restarts; nothing is written if it is unchanged."""
        if self._marks.get(name) == mark:
            return
        self._marks[name] = mark
        self._append("made-from", f"{mark} {name}\n")

    def key_ids(self) -> frozenset[str]:
        """Ids of the private keys that the IKE daemon was given; invalid content counts as none."""
        return frozenset(self._read("key-ids").split())

    def keep_key_ids(self, ids: frozenset[str]) -> None:
        """Remember them across restarts.

        Raises:
            EdgeError: They cannot be written.
        """
        if not self._replace("key-ids", "".join(f"{one}\n" for one in sorted(ids))):
            raise EdgeError(f"{self._path / 'key-ids'}: {self._problems['key-ids']}")

    # --- what was in force -----------------------------------------------------------------------

    def boot_guard(self) -> BootGuard | None:
        """What to deny from the first packet on; None: nothing was ever enforced."""
        try:
            text = (self._path / _BOOT).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            return _denying(_cause(error))
        try:
            return _parse_boot(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return _denying(f"cannot be read ({error!r}"[:200] + ")")

    def keep_boot_guard(self, kept: BootGuard | None) -> bool:
        """Store what to deny after a reboot; None: nothing. Returns whether it is stored."""
        return self._keep(_BOOT, None if kept is None else _format_boot(kept))

    def policy(self) -> ClusterPolicy | None:
        """The last policy that was obeyed; None: none, or it cannot be read."""
        text = self._read(_POLICY)
        if not text:
            return None
        try:
            return sb_global.parse_policy({str(k): str(v) for k, v in json.loads(text).items()})
        except (ValueError, AttributeError) as error:
            self._problems[_POLICY] = f"cannot be read ({error!r}"[:200] + ")"
        except InputError as error:
            self._problems[_POLICY] = error.diagnostics()
        return None

    def keep_policy(self, policy: ClusterPolicy | None) -> bool:
        """Store the policy; returns whether it is stored."""
        text = None if policy is None else json.dumps(sb_global.format_policy(policy))
        return self._keep(_POLICY, text)

    # --- files -----------------------------------------------------------------------------------

    def _append(self, name: str, line: str) -> None:
        """Add a line to a journal, or rewrite it if most of it is outdated."""
        known = self._reqids if name == "reqids" else self._marks
        self._lines[name] += 1
        if name in self._torn or self._lines[name] > 2 * len(known) + SLACK:
            self._rewrite(name)
            return
        try:
            with (self._path / name).open("a", encoding="ascii") as file:
                file.write(line)
        except OSError as error:
            self._problems[name] = _cause(error)
            self._torn.add(name)

    def _rewrite(self, name: str) -> None:
        known = self._reqids if name == "reqids" else self._marks
        if self._replace(name, self._journal(name)):
            self._lines[name] = len(known) + 1
            self._torn.discard(name)

    def _journal(self, name: str) -> str:
        if name == "reqids":
            lines = [f"{number} {conn}\n" for conn, number in self._reqids.items()]
            return "".join([*lines, f"{self._next - 2} {_NOBODY}\n"])
        return "".join(f"{mark} {conn}\n" for conn, mark in self._marks.items())

    def _keep(self, name: str, text: str | None) -> bool:
        if text is not None:
            return self._replace(name, text)
        try:
            (self._path / name).unlink(missing_ok=True)
        except OSError as error:
            return self._fails(name, _cause(error))
        self._failed.discard(name)
        self._problems.pop(name, None)
        return True

    def _fails(self, name: str, why: str) -> bool:
        """Note that a file does not have the content that it should."""
        self._failed.add(name)
        self._problems[name] = why
        return False

    def _replace(self, name: str, text: str) -> bool:
        try:
            files.write(self._path / name, text.encode("ascii", "replace"), files.PRIVATE)
        except PkiError as error:
            return self._fails(name, error.diagnostics())
        self._failed.discard(name)
        self._problems.pop(name, None)
        self._problems.pop(".", None)
        return True


_REQID_END = 2**32 - 2
_BOOT, _POLICY = "boot-guard.json", "policy.json"
_RELEASED = "-"
"""Before a name in the journal of reqids: it was released. No connection name begins with it."""
_NOBODY = "."
"""In place of a name in the journal of reqids: the highest number that was ever given out."""


def _cause(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _denying(fault: str) -> BootGuard:
    return BootGuard(guard=DENY_ALL, fault=fault)


def _format_boot(kept: BootGuard) -> str:
    guard = kept.guard
    return json.dumps(
        {
            "ports": sorted(guard.ports),
            "local": sorted(map(str, guard.local)),
            "peer_ports": sorted([str(p.local), str(p.remote), p.port] for p in guard.peer_ports),
            "latched": sorted([str(f.local), str(f.remote), f.port] for f in kept.latched),
            "boot": kept.boot,
        }
    )


def _parse_boot(stored: Any) -> BootGuard:
    guard = GuardState(
        ports=DENY_ALL.ports | frozenset(map(int, stored["ports"])),
        local=frozenset(map(ip_address, stored["local"])),
        may_clear=frozenset(),
        peer_ports=frozenset(
            PeerPort(local=ip_address(local), remote=ip_address(remote), port=int(port))
            for local, remote, port in stored.get("peer_ports", ())
        ),
    )
    latched = frozenset(
        ClearFlow(
            direction=Direction.OUT,
            local=ip_address(local),
            remote=ip_address(remote),
            port=int(port),
        )
        for local, remote, port in stored.get("latched", ())
    )
    return BootGuard(guard=guard, latched=latched, boot=str(stored.get("boot", "")))


def boot_id() -> str:
    """Identify the current boot of this machine; empty if the kernel does not tell."""
    try:
        return BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
