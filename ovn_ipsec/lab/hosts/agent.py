# SPDX-License-Identifier: Apache-2.0
"""Run commands in a host through the guest agent of QEMU, as Debian packages it.

Edge (a unix socket). The agent is reached by a virtual serial port, so it works whatever the
network of the host does. One caller at a time: each call connects and leaves.

Source: the protocol is qemu-ga-ref(7).
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovn_ipsec.lab.errors import CommandError, LabError
from ovn_ipsec.lab.waiting import poll, stretched

_ENV = (
    *("HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"),
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)
_ANSWER_S = 5.0
"""How long the agent may take to answer, on a machine of the usual speed."""
_DELIMITER = b"\xff"


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    status: int
    output: str
    """What it wrote, its errors behind."""


class Agent:
    """The agent of one host."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def run(self, script: str, *, stdin: bytes = b"", timeout: float = 60.0) -> Done:
        """Run a script of the shell as root, in root's home.

        Args:
            script: For ``bash -c``.
            stdin: What it reads.
            timeout: Seconds that it may take, on a machine of the usual speed.

        Raises:
            OSError: The host is not up, or went away.
            LabError: It is not over in time.
        """
        with self._connected() as line:
            arguments = {
                "path": "/bin/bash",
                "arg": ["-c", f"cd /root; {script}"],
                "env": list(_ENV),
                "input-data": base64.b64encode(stdin).decode(),
                "capture-output": True,
            }
            pid = line.call("guest-exec", arguments)["pid"]

            def ended() -> dict[str, Any] | None:
                found: dict[str, Any] = line.call("guest-exec-status", {"pid": pid})
                return found if found["exited"] else None

            end = poll(ended, stretched(timeout), every=0.1)
        if end is None:
            raise LabError(f"not over within {stretched(timeout):g} s: {script}")
        status = end["exitcode"] if "exitcode" in end else 128 + end.get("signal", 0)
        written = (base64.b64decode(end.get(key, "")) for key in ("out-data", "err-data"))
        return Done(status, b"".join(written).decode(errors="replace"))

    def check(self, script: str, *, stdin: bytes = b"", timeout: float = 60.0) -> str:
        """Run a script that is to succeed, and return what it wrote.

        Raises:
            OSError: The host is not up, or went away.
            CommandError: It failed.
            LabError: It is not over in time.
        """
        done = self.run(script, stdin=stdin, timeout=timeout)
        if done.status != 0:
            raise CommandError((script,), done.status, done.output)
        return done.output

    @contextlib.contextmanager
    def _connected(self) -> Iterator[_Line]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(stretched(_ANSWER_S))
            connection.connect(str(self._path))
            line = _Line(connection)
            line.sync()
            yield line


class _Line:
    """The connection to an agent that answers."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._held = b""

    def sync(self) -> None:
        """Skip what the agent still had to say to an earlier caller."""
        token = secrets.randbits(31)
        request = {"execute": "guest-sync-delimited", "arguments": {"id": token}}
        self._connection.sendall(_DELIMITER + json.dumps(request).encode() + b"\n")
        end = time.monotonic() + stretched(_ANSWER_S)
        while time.monotonic() < end:
            line = self._next().rpartition(_DELIMITER)[2]
            with contextlib.suppress(ValueError):
                if json.loads(line).get("return") == token:
                    return
        raise TimeoutError("the agent does not answer")

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """Call a function of the agent and return its result."""
        request = {"execute": name, "arguments": arguments}
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(self._next())
        if "return" not in answer:
            raise LabError(f"{name}: {answer.get('error', answer)}")
        return answer["return"]

    def _next(self) -> bytes:
        while b"\n" not in self._held:
            if not (data := self._connection.recv(1 << 16)):
                raise ConnectionResetError("the host went away")
            self._held += data
        line, _, self._held = self._held.partition(b"\n")
        return line
