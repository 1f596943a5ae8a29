# SPDX-License-Identifier: Apache-2.0
"""Edge: this process among others: is it running, can others read it, and systemd."""

from __future__ import annotations

import atexit
import ctypes
import errno
import fcntl
import os
import resource
import socket
import struct
from contextlib import suppress
from pathlib import Path

from .clock import Clock
from .errors import IPsecError
from .model.text import printable

STATUS_EVERY_S = 1.0
"""Between two status lines: what they are made of may change as often as others like."""
STATUS_MAX = 300
_PR_SET_DUMPABLE = 4
_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of fcntl(2) on 64 bits: l_type, l_whence, l_start, l_len, l_pid."""


class AlreadyRunningError(IPsecError):
    """The same program runs already: the one thing for which a daemon does not start."""


def notify_systemd(state: str) -> None:
    """Tell systemd of a state (sd_notify(3)); nothing happens outside a Type=notify unit."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    target = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), target)
    except OSError:
        return  # systemd ends and starts a unit that does not speak; a daemon need not do so itself


class StatusLine:
    """What systemd shows of this process beside its state: sent when it changes, not too often."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._text = self._sent = ""
        self._may_send_at = float("-inf")

    def put(self, text: str) -> None:
        """Take the text to show: it is made one printable line of bounded length, and sent."""
        self._text = printable(text, STATUS_MAX)
        self.send()

    def send(self) -> None:
        """Send what is new, if it is time to."""
        now = self._clock.monotonic()
        if self._text == self._sent or now < self._may_send_at:
            return
        self._sent, self._may_send_at = self._text, now + STATUS_EVERY_S
        notify_systemd(f"STATUS={self._text}")

    def wake_at(self) -> float:
        """When there is something to send, monotonic seconds; infinity: nothing."""
        return float("inf") if self._text == self._sent else self._may_send_at


def watchdog_interval_s() -> float:
    """How often systemd is to hear that this process lives; infinity: it does not ask.

    Source:
        sd_watchdog_enabled(3): half of ``WATCHDOG_USEC``, if ``WATCHDOG_PID`` is ours or not there.
    """
    try:
        asked_us = int(os.environ.get("WATCHDOG_USEC", "0"))
        named = int(os.environ.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return float("inf")
    return asked_us / 2e6 if asked_us > 0 and named == os.getpid() else float("inf")


def leave_no_core() -> None:
    """See to it that this process is never dumped, nor read by another of its user: it has keys.

    A limit alone would not hold where cores go to a program (core(5)).

    Raises:
        IPsecError: The kernel refuses.

    Source:
        linux/prctl.h, PR_SET_DUMPABLE; prctl(2).
    """
    try:
        refused = ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError, AttributeError) as error:
        raise IPsecError(f"memory of this process may be dumped: {error}") from None
    if refused:
        reason = os.strerror(ctypes.get_errno())
        raise IPsecError(f"memory of this process may be dumped: PR_SET_DUMPABLE: {reason}")


class Pidfile:
    """A locked pidfile: the lock, not the number in it, says that the program runs.

    ovs-appctl opens the file for writing and looks for our lock, so only our own user needs to open
    it. Others must not: a lock for reading, which needs no more than that, would keep ours off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def take(self) -> None:
        """Create, lock and fill the file; again after that has failed.

        Raises:
            AlreadyRunningError: A live process holds it as we would.
            IPsecError: It cannot be made, or somebody holds it in another way.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self._open()
            os.fchmod(file, 0o600)
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise IPsecError(f"pidfile {self.path}: {reason}") from None

    def drop(self) -> None:
        """Remove the file."""
        if self._file is None:
            return
        with suppress(OSError):  # what is left has no lock, so it stands for nobody
            self.path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = None

    def _open(self) -> int:
        if self._file is not None:
            return self._file
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        try:
            self._lock(file)
        except (OSError, IPsecError):
            os.close(file)
            raise
        self._file = file
        atexit.register(self.drop)
        return file

    def _lock(self, file: int) -> None:
        """Lock the file, or tell who has the lock (fcntl(2), F_GETLK)."""
        kind, pid = fcntl.F_UNLCK, 0
        for _ in range(3):  # a holder may end between the two questions
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            else:
                return
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, asked))
            if kind != fcntl.F_UNLCK:
                break
        if kind == fcntl.F_RDLCK:
            raise IPsecError(f"pidfile {self.path}: held by process {pid}, which is not ours")
        said = os.pread(file, 32, 0).decode("ascii", "replace").strip()
        raise AlreadyRunningError(f"{self.path}: already running as pid {said or pid}")
