# SPDX-License-Identifier: Apache-2.0
"""What pluto says of connections while they are being initiated.

Edge. Input: names of connections. Output: lines of pluto. A whack that is not told to be
asynchronous stays until the attempt has ended and repeats what pluto logs of it, which is the only
way to hear why it failed. A few may stay, and not for long; others do not wait.
"""

import os
import select
import subprocess
import time
from dataclasses import dataclass

from ovn_ipsec.errors import IkeError

from .tools import Tools

AT_ONCE = 32
"""Processes that wait for attempts at the same time."""
PATIENCE_S = 15.0
"""How long one waits: a peer that is going to refuse does so sooner."""
_PIECE = 65536


@dataclass(slots=True)
class _Attempt:
    process: subprocess.Popen[bytes]
    until: float
    rest: bytes = b""


class Attempts:
    """The attempts that are followed, by the descriptors of what is said of them."""

    def __init__(self, tools: Tools, poll: select.epoll) -> None:
        self._tools, self._poll = tools, poll
        self._followed: dict[int, _Attempt] = {}

    @property
    def any(self) -> bool:
        """Whether one is followed."""
        return bool(self._followed)

    def begin(self, name: str) -> None:
        """Initiate a connection without waiting.

        Raises:
            IkeError: whack is missing, or pluto does not take it.
        """
        if len(self._followed) >= AT_ONCE:
            self._tools.whack("--initiate", "--asynchronous", "--name", name)
            return
        process = self._tools.begin("--initiate", "--name", name)
        if process.stdout is None:
            raise IkeError("whack has no output")
        number = process.stdout.fileno()
        os.set_blocking(number, False)
        self._poll.register(number, select.EPOLLIN)
        self._followed[number] = _Attempt(process, time.monotonic() + PATIENCE_S)

    def read(self) -> list[str]:
        """Read the lines that were said since the last call; without blocking."""
        found: list[str] = []
        now = time.monotonic()
        for number, attempt in list(self._followed.items()):
            ended = self._read_one(number, attempt, found)
            if ended or now >= attempt.until:
                self._forget(number)
        return found

    def close(self) -> None:
        """Leave all of them to pluto."""
        for number in list(self._followed):
            self._forget(number)

    def _read_one(self, number: int, attempt: _Attempt, found: list[str]) -> bool:
        while True:
            try:
                piece = os.read(number, _PIECE)
            except BlockingIOError:
                return False
            except OSError:
                return True
            *lines, attempt.rest = (attempt.rest + piece).split(b"\n")
            if not piece:
                lines.append(attempt.rest)
            found += [line.decode("utf-8", "replace") for line in lines]
            if not piece:
                return True

    def _forget(self, number: int) -> None:
        attempt = self._followed.pop(number)
        self._poll.unregister(number)
        # One that has said everything has ended, or is about to.
        attempt.process.kill()
        attempt.process.wait()
        if attempt.process.stdout is not None:
            attempt.process.stdout.close()
