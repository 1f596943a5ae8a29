# SPDX-License-Identifier: Apache-2.0
"""Real charons, each in a network namespace of its own, with nothing of the machine's config."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.functional import ends

DAEMON = "/usr/sbin/charon-systemd"
PLUGINS = (
    "aes sha1 sha2 random nonce x509 revocation constraints curl pubkey pkcs1 pkcs8 pem openssl "
    "hmac kdf gcm drbg curve25519 kernel-netlink socket-default vici"
)
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
    return ends.lacks(Path(DAEMON), f"{DAEMON} (package charon-systemd)")


@dataclass
class Charon(ends.Daemon):
    """One charon."""

    retransmit_s: int = 1
    """An emulated machine takes longer than that to answer."""

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
        self.wait_until(self._listens, "charon.log")

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0


def two_charons(
    retransmit_s: int = 1,
) -> contextlib.AbstractContextManager[tuple[Charon, Charon]]:
    """Run two charons that reach each other at 10.9.0.1 and 10.9.0.2."""
    return ends.two("ike", lambda netns, folder: Charon(netns, folder, retransmit_s))
