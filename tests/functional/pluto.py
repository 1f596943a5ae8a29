# SPDX-License-Identifier: Apache-2.0
"""Real plutos, each in a network namespace of its own, unpacked beside the machine's strongSwan."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from controller.ike.libreswan.tools import Places
from ovn_ipsec.lab.waiting import stretched

ROOT = Path(__file__).parents[2] / ".venv" / "libreswan"
"""Where tools/setup unpacks it."""
START_S = 60.0
_EXEC = "usr/libexec/ipsec"
# pluto looks for addconn there, wherever it is itself.
_START = f"""
set -e
mount -t overlay overlay -o lowerdir={ROOT}/usr/libexec:/usr/libexec /usr/libexec
exec /{_EXEC}/pluto "$@"
"""


def missing() -> str:
    """Name what this machine lacks to run a pluto in a namespace; empty when it can."""
    if os.geteuid() != 0:
        return "root"
    if not (ROOT / _EXEC / "pluto").exists():
        return f"{ROOT}, which tools/setup makes"
    if shutil.which("ip") is None:
        return "ip (package iproute2)"
    probe = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True)
    return "" if probe.returncode == 0 else "network namespaces"


def environment() -> Mapping[str, str]:
    """What its programs need to find their libraries."""
    folders = sorted({str(path.parent) for path in ROOT.rglob("*.so*")})
    return {"LD_LIBRARY_PATH": ":".join(folders), "IPSEC_EXECDIR": str(ROOT / _EXEC)}


@dataclass
class Pluto:
    """One daemon and its namespace."""

    netns: str
    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

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
        """Start the daemon and wait until it listens."""
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
        deadline = time.monotonic() + stretched(START_S)
        while not self._listens(heard):
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = (self.folder / "out").read_text(errors="replace")
                raise RuntimeError(f"pluto did not start: {text[-2000:]}")
            time.sleep(0.02)

    def _listens(self, before: int) -> bool:
        found = (self.folder / "pluto.ctl").exists() and (self.folder / "log").exists()
        return found and self.log.count("listening for IKE") > before

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


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def two_plutos() -> Iterator[tuple[Pluto, Pluto]]:
    """Run two plutos that reach each other at 10.9.0.1 and 10.9.0.2."""
    tag = f"lsw{os.getpid() % 100_000}"
    with contextlib.ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="ovn-ipsec-"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        both = []
        for end in ("a", "b"):
            _ip("netns", "add", tag + end)
            stack.callback(_ip, "netns", "del", tag + end)
            (root / end).mkdir()
            both.append(Pluto(tag + end, root / end))
        one, other = both
        _ip("link", "add", "e0", "netns", one.netns, "type", "veth", "peer", "name", "e0",
            "netns", other.netns)  # fmt: skip
        for pluto, address in ((one, "10.9.0.1/24"), (other, "10.9.0.2/24")):
            _ip("-n", pluto.netns, "addr", "add", address, "dev", "e0")
            _ip("-n", pluto.netns, "link", "set", "e0", "up")
            _ip("-n", pluto.netns, "link", "set", "lo", "up")
            stack.callback(pluto.kill)
            pluto.prepare()
            pluto.start()
        yield one, other
