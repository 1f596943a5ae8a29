# SPDX-License-Identifier: Apache-2.0
"""Real plutos, each in a network namespace of its own, unpacked beside the machine's strongSwan."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from controller.ike.libreswan.tools import Places
from tests.functional import ends

_VENV = Path(__file__).parents[2] / ".venv"
_EXEC = "usr/libexec/ipsec"
PROGRAMS = {"addconn": _EXEC, "whack": _EXEC, "certutil": "usr/bin", "pk12util": "usr/bin"}
"""And where they are in it."""


@dataclass(frozen=True)
class Build:
    """One Libreswan, where tools/setup unpacks it."""

    version: str
    folder: str

    @property
    def root(self) -> Path:
        """Where it is."""
        return _VENV / self.folder

    @property
    def libraries(self) -> list[Path]:
        """The folders with what its programs link to."""
        if self.loader is not None:
            return [self.loader.parent]
        return sorted({path.parent for path in self.root.rglob("*.so*")})

    @property
    def loader(self) -> Path | None:
        """Its own C library's loader, if it came with one: this machine's may be too old."""
        return next(iter(self.root.glob("usr/lib/*-linux-gnu/ld-linux*.so.*")), None)

    @property
    def environment(self) -> Mapping[str, str]:
        """What its programs need to find their libraries."""
        found = {"IPSEC_EXECDIR": str(self.root / _EXEC)}
        if self.loader is None:
            found["LD_LIBRARY_PATH"] = ":".join(map(str, self.libraries))
        return found

    def command(self, program: str) -> list[str]:
        """How one of its programs is run outside its mounts."""
        path = str(self.root / program)
        if self.loader is None:
            return [path]
        return [str(self.loader), "--library-path", ":".join(map(str, self.libraries)), path]

    def start(self) -> str:
        """The shell command that runs its pluto, which looks for addconn where packages put it."""
        parts = ["usr/libexec"]
        if self.loader is not None:
            parts.append(str(self.loader.parent.relative_to(self.root)))
        mounts = [
            f"mount -t overlay overlay -o lowerdir={self.root}/{part}:/{part} /{part}"
            for part in parts
        ]
        # One command for all mounts: programs do not run between two of them.
        return f'set -e\n{" && ".join(mounts)}\nexec /{_EXEC}/pluto "$@"\n'


PATIENCE_S = 60.0
"""How long one of its programs may take: where nothing hangs, only the machine is slow."""
BUILDS = (Build("4.10", "libreswan"), Build("5.2", "libreswan-5.2"))


def demand(build: Build) -> None:
    """Skip the test if this machine cannot run a pluto in a namespace."""
    pluto = build.root / _EXEC / "pluto"
    if lacks := ends.lacks(pluto, f"Libreswan {build.version}, which tools/setup unpacks"):
        pytest.skip(f"needs {lacks}")
    ran = subprocess.run(
        [*build.command(f"{_EXEC}/pluto"), "--version"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **build.environment},
    )
    if ran.returncode != 0:
        why = ran.stderr.strip().rpartition("shared libraries: ")[2][:200]
        pytest.skip(f"Libreswan {build.version} does not run here: {why}")


@dataclass
class Pluto(ends.Daemon):
    """One pluto."""

    build: Build = field(kw_only=True)

    @property
    def places(self) -> Places:
        """Where it is, for a backend."""
        programs = {name: self.folder / "bin" / name for name in PROGRAMS}
        return Places(
            control=self.folder / "pluto.ctl",
            nss=self.folder / "nss",
            secrets=self.folder / "secrets" / "ovn-ipsec.secrets",
            folder=self.folder / "ours",
            programs=programs,
            environment=self.build.environment,
        )

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def prepare(self) -> None:
        """Make its database and its settings."""
        for name in ("nss", "d", "secrets", "bin"):
            (self.folder / name).mkdir()
        for name, folder in PROGRAMS.items():
            words = " ".join(self.build.command(f"{folder}/{name}"))
            (self.folder / "bin" / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            (self.folder / "bin" / name).chmod(0o755)
        (self.folder / "ipsec.conf").write_text("config setup\n\tuniqueids=no\n")
        secrets = self.folder / "ipsec.secrets"
        secrets.write_text(f"include {self.folder}/secrets/*.secrets\n")
        certutil, database = self.folder / "bin/certutil", f"sql:{self.folder}/nss"
        subprocess.run(
            [certutil, "-N", "-d", database, "--empty-password"],
            check=True,
            env={**os.environ, **self.build.environment},
        )

    def start(self) -> None:
        """Start the daemon and wait until it listens; the first time, it is prepared."""
        if not (self.folder / "nss").exists():
            self.prepare()
        for name in ("pluto.ctl", "pluto.pid"):
            (self.folder / name).unlink(missing_ok=True)
        words = ["--nofork", "--config", f"{self.folder}/ipsec.conf"]
        words += ["--ipsecdir", f"{self.folder}/d", "--nssdir", f"{self.folder}/nss"]
        words += ["--logfile", f"{self.folder}/log", "--rundir", f"{self.folder}"]
        words += ["--secretsfile", f"{self.folder}/ipsec.secrets", "--nhelpers", "2"]
        heard = self.log.count("listening for IKE") if (self.folder / "log").exists() else 0
        inside = ["ip", "netns", "exec", self.netns, "sh", "-c", self.build.start(), "pluto"]
        with (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [*inside, *words],
                env={**os.environ, **self.build.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self.wait_until(lambda: self._listens(heard), "out")

    def _listens(self, before: int) -> bool:
        found = (self.folder / "pluto.ctl").exists() and (self.folder / "log").exists()
        return found and self.log.count("listening for IKE") > before


def two_plutos(build: Build) -> contextlib.AbstractContextManager[tuple[Pluto, Pluto]]:
    """Run two plutos that reach each other at 10.9.0.1 and 10.9.0.2."""
    return ends.two("lsw", partial(Pluto, build=build))
