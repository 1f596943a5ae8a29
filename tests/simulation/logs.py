# SPDX-License-Identifier: Apache-2.0
"""What the simulated programs log: counted by program, and shown on request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

lines: Counter[str] = Counter()
"""By program, since the start of this process."""
_current = [""]
show: list[Any] = []
"""Called with program and event, where somebody wants to read along."""


@contextmanager
def of(program: str) -> Iterator[None]:
    """Count what is logged in here for a program; they may be nested."""
    _current.append(program)
    try:
        yield
    finally:
        _current.pop()


def current() -> str:
    """The program that runs now; empty: none."""
    return _current[-1]


def _sink(_logger: object, method: str, event: MutableMapping[str, Any]) -> Any:
    if method != "debug":
        lines[_current[-1]] += 1
    for one in show:
        one(_current[-1], method, event)
    raise structlog.DropEvent


def capture() -> None:
    """Let all log lines of this process end here."""
    structlog.configure(processors=[structlog.processors.format_exc_info, _sink])
