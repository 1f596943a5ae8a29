# SPDX-License-Identifier: Apache-2.0
"""Edge: host names to addresses, without delaying the loop.

The ovs library resolves names only with libunbound, which few hosts have for Python. So the
system's resolver is used, which blocks: in one thread for each name, from which the loop takes only
a finished answer. A name whose servers do not answer keeps its last addresses.
"""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass

from ..errors import OvsdbError

PATIENCE_S = 0.1
"""The loop waits so long for an answer, once for each question: a local one is there by then."""


@dataclass(frozen=True, slots=True)
class _Answer:
    addresses: tuple[str, ...] = ()
    problem: str = ""


@dataclass(slots=True)
class _Question:
    thread: threading.Thread | None = None
    answer: _Answer | None = None
    """Written by the thread, as a whole; None once it has been taken."""
    known: tuple[str, ...] = ()
    turn: int = 0


class Names:
    """The names that one session connects to."""

    def __init__(self) -> None:
        self._asked: dict[str, _Question] = {}

    def address(self, host: str) -> str:
        """One address of a host; the next one with each call.

        Raises:
            OvsdbError: There is none, or none yet; ask again later.
        """
        question = self._asked.setdefault(host, _Question())
        problem = "its address is still being looked up"
        if question.thread is None and question.answer is None:
            question.thread = threading.Thread(
                target=_look_up, args=(host, question), name="names", daemon=True
            )
            question.thread.start()
            question.thread.join(PATIENCE_S)
        if question.answer is not None:
            answer, question.answer, question.thread = question.answer, None, None
            question.known = answer.addresses or question.known
            problem = answer.problem
        if not question.known:
            raise OvsdbError(problem)
        turn, question.turn = question.turn, question.turn + 1
        return question.known[turn % len(question.known)]


def _look_up(host: str, question: _Question) -> None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else ""
        question.answer = _Answer(problem=f"no address is known: {reason or error}")
        return
    addresses = dict.fromkeys(str(address[0]) for *_, address in found)
    question.answer = _Answer(addresses=tuple(addresses))
