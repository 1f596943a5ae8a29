# SPDX-License-Identifier: Apache-2.0
"""Edge: structured logs, as text for people or JSON lines for programs.

A line contains text that others wrote into databases, and others may determine how many lines there
are. So every value is made printable and short, a line has a maximum length, and lines that report
trouble are rate-limited (Limiter). Changes of state are never limited: they are few, and each of
them matters. Nothing here raises: a log that cannot be written is a problem to report, but no
reason to stop.
"""

from __future__ import annotations

import errno
import inspect
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from itertools import islice
from typing import Any, TextIO, cast

import structlog

from .clock import SYSTEM, Clock
from .model import vlog
from .model.pacing import Bucket, Limit, spend
from .model.text import TEXT_MAX, printable

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
LINE_MAX = 4000
"""Characters of all details of one line."""
ITEMS_MAX = 20
"""Members of one list."""
TRACE_LINES_MAX = 40
TRACE_WIDTH_MAX = 300
DEPTH_MAX = 2
"""Lists in lists; what is deeper is one text."""

PER_SUBJECT = Limit(burst=5, every_s=60.0)
"""Lines of one event about one subject."""
PER_EVENT = Limit(burst=20, every_s=10.0)
"""Lines of one event, whatever they are about."""
SUBJECTS = ("table", "row", "key", "connection", "peer", "chassis", "layer", "database", "part")
"""Details that say what a line is about; where there is none of them, its reason does."""
UNLIMITED = frozenset({"pair", "policy", "phase", "state", "role"})
"""Changes of state: each is told, at any level."""
LIMITED = frozenset({"southbound_connecting", "database_connected", "waiting", "waiting_over"})
"""Events below `warning` that are limited all the same: others decide how often they happen."""
SUBJECTS_KEPT = 1024
"""Buckets at a time; the one unused for longest gives way."""
PACKAGES = frozenset({"controller", "northd_ext", "ovn_ipsec"})
"""Whose modules write lines."""
_VLOG = {10: "dbg", 20: "info", 30: "warn", 40: "err"}
_HEAD = ("timestamp", "program", "level", "event")
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

Event = MutableMapping[str, Any]


class LogFile:
    """Where log lines go; reopen() follows logrotate. Standard error takes what a file does not."""

    def __init__(self, path: str | None) -> None:
        """Store the path; None for standard error."""
        self._path = path
        self._file: int | None = None
        self.problem = ""
        """Why lines go to standard error and not to the file; empty while all is well."""
        self.levels = Levels("info")
        """What is written at all."""

    @property
    def destination(self) -> str:
        """Where lines go, in the words of vlog/list."""
        return "console" if self._path is None else "file"

    def reopen(self) -> None:
        """Open the file, or open it again after somebody has moved it away.

        One that cannot be opened is a problem, and the old one, if any, stays in use.
        """
        if self._path is None:
            return
        try:
            file = os.open(self._path, _FLAGS, 0o640)
        except (OSError, ValueError) as error:
            self._fail(error)
            return
        old, self._file, self.problem = self._file, file, ""
        if old is not None:
            _close(old)

    def retry(self) -> None:
        """Open the file if that has failed."""
        if self.problem:
            self.reopen()

    def write(self, text: str) -> int:
        """Write text, as a file does; never raises."""
        if not self._written(text.encode("utf-8", "backslashreplace")):
            try:
                sys.stderr.write(text)
            except (OSError, ValueError):
                return 0
        return len(text)

    def flush(self) -> None:
        """Flush, as a file does: nothing is held back here but by standard error."""
        try:
            sys.stderr.flush()
        except (OSError, ValueError):
            return

    def close(self) -> None:
        """Close the file; standard error takes what is still to come."""
        if self._file is not None:
            _close(self._file)
            self._file = None

    def _written(self, data: bytes) -> bool:
        if self._file is None:
            return False
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            self._fail(error)
            return False
        self.problem = ""
        return True

    def _fail(self, error: OSError | ValueError) -> None:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if isinstance(error, OSError) and error.errno == errno.ENXIO:
            reason = "a pipe that nobody reads"
        self.problem = f"log file {self._path}: {reason}"


def _close(file: int) -> None:
    try:
        os.close(file)
    except OSError:
        return


class Levels:
    """From which level on lines are written: of the program, and of single modules of it.

    The level of the program is that of every module for which none was set since.
    """

    def __init__(self, level: str) -> None:
        """Store the level of the program, a key of vlog.LEVELS."""
        self._all = level
        self._own: dict[str, str] = {}

    def put(self, settings: Iterable[vlog.Setting]) -> None:
        """Set levels; they hold from the next line on."""
        for setting in settings:
            if setting.module is None:
                self._all, self._own = setting.level, {}
            else:
                self._own[setting.module] = setting.level
        structlog.configure(wrapper_class=self.wrapper())

    def wrapper(self) -> type[structlog.typing.FilteringBoundLogger]:
        """Loggers that let everything pass that some module may write."""
        lowest = min(vlog.LEVELS[level] for level in (self._all, *self._own.values()))
        return structlog.make_filtering_bound_logger(lowest)

    def by_module(self) -> dict[str, str]:
        """The level of each module that writes lines."""
        return {name: self._own.get(name, self._all) for name in modules()}

    def __call__(self, _logger: object, _name: str, event: Event) -> Event:
        """Drop what its module may not write, as a processor of structlog does.

        Raises:
            structlog.DropEvent: It may not.
        """
        if not self._own:
            return event
        level = self._own.get(_caller(), self._all)
        if LEVELS.get(str(event.get("level")), 40) < vlog.LEVELS[level]:
            raise structlog.DropEvent
        return event


