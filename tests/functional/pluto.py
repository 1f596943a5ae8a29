# SPDX-License-Identifier: Apache-2.0
"""Real plutos, each in a network namespace of its own, unpacked beside the machine's strongSwan."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.ike.libreswan.tools import Places
from tests.functional import ends

ROOT = Path(__file__).parents[2] / ".venv" / "libreswan"
"""Where tools/setup unpacks it."""
_EXEC = "usr/libexec/ipsec"
# pluto looks for addconn there, wherever it is itself.
_START = f"""
set -e
mount -t overlay overlay -o lowerdir={ROOT}/usr/libexec:/usr/libexec /usr/libexec
exec /{_EXEC}/pluto "$@"
"""


def missing() -> str:
    """Name what this machine lacks to run a pluto in a namespace; empty when it can."""
    return ends.lacks(ROOT / _EXEC / "pluto", f"{ROOT}, which tools/setup makes")


def environment() -> Mapping[str, str]:
    """What its programs need to find their libraries."""
    folders = sorted({str(path.parent) for path in ROOT.rglob("*.so*")})
    return {"LD_LIBRARY_PATH": ":".join(folders), "IPSEC_EXECDIR": str(ROOT / _EXEC)}


@dataclass
class Pluto(ends.Daemon):
    """One pluto."""

    @property
    def places(self) -> Places:
        """Where it is, for a backend."""
        programs = {name: ROOT / _EXEC / name for name in ("addconn", "whack")}
        programs |= {name: ROOT / "usr/bin" / name for name in ("certutil", "pk12util")}
        return Places(
            control=self.folder / "pluto.ctl",
            nss=self.folder / "nss",
            secrets=self.folder / "secrets" / "ovn-ipsec.secrets",
            folder=self.folder / "ours",
            programs=programs,
            environment=environment(),
        )

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def prepare(self) -> None:
        """Make its database and its settings."""
        for name in ("nss", "d", "secrets"):
            (self.folder / name).mkdir()
        (self.folder / "ipsec.conf").write_text("config setup\n\tuniqueids=no\n")
        secrets = self.folder / "ipsec.secrets"
        secrets.write_text(f"include {self.folder}/secrets/*.secrets\n")
        subprocess.run(
            [ROOT / "usr/bin/certutil", "-N", "-d", f"sql:{self.folder}/nss", "--empty-password"],
            check=True,
            env={**os.environ, **environment()},
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
        with (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.netns, "sh", "-c", _START, "pluto", *words],
                env={**os.environ, **environment()},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self.wait_until(lambda: self._listens(heard), "out")

    def _listens(self, before: int) -> bool:
        found = (self.folder / "pluto.ctl").exists() and (self.folder / "log").exists()
        return found and self.log.count("listening for IKE") > before


def two_plutos() -> contextlib.AbstractContextManager[tuple[Pluto, Pluto]]:
    """Run two plutos that reach each other at 10.9.0.1 and 10.9.0.2."""
    return ends.two("lsw", Pluto)
