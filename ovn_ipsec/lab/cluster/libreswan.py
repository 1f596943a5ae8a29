# SPDX-License-Identifier: Apache-2.0
"""Libreswan on a host of the laboratory: its settings, and how it is started.

Pure.
"""

from __future__ import annotations

from pathlib import Path

PLUTO = "/usr/libexec/ipsec/pluto"
CONTROL_SOCKET = "/run/pluto/pluto.ctl"
NSS = "/var/lib/ipsec/nss"
CONF = """config setup
\tuniqueids=no
"""
"""Two IKE_SAs of the same two chassis are none too many."""
SECRETS = "include /etc/ipsec.d/*.secrets\n"
"""As Debian's and Fedora's packages have it."""


def arguments(log: Path) -> list[str]:
    """Return the command that runs it in the foreground."""
    return [PLUTO, "--nofork", "--config", "/etc/ipsec.conf", "--logfile", str(log)]
