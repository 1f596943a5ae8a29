# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.log: what others write can neither forge a line, nor flood, nor stop the log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

import ovn_ipsec.service
from ovn_ipsec import log
from ovn_ipsec.model import vlog

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "log.md"
HOSTILE = "\x1b[2J\x1b]0;x\x07\r\n2026-01-01T00:00:00Z|x|INFO|forged \u202e\ud800\x00\x85\u2028"


class Time:
    """A clock that a test turns."""

    now = 0.0

    def monotonic(self) -> float:
        """Say what the test has set."""
        return self.now

    def utc_now(self) -> datetime:
        """Say one moment."""
        return datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def opened(path: Path, time: Time, form: str = "text") -> tuple[log.LogFile, Any]:
    target = log.configure("prog", path=str(path), form=form, level="info", clock=time)
    return target, structlog.get_logger()


def raise_one(text: str) -> None:
    raise ValueError(text)


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").split("\n")[:-1]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("where", ["event", "value", "key", "list", "dict", "bytes", "error"])
def test_no_text_of_a_row_reaches_a_log_raw(tmp_path: Path, time: Time, form: str, where: str):
    """One line each, printable, wherever the text stands."""
    path = tmp_path / "log"
    target, logger = opened(path, time, form)
    shapes: dict[str, dict[str, Any]] = {
        "event": {"event": HOSTILE},
        "value": {"text": HOSTILE},
        "key": {HOSTILE: 1},
        "list": {"found": [HOSTILE, {HOSTILE}]},
        "dict": {"found": {HOSTILE: HOSTILE}},
        "bytes": {"found": HOSTILE.encode("utf-8", "surrogatepass")},
        "error": {"found": ValueError(HOSTILE)},
    }
    logger.error(**{"event": "seen", **shapes[where]})
    (line,) = lines(path)
    assert line.isprintable()
    assert form == "text" or json.loads(line)["program"] == "prog"
    target.close()


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_bounded_and_forges_no_line(tmp_path: Path, time: Time, form: str):
    """An exception may quote a row; its lines begin with blanks, and there are few of them."""
    path = tmp_path / "log"
    target, logger = opened(path, time, form)
    try:
        raise_one(HOSTILE + "\nx" * 5000 + "y" * 5000)
    except ValueError:
        logger.exception("turn_failed")
    found = lines(path)
    assert all(line.isprintable() for line in found)
    if form == "text":
        assert all(line.startswith("    ") for line in found[1:])
    else:
        (line,) = found
        found = json.loads(line)["exception"].split("\n")
    assert log.TRACE_LINES_MAX < len(found) <= log.TRACE_LINES_MAX + 2
    assert path.stat().st_size < (log.TRACE_LINES_MAX + 2) * log.TRACE_WIDTH_MAX
    target.close()


def test_values_lists_and_lines_have_an_end():
    """However much there is; what is left out is counted, and small details still pass."""
    event = {"event": "x", "level": "info", "list": list(range(99)), "deep": [[[["y" * 999] * 9]]]}
    event |= {f"key{number}": "x" * 9999 for number in range(50)}
    found = log.bound(None, "", {**event, "last": 7})
    assert "and 79 more" == found["list"][-1]
    assert log.TEXT_MAX == len(found["key0"])
    assert 7 == found["last"]
    assert 0 < found["left_out"]
    assert len(str(found)) < log.LINE_MAX * 1.5


class Odd:
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    )
)
def test_every_value_is_strict_json(value: object):
    """No NaN, no half of a character, no number that others cannot read."""
    shown = json.dumps(log.plain(value), allow_nan=False)
    assert json.loads(shown.encode("ascii")) == log.plain(value)


def test_a_value_that_cannot_be_shown_does_not_end_the_program():
    """It is told by its type."""
    assert "<Odd: RuntimeError>" == log.plain(Odd())
    assert str(2**63) == log.plain(2**63)


def count(path: Path, event: str) -> int:
    return sum(f"|{event}" in line for line in lines(path))


def test_one_subject_is_told_a_few_times_and_then_seldom(tmp_path: Path, time: Time):
    """A row that is refused in every pass; the next line says how many were left out."""
    path = tmp_path / "log"
    target, logger = opened(path, time)
    for _ in range(1000):
        logger.error("row_refused", row="hv9", reason="junk")
    logger.error("row_refused", row="hv8", reason="junk")
    assert log.PER_SUBJECT.burst + 1 == count(path, "row_refused")
    assert f"suppressed={1000 - log.PER_SUBJECT.burst}" in lines(path)[-1]
    time.now += log.PER_SUBJECT.every_s
    logger.error("row_refused", row="hv9", reason="junk")
    assert "suppressed" not in lines(path)[-1]
    target.close()


def test_many_subjects_share_what_an_event_may_take(tmp_path: Path, time: Time):
    """4 000 rows of one chassis, or 4 000 peers that do not answer; other events go on."""
    path = tmp_path / "log"
    target, logger = opened(path, time)
    for number in range(4000):
        logger.warning("ike_failed", connection=f"ovn-hv{number}", reason="timeout")
    logger.error("guard_failed", layer="nft", reason="gone")
    assert (log.PER_EVENT.burst, 1) == (count(path, "ike_failed"), count(path, "guard_failed"))
    time.now += log.PER_EVENT.every_s
    logger.warning("ike_failed", connection="ovn-hv1x", reason="timeout")
    assert f"suppressed={4000 - log.PER_EVENT.burst}" in lines(path)[-1]
    target.close()


