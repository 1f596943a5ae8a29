# SPDX-License-Identifier: Apache-2.0
"""One host of the cluster: a network namespace and a mount namespace with its own files.

Edge (processes, the kernel). ``/run`` is its own, ``/etc`` and ``/var`` are its own copies;
the rest is shared with all hosts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from .. import namespaces
from ..errors import CommandError, LabError
from ..waiting import stretched
from . import forks, jsonrpc
from .process import Daemon, DaemonSpec, Process

PROJECT = Path(__file__).resolve().parents[3]
"""The tree that holds the packages; our programs run from it."""

_OWN_COPIES = ("/etc", "/var")
_RUN_FOLDERS = ("/run/openvswitch", "/run/ovn", "/run/lock", "/run/ovn-ipsec")
_ETC_FOLDERS = ("/etc/ovn-ipsec", "/var/lib/ovn-ipsec", "/var/log/ovn", "/var/log/openvswitch")


class Host:
    """A host by its namespaces; ``open`` makes them, ``close`` ends all that runs there."""

    def __init__(self, name: str, folder: Path) -> None:
        """Remember the name and where the laboratory keeps this host's files."""
        self.name = name
        self.folder = folder
        self.logs = folder / "log"
        """Log files; the same path inside and outside."""
        self.daemons: dict[str, Daemon] = {}
        """What was started here, by name, in the order of the first start."""
        self._holder = 0

    def open(self) -> None:
        """Make the mount namespace; call it from the main thread, after ``ip netns add``."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self._holder = namespaces.hold(Path("/run/netns") / self.name, self._mount_own)

    def close(self) -> None:
        """End the daemons, the last first, and then the host."""
        for daemon in reversed(self.daemons.values()):
            daemon.kill()
        if self._holder:
            os.kill(self._holder, signal.SIGKILL)
            os.waitpid(self._holder, 0)
            self._holder = 0

    @property
    def holder(self) -> int:
        """The id of the process that holds its namespaces, for ``nsenter -t``."""
        return self._holder

    def _mount_own(self) -> None:
        for target in _OWN_COPIES:
            upper, work = (self.folder / f"{kind}{target}" for kind in ("up", "work"))
            upper.mkdir(parents=True, exist_ok=True)
            work.mkdir(parents=True, exist_ok=True)
            data = f"lowerdir={target},upperdir={upper},workdir={work}"
            namespaces.mount("overlay", target, "overlay", data=data)
        namespaces.mount("run", "/run", "tmpfs")
        for folder in (*_RUN_FOLDERS, *_ETC_FOLDERS):
            Path(folder).mkdir(parents=True, exist_ok=True)

    # --- files -----------------------------------------------------------------------------

    def path(self, inside: str) -> Path:
        """Return where a file of this host is found from outside.

        Do not pass a path through an absolute symbolic link (``/var/run``): it would lead to
        the outside's.
        """
        return Path(f"/proc/{self._holder}/root{inside}")

    def read(self, inside: str) -> str:
        """Return a file's text."""
        return self.path(inside).read_text()

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Write a file, folders included, with the given mode from its first byte."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)

    # --- commands --------------------------------------------------------------------------

    def enter(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs another one in this host; the process id is the same."""
        return ["nsenter", "-t", str(self._holder), "-m", "-n", "--", *argv]

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        stdin: str = "",
        timeout: float = 60.0,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; its working directory is the project's.

        Raises:
            CommandError: It failed and ``check`` is set.
            LabError: It took too long.
        """
        limit_s = stretched(timeout)
        try:
            done = subprocess.run(
                self.enter(argv),
                check=False,
                capture_output=True,
                text=True,
                input=stdin,
                timeout=limit_s,
                cwd=PROJECT,
                env={**os.environ, **python_env(), **(env or {})},
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name}: {' '.join(argv)}: not within {limit_s:g} s") from error
        if check and done.returncode != 0:
            raise CommandError((self.name, *argv), done.returncode, done.stderr + done.stdout)
        return done

    def popen(self, argv: Sequence[str], **options: object) -> subprocess.Popen[str]:
        """Start a command; the options are those of ``subprocess.Popen``, in text mode."""
        settings: dict[str, object] = {"cwd": PROJECT, "text": True, **options}
        settings.setdefault("env", {**os.environ, **python_env()})
        process: subprocess.Popen[str] = subprocess.Popen(self.enter(argv), **settings)  # type: ignore[call-overload]
        return process

    # --- daemons ---------------------------------------------------------------------------

    def daemon(
        self,
        name: str,
        argv: Sequence[str],
        *,
        socket: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Daemon:
        """Declare a daemon, to be started by ``start``.

        Args:
            name: Its name here.
            argv: Its command; it must stay in the foreground.
            socket: The unix socket (inside) that answers once it is up; its control socket if none.
            env: Added to its environment.
        """

        def is_ready() -> bool:
            path = self.path(socket) if socket else self.control_socket(name)
            return path is not None and jsonrpc.answers(path)

        def clear() -> None:
            if socket:
                self.path(socket).unlink(missing_ok=True)

        spec = DaemonSpec(
            name=f"{self.name}/{name}",
            argv=self.enter(argv),
            output=self.logs / f"{name}.out",
            is_ready=is_ready,
            before_start=clear,
            env={**python_env(), **(env or {})},
            cwd=PROJECT,
            fork=None if env else self._fork_of(argv),
        )
        self.daemons[name] = Daemon(spec)
        return self.daemons[name]

    def _fork_of(self, argv: Sequence[str]) -> Callable[[BinaryIO], Process] | None:
        interpreter = python("-m")
        if not forks.is_wanted() or list(argv[:2]) != interpreter or argv[2] not in forks.PROGRAMS:
            return None
        return lambda output: forks.LOADED.start(argv[2:], self._holder, output)

    def appctl(self, target: str, command: str, *arguments: str) -> str:
        """Ask a daemon's control socket without forking.

        Args:
            target: The daemon's name; its socket is looked for in ``/run/openvswitch`` and
                ``/run/ovn`` as ``NAME.ctl`` or ``NAME.PID.ctl``.
            command: The command.
            arguments: Its arguments.

        Returns:
            The answer's text.

        Raises:
            LabError: No socket, or the daemon refused.
        """
        path = self.control_socket(target)
        if path is None:
            raise LabError(f"{self.name}: no control socket of {target}")
        return str(jsonrpc.call(path, command, arguments))

    def control_socket(self, target: str) -> Path | None:
        """Return where a daemon's control socket is seen from outside, None when there is none."""
        names = [f"{target}.ctl"]
        if target in self.daemons and self.daemons[target].is_alive:
            names.insert(0, f"{target}.{self.daemons[target].pid}.ctl")
        for folder in ("/run/openvswitch", "/run/ovn"):
            for name in names:
                if (path := self.path(f"{folder}/{name}")).exists():
                    return path
        return None


def python_env() -> dict[str, str]:
    """Return what our programs need in their environment to be found."""
    return {"PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}


def python(*arguments: str) -> list[str]:
    """Return the command that runs this interpreter."""
    return [sys.executable, *arguments]
