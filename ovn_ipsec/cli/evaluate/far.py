# SPDX-License-Identifier: Apache-2.0
"""Edge: the far end: it answers what the near one asks, over the network that both measure.

Only the two ports of that network reach it. It knows four words, takes one connection at a time,
and ends by itself when nobody asks for a while.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ...clock import monotonic
from ...errors import EdgeError
from ..watching import pause
from . import port
from .answers import (
    ANSWER_MAX,
    QUESTION_MAX,
    PairSeen,
    Question,
    parse_facts,
    parse_pair,
    parse_sample,
)
from .values import Facts, Sample

CONTROL_PORT = 5202
ANSWER_S = 20.0
"""How long an answer may take."""
_RETRY_S = 0.5

Answers = Mapping[Question, Callable[[], bytes]]


def serve(address: str, answers: Answers, limit_s: float) -> bool:
    """Answer until told to end.

    Args:
        address: Of our workload.
        answers: What to say to each word.
        limit_s: How long to wait for a connection, and for each word.

    Returns:
        Whether the near end said that it is done; otherwise nobody asked for so long.

    Raises:
        EdgeError: The kernel refuses.
    """
    try:
        with port.inside():
            listening = socket.create_server((address, CONTROL_PORT))
    except OSError as error:
        raise EdgeError(f"cannot listen at {address}: {error.strerror}") from error
    with listening:
        listening.settimeout(limit_s)
        while True:
            try:
                asking, _ = listening.accept()
            except TimeoutError:
                return False
            with asking:
                asking.settimeout(limit_s)
                if _answer(asking, answers):
                    return True


def _answer(asking: socket.socket, answers: Answers) -> bool:
    """Answer one connection; whether it said that all is done."""
    data = b""
    try:
        while len(data) <= QUESTION_MAX:
            part = asking.recv(QUESTION_MAX)
            if not part:
                return False
            data += part
            while b"\n" in data:
                word, _, data = data.partition(b"\n")
                try:
                    question = Question(word.decode(errors="replace"))
                except ValueError:
                    return False
                asking.sendall(answers[question]())
                if question is Question.END:
                    return True
    except OSError:
        return False
    return False


class Far:
    """What the near end asks."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def facts(self) -> Facts:
        """What its figures depend on.

        Raises:
            EdgeError: It does not answer.
        """
        return parse_facts(self._ask(Question.FACTS))

    def sample(self) -> Sample:
        """What its processors have done.

        Raises:
            EdgeError: It does not answer.
        """
        return parse_sample(self._ask(Question.SAMPLE))

    def pair(self) -> PairSeen:
        """What its controller says of the pair.

        Raises:
            EdgeError: It does not answer.
        """
        return parse_pair(self._ask(Question.PAIR))

    def end(self) -> None:
        """Say that all is done.

        Raises:
            EdgeError: It does not answer.
        """
        self._ask(Question.END)

    def _ask(self, question: Question) -> bytes:
        data, end = b"", monotonic() + ANSWER_S
        try:
            self._connection.sendall(f"{question}\n".encode())
            while not data.endswith(b"\n") and len(data) <= ANSWER_MAX:
                self._connection.settimeout(max(0.001, end - monotonic()))
                part = self._connection.recv(4096)
                if not part:
                    raise EdgeError(f"the far end has hung up instead of answering {question}")
                data += part
        except TimeoutError:
            raise EdgeError(f"the far end did not answer {question} in {ANSWER_S:.0f} s") from None
        except OSError as error:
            raise EdgeError(f"the far end did not answer: {error.strerror}") from error
        return data


@contextmanager
def connected(address: str, limit_s: float) -> Iterator[Far]:
    """Reach the far end.

    Args:
        address: Of its workload.
        limit_s: How long to try.

    Raises:
        EdgeError: It cannot be reached in time.
    """
    connection = _connect(address, limit_s)
    with connection:
        yield Far(connection)


def _connect(address: str, limit_s: float) -> socket.socket:
    end = monotonic() + limit_s
    while True:
        with port.inside():
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(min(5.0, limit_s))
            connection.connect((address, CONTROL_PORT))
        except OSError as error:
            connection.close()
            if monotonic() > end:
                said = error.strerror or "no answer"
                raise EdgeError(f"the far end cannot be reached: {said}") from error
            pause(_RETRY_S)
        else:
            return connection
