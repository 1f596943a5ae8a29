# SPDX-License-Identifier: Apache-2.0
"""The session with one pluto: its process, what it is told, and what tells of it.

Edge. Input: messages. Output: what pluto says. pluto has no session of its own; this one begins and
ends with the process.
"""

import os
import select
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ovn_ipsec.errors import EdgeError, IkeError, IkeHungError

from ...xfrm.socket import XfrmEventSocket
from ...xfrm.values import NO_EVENTS
from .attempts import Attempts
from .tools import Ended, Places, Tools

NOT_CONNECTED = "pluto is not connected"
ENDED = "pluto has ended"
T = TypeVar("T")


class Session:
    """One pluto, from when it was found until it ends or does not answer."""

    def __init__(self, places: Places, deadline_s: float) -> None:
        self.places = places
        self.tools = Tools(places, deadline_s)
        self.since = ""
        """Another text means another process."""
        self.lost = False
        """Whether something may have been missed; cleared by whoever looks at everything."""
        self._kernel = XfrmEventSocket()
        self._poll: select.epoll | None = None
        self._attempts: Attempts | None = None
        self._pidfd = -1

    @property
    def is_open(self) -> bool:
        """Whether there is one."""
        return self._poll is not None

    def open(self) -> None:
        """Find the process and hold on to it.

        Raises:
            IkeError: It does not run.
        """
        try:
            pid = int(self.places.pidfile.read_text("ascii").split()[0])
            self._pidfd = os.pidfd_open(pid)
            born = _started(pid)
        except (OSError, ValueError, IndexError):
            self.close()
            raise IkeError(f"pluto does not run: {self.places.pidfile} names no process") from None
        self.since = f"{born} pid {pid}"
        self._poll = select.epoll()
        self._poll.register(self._pidfd, select.EPOLLIN)
        self._attempts = Attempts(self.tools, self._poll)
        with suppress(EdgeError):  # without it, changes are seen later
            self._poll.register(self._kernel.open().fileno(), select.EPOLLIN)

    def close(self) -> None:
        """Let go of it."""
        if self._attempts is not None:
            self._attempts.close()
        self._kernel.close()
        if self._poll is not None:
            self._poll.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._poll, self._attempts, self._pidfd = None, None, -1

    def fileno(self) -> int:
        """Give the descriptor that is readable when something happened; -1 while there is none."""
        return -1 if self._poll is None else self._poll.fileno()

    def demand(self) -> None:
        """Make sure that it is still there.

        Raises:
            IkeError: It is not.
        """
        if not self.is_open:
            raise IkeError(NOT_CONNECTED)
        if select.select([self._pidfd], [], [], 0)[0]:
            self._lose()
            raise IkeError(ENDED)

    def whack(self, *words: str) -> Ended:
        """Send it a message.

        Raises:
            IkeError: It cannot be sent.
        """
        return self.guarded(lambda: self.tools.whack(*words))

    def tell(self, *words: str) -> None:
        """Send it a message, and wait until it has taken that, not for what comes of it.

        Raises:
            IkeError: It cannot be sent, or gets no answer.
        """
        self.guarded(lambda: self.tools.tell(*words))

    def read(self, *words: str) -> str:
        """Ask it to show something; returns all that it shows.

        Raises:
            IkeError: It cannot be asked, or has ended meanwhile: what it has shown is not all.
        """
        ended = self.whack(*words)
        if ended.code != 0:
            lines = ended.said.strip().splitlines() or ["no reason given"]
            raise IkeError(f"pluto does not answer {words[0]}: {lines[-1][:300]}")
        self.demand()
        return ended.said

    def guarded(self, run: Callable[[], T]) -> T:
        """Run a program of Libreswan; a pluto that does not answer it is let go of.

        Raises:
            IkeError: It cannot be run, or gets no answer.
        """
        try:
            return run()
        except IkeHungError:
            self._lose()
            raise

    def begin(self, name: str) -> None:
        """Initiate a connection without waiting.

        Raises:
            IkeError: That cannot be sent; a pluto that does not answer is let go of.
        """
        if self._attempts is None:
            return
        try:
            self._attempts.begin(name)
        except IkeHungError:
            self._lose()
            raise

    @property
    def is_busy(self) -> bool:
        """Whether an attempt is followed."""
        return self._attempts is not None and self._attempts.any

    def hear(self) -> tuple[bool, list[str]]:
        """Read what has happened since the last call, without blocking.

        Returns:
            Whether the kernel's tables have changed or something was said, and the lines that were.

        Raises:
            IkeError: pluto has ended.
        """
        self.demand()
        moved = self._kernel.drain() != NO_EVENTS
        said = [] if self._attempts is None else self._attempts.read()
        return moved or bool(said), said

    def _lose(self) -> None:
        self.lost = True
        self.close()


def _started(pid: int) -> str:
    """When a process began, in ticks since the boot (proc(5), starttime).

    Raises:
        ValueError: It is no pluto.
    """
    name, _, rest = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")
    if not name.endswith("(pluto"):
        raise ValueError(f"{pid} is no pluto")
    return rest.split()[19]
