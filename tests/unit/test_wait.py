# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.wait: what is waited for is said at once, once, and again when it changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from ovn_ipsec.model.wait import Wait
from ovn_ipsec.wait import PATIENCE_S, WaitLog


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    """What the log says."""
    with capture_logs() as found:
        yield found


def events(said: list[EventDict]) -> list[tuple[str, str]]:
    return [(line["event"], line["reason"]) for line in said]


def test_what_is_known_is_said_at_once_and_once(said: list[EventDict]):
    """And that it is over, when it is."""
    log, wait = WaitLog(), Wait("no system-id")
    for now in (1.0, 2.0, 3.0):
        log.note(wait, now)
    assert log.wake_at() == float("inf")
    log.note(None, 4.0)
    log.note(None, 5.0)
    assert events(said) == [("waiting", "no system-id"), ("waiting_over", "no system-id")]


def test_another_reason_is_said_as_well(said: list[EventDict]):
    """One line for each, and one when nothing is waited for any more."""
    log = WaitLog()
    for now, reason in enumerate(("no system-id", "ovn-remote is not set", "no system-id")):
        log.note(Wait(reason), now)
    log.note(None, 9.0)
    assert [reason for _, reason in events(said)] == [
        "no system-id",
        "ovn-remote is not set",
        "no system-id",
        "no system-id",
    ]


def test_an_answer_that_may_be_on_its_way_is_given_a_while(said: list[EventDict]):
    """A start at which all goes well says nothing of the sort."""
    log, wait = WaitLog(), Wait("no answer yet", known=False)
    log.note(wait, 1.0)
    assert log.wake_at() == 1.0 + PATIENCE_S
    log.note(None, 1.1)
    assert events(said) == []
    log.note(wait, 2.0)
    log.note(wait, 2.0 + PATIENCE_S)
    assert events(said) == [("waiting", "no answer yet")]


def test_what_the_log_has_said_is_not_said_twice(said: list[EventDict]):
    """A session tells of its own connection, with the reason."""
    log = WaitLog()
    log.note(Wait("southbound: refused", told=True), 1.0)
    log.note(None, 2.0)
    assert events(said) == []
