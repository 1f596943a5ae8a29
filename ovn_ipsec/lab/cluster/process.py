# SPDX-License-Identifier: Apache-2.0
"""One daemon on one host: started in the foreground, ended by its id and by nothing else.

Edge (processes).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from ..errors import LabError
from ..waiting import stretched, wait_until


class Process(Protocol):
    """What is needed of ``subprocess.Popen``."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    def poll(self) -> int | None:
        """Return None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises ``subprocess.TimeoutExpired``."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Send a signal if it runs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSpec:
    """How a daemon is started and when it counts as up."""

    name: str
    """Its name on its host, such as ``ovn-controller``."""
    argv: Sequence[str]
    """The whole command, with what enters its host's namespaces."""
    output: Path
    """Where its standard output and error go."""
    is_ready: Callable[[], bool]
    """Polled after the start."""
    before_start: Callable[[], None] = lambda: None
    """Clears what the last run may have left, such as a socket."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment."""
    cwd: Path = Path("/")
    """Where it runs."""
    fork: Callable[[BinaryIO], Process] | None = None
    """Starts it in a cheaper way than by its command, with its output as given."""


START_S = 180.0
"""How long a daemon may take to start: Python in a guest without KVM is slow on a busy machine."""


class Daemon:
    """A process that tests start, stop, kill and start again."""

    def __init__(self, spec: DaemonSpec) -> None:
        self.spec = spec
        self._process: Process | None = None

    @property
    def name(self) -> str:
        """Its name on its host."""
        return self.spec.name

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            LabError: It does not run.
        """
        if self._process is None or self._process.poll() is not None:
            raise LabError(f"{self.name} does not run")
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True, timeout: float = START_S) -> None:
        """Start it, and wait until it is up.

        Raises:
            LabError: It runs already, ended at once, or is not up in time.
        """
        if self.is_alive:
            raise LabError(f"{self.name} runs already")
        self.spec.before_start()
        with self.spec.output.open("ab") as output:
            fork = self.spec.fork or self._by_command
            self._process = fork(output)
        if wait:
            self.wait_ready(timeout)

    def _by_command(self, output: BinaryIO) -> Process:
        return subprocess.Popen(
            list(self.spec.argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=self.spec.cwd,
            env={**os.environ, **self.spec.env},
        )

    def wait_ready(self, timeout: float = START_S) -> None:
        """Wait until it is up.

        Raises:
            LabError: It ended, with its last words, or is not up in time.
        """

        def up_or_dead() -> bool:
            return not self.is_alive or self.spec.is_ready()

        wait_until(up_or_dead, timeout, f"{self.name} up", every=0.1)
        if not self.is_alive:
            words = self.spec.output.read_text(errors="replace")[-1500:]
            raise LabError(f"{self.name} ended at once: {words}")

    def stop(self, timeout: float = 30.0) -> None:
        """Ask it to end (SIGTERM) and wait; by force when it does not."""
        self.signal(signal.SIGTERM)
        if self._process is None:
            return
        try:
            self._process.wait(stretched(timeout))
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if it runs."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()