def test_a_line_that_names_no_subject_is_about_its_reason(tmp_path: Path, time: Time):
    """Ten settings that are refused are ten lines, and one that is refused ten times is not."""
    path = tmp_path / "log"
    target, logger = opened(path, time)
    for number in range(10):
        logger.error("setting_refused", reason=f"key{number}: junk")
    assert 10 == count(path, "setting_refused")
    for _ in range(10):
        logger.error("credential_refused", reason=Odd())
    assert log.PER_SUBJECT.burst == count(path, "credential_refused")
    target.close()


@pytest.mark.parametrize("event", sorted(log.UNLIMITED))
def test_no_change_of_state_is_ever_left_out(tmp_path: Path, time: Time, event: str):
    """At whatever level, and however many."""
    path = tmp_path / "log"
    target, logger = opened(path, time)
    for _ in range(500):
        logger.error(event, peer="hv1", to="BLOCKED")
    assert 500 == count(path, event)
    target.close()


def test_what_the_limiter_remembers_is_bounded(time: Time):
    """Hostile subjects push each other out, and hostile names of events too."""
    limiter = log.Limiter(time)
    for number in range(5 * log.SUBJECTS_KEPT):
        for event in (f"event{number}", "row_refused"):
            made = {"event": event, "level": "error", "row": f"hv{number}" * 99}
            try:
                limiter(None, "", made)
            except structlog.DropEvent:
                continue
    kept = (limiter._events, limiter._subjects, limiter._suppressed)
    assert all(len(one) <= log.SUBJECTS_KEPT for one in kept)
    assert "row_refused" in limiter._suppressed


def test_a_log_that_cannot_be_opened_is_a_problem_and_goes_to_standard_error(
    tmp_path: Path, time: Time, capsys: pytest.CaptureFixture[str]
):
    """And back into the file once it can be."""
    path = tmp_path / "no" / "log"
    target, logger = opened(path, time)
    logger.info("started")
    assert "|INFO|started" in capsys.readouterr().err
    assert f"log file {path}: No such file or directory" == target.problem
    path.parent.mkdir()
    target.retry()
    logger.info("later")
    assert ("", 1, "") == (target.problem, count(path, "later"), capsys.readouterr().err)
    target.close()


def test_a_file_that_cannot_be_opened_again_stays_in_use(tmp_path: Path, time: Time):
    """Logrotate has moved it, and the folder takes nothing new."""
    path = tmp_path / "a" / "log"
    path.parent.mkdir()
    target, logger = opened(path, time)
    moved = tmp_path / "log.1"
    path.rename(moved)
    path.parent.rmdir()
    target.reopen()
    logger.info("still")
    assert 1 == count(moved, "still")
    target.close()


def test_a_full_disk_costs_lines_and_nothing_else(time: Time, capsys: pytest.CaptureFixture[str]):
    """Standard error has them, and the problem is said."""
    target, logger = opened(Path("/dev/full"), time)
    logger.info("lost")
    assert "lost" in capsys.readouterr().err
    assert "log file /dev/full: No space left on device" == target.problem
    target.close()
    target.close()


def test_a_pipe_that_nobody_reads_stops_nothing(tmp_path: Path, time: Time):
    """To open one for writing would wait for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    target, _ = opened(pipe, time)
    assert "a pipe that nobody reads" in target.problem


def test_the_reference_page_says_what_the_limits_are():
    """Each number and each name in it is that of the code."""
    page = PAGE.read_text("utf-8")
    for limit in (log.PER_SUBJECT, log.PER_EVENT):
        assert f"| {limit.burst} | 1 every {limit.every_s:.0f} s |" in page
    for name in (*log.UNLIMITED, *log.LIMITED, *log.SUBJECTS):
        assert f"`{name}`" in page
    for number in (log.TEXT_MAX, log.LINE_MAX, log.TRACE_LINES_MAX, log.ITEMS_MAX):
        assert f" {number} " in page


def test_a_level_can_be_set_for_one_module(tmp_path: Path, time: Time):
    """The others keep theirs, whoever has made the logger before."""
    path = tmp_path / "log"
    target, logger = opened(path, time)
    other = log_module("ovn_ipsec.elsewhere")
    target.levels.put([vlog.Setting(module=__name__, level="dbg")])
    logger.debug("mine")
    other.debug("theirs")
    other.info("theirs at info")
    target.levels.put([vlog.Setting(module="ovn_ipsec.elsewhere", level="off")])
    other.error("theirs that is off")
    target.levels.put([vlog.Setting(module=None, level="warn")])
    logger.info("mine at info")
    other.warning("theirs at warn")
    events = [line.rpartition("|")[2] for line in lines(path)]
    assert events == ["mine", "theirs at info", "theirs at warn"]


def log_module(name: str) -> Any:
    """A module of another name, whose functions write lines."""
    space: dict[str, Any] = {"__name__": name, "logger": structlog.get_logger()}
    source = "\n".join(
        f"def {level}(event): logger.{level}(event)" for level in ("debug", "info", "warning")
    )
    exec(source + "\ndef error(event): logger.error(event)", space)  # noqa: S102 - of this file
    return SimpleNamespace(**space)


def test_modules_are_those_of_ours_that_write_lines(tmp_path: Path, time: Time):
    """Each with its level, and none that could not be set."""
    target, _ = opened(tmp_path / "log", time)
    found = target.levels.by_module()
    assert {ovn_ipsec.service.__name__: "info"}.items() <= found.items()
    assert all(name.startswith(("ovn_ipsec.", "controller.", "northd_ext.")) for name in found)
    assert "ovn_ipsec.log" not in found
    assert target.destination == "file"