def modules() -> list[str]:
    """The modules of this program that write lines, as far as they are loaded."""
    return sorted(
        name
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in PACKAGES
        and name != __name__
        and getattr(module, "structlog", None) is structlog
    )


def _caller() -> str:
    """The module that writes the line which is being written."""
    frame = inspect.currentframe()
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name != __name__ and name.partition(".")[0] != "structlog":
            return name
        frame = frame.f_back
    return ""


def configure(
    program: str, *, path: str | None, form: str, level: str, clock: Clock = SYSTEM
) -> LogFile:
    """Set structlog up for this process.

    Args:
        program: Goes into every JSON line as `program`.
        path: Log file, or None for standard error.
        form: `text` or `json`.
        level: A key of LEVELS.
        clock: For the rates of Limiter.

    Returns:
        Where the lines go. A file that cannot be opened is its problem, and standard error is used.
    """
    target = LogFile(path)
    target.reopen()
    target.levels = levels = Levels(_VLOG[LEVELS[level]])
    render: structlog.typing.Processor
    if form == "json":
        render = structlog.processors.JSONRenderer(sort_keys=False)
    else:
        render = text_line
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            levels,
            Limiter(clock),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            bound,
            render,
        ],
        wrapper_class=levels.wrapper(),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", target)),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(program=program)
    return target


class Limiter:
    """Drops lines that come too often; the next one of their event says how many there were."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: dict[str, Bucket] = {}
        self._subjects: dict[tuple[str, ...], Bucket] = {}
        self._suppressed: dict[str, int] = {}

    def __call__(self, _logger: object, _name: str, event: Event) -> Event:
        """Let a line pass, or drop it, as a processor of structlog does.

        Raises:
            structlog.DropEvent: There were too many of these.
        """
        name = str(event.get("event"))
        if not is_limited(name, str(event.get("level"))):
            return event
        now = self._clock.monotonic()
        told = [key for key in SUBJECTS if key in event] or ["reason"]
        subject = (name, *(f"{key}={_text(event.get(key))[:200]}" for key in told))
        if not (
            _spend(self._subjects, subject, PER_SUBJECT, now)
            and _spend(self._events, name, PER_EVENT, now)
        ):
            self._suppressed[name] = self._suppressed.pop(name, 0) + 1
            _forget_oldest(self._suppressed)
            raise structlog.DropEvent
        dropped = self._suppressed.pop(name, 0)
        if dropped:
            event["suppressed"] = dropped
        return event


def is_limited(name: str, level: str) -> bool:
    """Whether an event is held to a rate: what reports trouble is, a change of state never is."""
    return name not in UNLIMITED and (name in LIMITED or LEVELS.get(level, 40) >= LEVELS["warning"])


def _spend(buckets: dict[Any, Bucket], key: object, limit: Limit, now: float) -> bool:
    bucket, allowed = spend(limit, buckets.pop(key, None), now)
    buckets[key] = bucket
    _forget_oldest(buckets)
    return allowed


def _forget_oldest(held: dict[Any, Any]) -> None:
    if len(held) > SUBJECTS_KEPT:
        del held[next(iter(held))]


def bound(_logger: object, _name: str, event: Event) -> Event:
    """Make every value plain, printable and short, and the line with them (a processor)."""
    trace = event.pop("exception", None)
    found: Event = {key: plain(event.pop(key)) for key in _HEAD if key in event}
    left, cut = LINE_MAX, 0
    for key, value in event.items():
        shown = plain(value)
        size = len(str(key)) + len(str(shown)) + 2
        if size > left:
            cut += 1
            continue
        left -= size
        found[printable(str(key), 80)] = shown
    if cut:
        found["left_out"] = cut
    if trace:
        found["exception"] = "\n".join(_trace(str(trace)))
    return found


def plain(value: object, depth: int = 0) -> Any:
    """A value that JSON and a terminal can show: texts printable and short, lists with an end."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, bytes):
        value = value[:TEXT_MAX].decode("utf-8", "backslashreplace")
    if depth < DEPTH_MAX and isinstance(value, Mapping):
        pairs = islice(value.items(), ITEMS_MAX)
        return {printable(str(key), 80): plain(one, depth + 1) for key, one in pairs}
    if depth < DEPTH_MAX and isinstance(value, list | tuple | set | frozenset):
        shown = [plain(one, depth + 1) for one in islice(value, ITEMS_MAX)]
        more = len(value) - len(shown)
        return [*shown, f"and {more} more"] if more else shown
    return printable(_text(value))


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a value must not end its reporter
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _trace(text: str) -> Iterator[str]:
    lines = text.splitlines()
    if len(lines) > TRACE_LINES_MAX:
        missing = len(lines) - TRACE_LINES_MAX
        lines = [lines[0], f"({missing} lines left out)", *lines[1 - TRACE_LINES_MAX :]]
    return (printable(line, TRACE_WIDTH_MAX) for line in lines)


def text_line(_logger: object, _name: str, event: Event) -> str:
    """Format as OVS does: time|program|LEVEL|event, then the details as key=value (a renderer).

    Lines of a traceback are indented, so that none can be taken for a line of its own.
    """
    head = [event.pop("timestamp", ""), event.pop("program", "-"), event.pop("level", "").upper()]
    name = event.pop("event", "")
    trace = event.pop("exception", None)
    words = [f"{key}={_quoted(value)}" for key, value in event.items()]
    line = "|".join([*map(str, head), " ".join([str(name), *words])])
    if not trace:
        return line
    return "\n".join([line, *(f"    {one}" for one in trace.splitlines())])


def _quoted(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(c in text for c in ' "=') else text
