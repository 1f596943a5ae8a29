# SPDX-License-Identifier: Apache-2.0
"""Libreswan's programs: where they are, and how they are run.

Edge. Input: arguments. Output: what a program says. No secret is ever an argument, and no program
outlives its deadline.
"""

import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ovn_ipsec.errors import IkeError, IkeHungError
from ovn_ipsec.ikes import PLUTO_CONTROL

LIBEXEC = ("/usr/libexec/ipsec", "/usr/lib/ipsec")
"""Debian from 12 on and Fedora; others."""
SBIN = ("/usr/bin", "/usr/sbin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a Libreswan and its files are."""

    control: Path = PLUTO_CONTROL
    """pluto's socket; its pidfile is beside it."""
    nss: Path = Path("/var/lib/ipsec/nss")
    """pluto's database of keys and certificates."""
    secrets: Path = Path("/etc/ipsec.d/ovn-ipsec.secrets")
    """The file of ours that pluto includes."""
    folder: Path = Path("/var/lib/ovn-ipsec/libreswan")
    """For files that only live for a moment."""
    programs: Mapping[str, Path] = field(default_factory=dict)
    """Of addconn, whack, certutil and pk12util, those that are elsewhere than usual."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """In addition to ours."""

    @property
    def pidfile(self) -> Path:
        """Names pluto's process."""
        return self.control.with_name("pluto.pid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A program that has ended."""

    code: int
    said: str
    """Both its outputs."""


class Tools:
    """Runs the programs of one Libreswan."""

    def __init__(self, places: Places, deadline_s: float) -> None:
        self.places = places
        self.deadline_s = deadline_s

    def whack(self, *words: str, deadline_s: float | None = None) -> Ended:
        """Send pluto one message.

        Raises:
            IkeError: whack is missing, or pluto is gone.
            IkeHungError: pluto does not answer in time.
        """
        return self.run("whack", "--ctlsocket", str(self.places.control), *words,
                        deadline_s=deadline_s)  # fmt: skip

    def addconn(self, batch: Path) -> Ended:
        """Load, or replace, all connections of a file.

        Raises:
            IkeError: addconn is missing.
            IkeHungError: pluto does not answer in time.
        """
        socket = str(self.places.control)
        return self.run("addconn", "--ctlsocket", socket, "--config", str(batch), "--autoall")

    def run(
        self,
        program: str,
        *words: str,
        given: bytes = b"",
        descriptors: Sequence[int] = (),
        deadline_s: float | None = None,
    ) -> Ended:
        """Run a program to its end.

        Args:
            program: Its name.
            words: Its arguments.
            given: Its standard input.
            descriptors: Those that it inherits.
            deadline_s: How long it may take; None: as long as any.

        Raises:
            IkeError: It is missing.
            IkeHungError: It does not end in time, and was killed.
        """
        try:
            done = subprocess.run(  # noqa: S603 - our own words, and no shell
                [self.path(program), *words],
                input=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.places.environment},
                pass_fds=descriptors,
                timeout=self.deadline_s if deadline_s is None else deadline_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise IkeHungError(f"pluto does not answer {program} in time") from None
        except OSError as error:
            raise IkeError(f"{program} cannot be run: {error.strerror}") from None
        return Ended(code=done.returncode, said=done.stdout.decode("utf-8", "replace"))

    def tell(self, *words: str) -> None:
        """Send pluto a message that it answers at once, and do not wait for what it says later.

        Raises:
            IkeError: whack is missing.
            IkeHungError: pluto does not answer in time.
        """
        process = self.begin(*words)
        try:
            if process.stdout is None:
                raise IkeError("whack has no output")
            if not select.select([process.stdout], [], [], self.deadline_s)[0]:
                raise IkeHungError("pluto does not answer whack in time")
        finally:
            process.kill()
            process.communicate()

    def begin(self, *words: str) -> "subprocess.Popen[bytes]":
        """Send pluto a message, and do not wait for the end of what it says about it.

        Raises:
            IkeError: whack is missing.
        """
        command = [self.path("whack"), "--ctlsocket", str(self.places.control), *words]
        try:
            return subprocess.Popen(  # noqa: S603 - our own words, and no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.places.environment},
            )
        except OSError as error:
            raise IkeError(f"whack cannot be run: {error.strerror}") from None

    def path(self, program: str) -> str:
        """Find a program.

        Raises:
            IkeError: It is missing.
        """
        known = self.places.programs.get(program)
        folders = LIBEXEC if program in ("addconn", "whack", "pluto") else SBIN
        found = [known] if known else [Path(folder, program) for folder in folders]
        for path in found:
            if path.exists():
                return str(path)
        package = "libnss3-tools" if folders is SBIN else "libreswan"
        raise IkeError(f"{program} is missing (package {package})")


def write(path: Path, text: str) -> None:
    """Write a file that only we can read, and which is there as a whole or not at all.

    Raises:
        IkeError: It cannot be written.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as out:
            out.write(text)
        new.rename(path)
    except OSError as error:
        raise IkeError(f"{path} cannot be written: {error.strerror}") from None
