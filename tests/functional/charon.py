# SPDX-License-Identifier: Apache-2.0
"""Real charons, each in a network namespace of its own, with nothing of the machine's config."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ovn_ipsec.lab.waiting import stretched

DAEMON = "/usr/sbin/charon-systemd"
PLUGINS = (
    "aes sha1 sha2 random nonce x509 revocation constraints curl pubkey pkcs1 pkcs8 pem openssl "
    "hmac kdf gcm drbg curve25519 kernel-netlink socket-default vici"
)
START_S = 60.0
FETCH_S = 2
"""As in the settings that we ship."""

_CONF = """
charon {{
  load = {plugins}
  threads = 16
  install_routes = no
  retransmit_timeout = {retransmit_s}
  retransmit_tries = 1
  half_open_timeout = 5
  ikesa_table_size = 1024
  ikesa_table_segments = 16
  plugins {{
    vici {{ socket = unix://{socket} }}
    revocation {{ timeout = {fetch_s}s }}
  }}
}}
charon-systemd {{
  journal {{ default = -1 }}
}}
"""


def missing() -> str:
    """Name what this machine lacks to run a charon in a namespace; empty when it can."""
    if os.geteuid() != 0:
        return "root"
    if not Path(DAEMON).exists():
        return f"{DAEMON} (package charon-systemd)"
    if shutil.which("ip") is None:
        return "ip (package iproute2)"
    probe = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True)
    return "" if probe.returncode == 0 else "network namespaces"


@dataclass
class Charon:
    """One daemon and its namespace."""

    netns: str
    folder: Path
    retransmit_s: int = 1
    """An emulated machine takes longer than that to answer."""
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def socket(self) -> Path:
        """Where vici listens."""
        return self.folder / "vici"

    @property
    def uri(self) -> str:
        """The same, as a URI."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start the daemon and wait until it listens."""
        conf = self.folder / "strongswan.conf"
        conf.write_text(
            _CONF.format(
                plugins=PLUGINS,
                socket=self.socket,
                retransmit_s=self.retransmit_s,
                fetch_s=FETCH_S,
            )
        )
        self.socket.unlink(missing_ok=True)
        with (self.folder / "charon.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.netns, DAEMON],
                env={**os.environ, "STRONGSWAN_CONF": str(conf)},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + stretched(START_S)
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = (self.folder / "charon.log").read_text(errors="replace")
                raise RuntimeError(f"charon did not start: {text[-2000:]}")
            time.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

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
def two_charons(retransmit_s: int = 1) -> Iterator[tuple[Charon, Charon]]:
    """Run two charons that reach each other at 10.9.0.1 and 10.9.0.2."""
    tag = f"ike{os.getpid() % 100_000}"
    with contextlib.ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="ovn-ipsec-"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        both = []
        for end in ("a", "b"):
            _ip("netns", "add", tag + end)
            stack.callback(_ip, "netns", "del", tag + end)
            (root / end).mkdir()
            both.append(Charon(tag + end, root / end, retransmit_s))
        one, other = both
        _ip("link", "add", "e0", "netns", one.netns, "type", "veth", "peer", "name", "e0",
            "netns", other.netns)  # fmt: skip
        for charon, address in ((one, "10.9.0.1/24"), (other, "10.9.0.2/24")):
            _ip("-n", charon.netns, "addr", "add", address, "dev", "e0")
            _ip("-n", charon.netns, "link", "set", "e0", "up")
            _ip("-n", charon.netns, "link", "set", "lo", "up")
            stack.callback(charon.kill)
            charon.start()
        yield one, other
