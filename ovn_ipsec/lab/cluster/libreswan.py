# SPDX-License-Identifier: Apache-2.0
"""Libreswan for a host of the laboratory: unpacked, not installed, since strongSwan is.

Edge (mounts, files).
"""

from __future__ import annotations

from pathlib import Path

from .. import namespaces

ROOT = Path(__file__).resolve().parents[3] / ".venv" / "libreswan"
"""Where ``tools/setup`` unpacks it."""
PLUTO = "/usr/libexec/ipsec/pluto"
CONTROL_SOCKET = "/run/pluto/pluto.ctl"
NSS = "/var/lib/ipsec/nss"
CONF = """config setup
\tuniqueids=no
"""
"""Two IKE_SAs of the same two chassis are none too many."""
SECRETS = "include /etc/ipsec.d/*.secrets\n"
"""As Debian's and Fedora's packages have it."""
_PARTS = ("usr/bin", "usr/libexec")


def missing() -> str:
    """Name what is missing here; empty: nothing."""
    return "" if (ROOT / PLUTO[1:]).exists() else f"{ROOT}, which tools/setup makes"


def mount() -> None:
    """Show its programs and libraries in this mount namespace, where a package has them."""
    libraries = sorted(ROOT.glob("usr/lib/*-linux-gnu"))
    for part in (*(ROOT / name for name in _PARTS), *libraries):
        target = Path("/") / part.relative_to(ROOT)
        above = ROOT / part.relative_to(ROOT / "usr")  # as /lib is /usr/lib
        lower = [str(one) for one in (part, above) if one.is_dir()]
        data = f"lowerdir={':'.join([*lower, str(target)])}"
        namespaces.mount("overlay", str(target), "overlay", data=data)


def arguments(log: Path) -> list[str]:
    """Return the command that runs it in the foreground."""
    return [PLUTO, "--nofork", "--config", "/etc/ipsec.conf", "--logfile", str(log)]
