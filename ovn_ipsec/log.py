# SPDX-License-Identifier: Apache-2.0
"""Edge: structured logs, as text for people or JSON lines for programs."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class LogFile:
    """Where log lines go; reopen() follows logrotate."""

    def __init__(self, path: str | None) -> None:
        """Store the path; None for standard error."""
        self._path = path
        self._file: TextIO = sys.stderr

    def reopen(self) -> None:
        """Open the file, or open it again after somebody has moved it away."""
        if self._path is None:
            return
        old = self._file
        self._file = Path(self._path).open("a", buffering=1, encoding="utf-8")
        if old is not sys.stderr:
            old.close()

    def write(self, text: str) -> int:
        """Write text, as a file does."""
        return self._file.write(text)

    def flush(self) -> None:
        """Flush, as a file does."""
        self._file.flush()


def configure(program: str, *, path: str | None, form: str, level: str) -> LogFile:
    """Set structlog up for this process.

    Args:
        program: Goes into every JSON line as `program`.
        path: Log file, or None for standard error.
        form: `text` or `json`.
        level: A key of LEVELS.
    """
    target = LogFile(path)
    target.reopen()
    render: structlog.typing.Processor
    if form == "json":
        render = structlog.processors.JSONRenderer(sort_keys=False)
    else:
        render = _text_line
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", target)),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(program=program)
    return target


def _text_line(_logger: object, _name: str, event: MutableMapping[str, Any]) -> str:
    """Format as OVS does: time|program|LEVEL|event, then the details as key=value."""
    head = [event.pop("timestamp"), event.pop("program", "-"), event.pop("level").upper()]
    name = event.pop("event")
    trace = event.pop("exception", None)
    words = [f"{key}={_quoted(value)}" for key, value in event.items()]
    line = "|".join([*map(str, head), " ".join([str(name), *words])])
    return f"{line}\n{trace}" if trace else line


def _quoted(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(c in text for c in ' "=\n\r\t') else text
