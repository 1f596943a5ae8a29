# SPDX-License-Identifier: Apache-2.0
"""Our own programs by fork, from an interpreter that has loaded their modules once.

Edge (processes). Started by its command in an emulated guest, one of them spends 15 s of processor
time on loading modules before its first line runs; on iron that is half a second, and a fork is
nearer to it. What runs is the same: the module as ``python -m`` runs it, in its host's namespaces,
with an id of its own. Only ``/proc/PID/cmdline`` tells the difference.

The interpreter is ``python -m ovn_ipsec.lab.cluster.forks FD``; it ends with whoever holds the
other end.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from .. import namespaces
from ..errors import LabError

PROGRAMS = ("controller", "northd_ext")
"""Packages with a ``__main__`` of ours that runs as a daemon."""
REQUEST_MAX = 1 << 16
"""Bytes: a command line and where it is to run."""


class Forked:
    """A process that is not our child: what ``subprocess.Popen`` would offer, by pidfd_open(2)."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = -1
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            self._descriptor = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return None while it runs; how it ended is not known here."""
        if self._descriptor >= 0 and self._ends_within(0):
            os.close(self._descriptor)
            self._descriptor = -1
        return None if self._descriptor >= 0 else 0

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: It runs on.
        """
        if self._descriptor >= 0 and not self._ends_within(timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self.poll() or 0

    def send_signal(self, number: int) -> None:
        """Send a signal if it runs."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def _ends_within(self, timeout: float | None) -> bool:
        return bool(select.select([self._descriptor], [], [], timeout)[0])


class Loaded:
    """The interpreter from which they are forked; one for all clusters of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False

    def open(self, cwd: Path, env: dict[str, str]) -> None:
        """Start the interpreter that loads, unless it runs; does not wait.

        Args:
            cwd: Where it and its forks run; our packages are there.
            env: Their environment.
        """
        with self._lock:
            if self._socket is not None:
                return
            self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with other:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __spec__.name, str(other.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[other.fileno()],
                    cwd=cwd,
                    env=env,
                )
            atexit.register(self.close)

    def wait(self) -> None:
        """Wait until it has loaded, which keeps a processor busy meanwhile.

        Raises:
            LabError: It has ended.
        """
        with self._lock:
            self._wait()

    def _wait(self) -> None:
        if not self._ready:
            self._ready = bool(self._answer())

    def _answer(self) -> bytes:
        if self._socket is None:
            raise LabError("open() comes first")
        if not (answer := self._socket.recv(REQUEST_MAX)):
            raise LabError("the interpreter that starts our programs has ended")
        return answer

    def close(self) -> None:
        """End it; what was forked goes on."""
        if self._socket is not None and self._process is not None:
            self._socket.close()
            self._process.wait()
            self._socket, self._ready = None, False

    def start(self, argv: Sequence[str], holder: int, output: BinaryIO) -> Forked:
        """Start a program; waits until the interpreter has loaded.

        Args:
            argv: The module, and its arguments.
            holder: The process whose network and mount namespaces it gets.
            output: Where its standard output and error go.

        Raises:
            LabError: The interpreter has ended.
        """
        request = json.dumps({"argv": list(argv), "holder": holder}).encode()
        with self._lock:
            self._wait()
            assert self._socket is not None  # noqa: S101 - _wait() has looked
            socket.send_fds(self._socket, [request], [output.fileno()])
            return Forked(int(self._answer()))


LOADED = Loaded()
"""Of this process."""


def is_wanted() -> bool:
    """Whether starting a process is expensive on this machine."""
    return os.environ.get("OVN_IPSEC_LAB") == "guest"


def _serve(requests: socket.socket) -> None:
    for program in PROGRAMS:
        runpy.run_module(program, run_name="loaded")
    gc.freeze()  # or the first collection would copy every page
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them here
    requests.send(b"ready")
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, REQUEST_MAX, 1)
        if not request:
            return
        child = os.fork()
        if child == 0:
            requests.close()
            _become(request, descriptors[0])
            return
        os.close(descriptors[0])
        requests.send(str(child).encode())


def _become(request: bytes, output: int) -> None:
    wanted = json.loads(request)
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    cwd = Path.cwd()
    namespaces.enter(wanted["holder"])
    os.chdir(cwd)
    module, *arguments = wanted["argv"]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
