# SPDX-License-Identifier: Apache-2.0
"""Commands for a host go through QEMU's guest agent, here played by a thread."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ovn_ipsec.lab.errors import CommandError, LabError
from ovn_ipsec.lab.hosts.agent import Agent


class PlayedAgent:
    """Answers as qemu-ga-ref(7) says; a command runs for two questions and ends as told."""

    def __init__(self, path: Path) -> None:
        self.stale = b""
        """What it still has to say to an earlier caller."""
        self.end: dict[str, Any] = {"exited": True, "exitcode": 0}
        self.asked: list[dict[str, Any]] = []
        self._running = 2
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                connection.sendall(self.stale)
                for line in lines:
                    connection.sendall(self._answer(json.loads(line.removeprefix(b"\xff"))))

    def _answer(self, request: dict[str, Any]) -> bytes:
        self.asked.append(request)
        match request["execute"]:
            case "guest-sync-delimited":
                return b'\xff{"return": %d}\n' % request["arguments"]["id"]
            case "guest-exec":
                return b'{"return": {"pid": 7}}\n'
            case "guest-exec-status":
                self._running -= 1
                found = {"exited": False} if self._running > 0 else self.end
                return json.dumps({"return": found}).encode() + b"\n"
        return b'{"error": {"desc": "unknown"}}\n'


@pytest.fixture
def played(tmp_path: Path) -> Iterator[PlayedAgent]:
    agent = PlayedAgent(tmp_path / "agent")
    yield agent
    agent.close()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_command_ends_with_its_status_and_what_it_wrote(
    played: PlayedAgent, tmp_path: Path
) -> None:
    """Answers to an earlier caller are skipped; what it reads goes in as bytes."""
    played.stale = b'{"return": {"pid": 1}}\n\xff{"return": 0}\n{"ret'
    played.end = {"exited": True, "exitcode": 3, "out-data": encoded("out"), "err-data": "ZXJy"}
    done = Agent(tmp_path / "agent").run("exit 3", stdin=b"\x00x")
    assert (3, "outerr") == (done.status, done.output)
    [started] = [one["arguments"] for one in played.asked if one["execute"] == "guest-exec"]
    assert b"\x00x" == base64.b64decode(started["input-data"])
    assert started["arg"][-1].endswith("exit 3")


def test_a_command_that_was_to_succeed_and_did_not_is_an_error(
    played: PlayedAgent, tmp_path: Path
) -> None:
    """One that a signal ended has no status of its own."""
    played.end = {"exited": True, "signal": 9, "err-data": encoded("why")}
    with pytest.raises(CommandError, match=r"status 137: why"):
        Agent(tmp_path / "agent").check("true")


def test_a_command_that_is_not_over_in_time_is_an_error(
    played: PlayedAgent, tmp_path: Path
) -> None:
    """It names the command."""
    played.end = {"exited": False}
    with pytest.raises(LabError, match=r"not over within .*: sleep"):
        Agent(tmp_path / "agent").run("sleep 1000", timeout=0.2)


def test_a_host_that_is_not_up_is_one_that_may_come(tmp_path: Path) -> None:
    """An OSError: whoever waits for it asks again."""
    with pytest.raises(OSError, match="No such file"):
        Agent(tmp_path / "agent").run("true")
