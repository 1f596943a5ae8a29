# SPDX-License-Identifier: Apache-2.0
"""Two IKE daemons, of whatever kind, each in a network namespace of its own, on one wire."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ovn_ipsec.lab.waiting import stretched

START_S = 60.0
WAIT_S = 60.0
ADDRESSES = ("10.9.0.1/24", "10.9.0.2/24")


def lacks(program: Path, what: str) -> str:
    """Name what this machine lacks to run a daemon in a namespace; empty when it can.

    Args:
        program: The daemon.
        what: How a person gets it.
    """
    if os.geteuid() != 0:
        return "root"
    if not program.exists():
        return what
    if shutil.which("ip") is None:
        return "ip (package iproute2)"
    probe = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True)
    return "" if probe.returncode == 0 else "network namespaces"


@dataclass
class Daemon:
    """One daemon and its namespace."""

    netns: str
    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the daemon and wait until it listens."""
        raise NotImplementedError

    def wait_until(self, listens: Callable[[], bool], output: str) -> None:
        """Wait until it listens.

        Args:
            listens: Whether it does.
            output: The file with what it says, in its folder.
        """
        assert self.process is not None
        deadline = time.monotonic() + stretched(START_S)
        while not listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = (self.folder / output).read_text(errors="replace")
                raise RuntimeError(f"the daemon did not start: {text[-2000:]}")
            time.sleep(0.02)

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.process.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.01)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it without a chance to clean up."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None


D = TypeVar("D", bound=Daemon)


@contextlib.contextmanager
def two(tag: str, make: Callable[[str, Path], D]) -> Iterator[tuple[D, D]]:
    """Run two daemons that reach each other at 10.9.0.1 and 10.9.0.2.

    Args:
        tag: What the names of their namespaces begin with.
        make: One, from the name of its namespace and a folder of its own.
    """
    tag = f"{tag}{os.getpid() % 100_000}"
    with contextlib.ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="ovn-ipsec-"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        both = []
        for end in ("a", "b"):
            _ip("netns", "add", tag + end)
            stack.callback(_ip, "netns", "del", tag + end)
            (root / end).mkdir()
            both.append(make(tag + end, root / end))
        one, other = both
        link = ("link", "add", "e0", "netns", one.netns, "type", "veth")
        _ip(*link, "peer", "name", "e0", "netns", other.netns)
        for daemon, address in zip(both, ADDRESSES, strict=True):
            _ip("-n", daemon.netns, "addr", "add", address, "dev", "e0")
            _ip("-n", daemon.netns, "link", "set", "e0", "up")
            _ip("-n", daemon.netns, "link", "set", "lo", "up")
            stack.callback(daemon.kill)
            daemon.start()
        yield one, other


def eventually(happened: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + stretched(WAIT_S)
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
