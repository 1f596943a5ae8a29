# SPDX-License-Identifier: Apache-2.0
"""Libreswan for a host of the laboratory: unpacked, not installed, since strongSwan is.

Edge (mounts, files).
"""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

from .. import namespaces
from ..errors import LabError

_VENV = Path(__file__).resolve().parents[3] / ".venv"
ROOTS = (_VENV / "libreswan", _VENV / "libreswan-5.2")
"""Where ``tools/setup`` unpacks 4.10, which needs libraries of Debian 12, and 5.2, of Debian 13."""
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
_OURS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")


@functools.cache
def root() -> Path | None:
    """Find the one that runs with the libraries of this machine; None: there is none."""
    return next((one for one in ROOTS if _runs(one)), None)


def _runs(one: Path) -> bool:
    pluto = one / PLUTO[1:]
    folders = sorted({str(path.parent) for path in one.glob("usr/lib/**/*.so*")})
    # This machine's C library stands before its own, as it does for all that runs beside it.
    loaded = {**os.environ, "LD_LIBRARY_PATH": ":".join([*_OURS, *folders])}
    words = [str(pluto), "--version"]
    return pluto.exists() and (
        subprocess.run(words, check=False, capture_output=True, env=loaded).returncode == 0
    )


def missing() -> str:
    """Name what is missing here; empty: nothing."""
    return "" if root() else f"a Libreswan in {_VENV}, which tools/setup makes"


def mount() -> None:
    """Show its programs and libraries in this mount namespace, where a package has them."""
    if (of := root()) is None:
        raise LabError(missing())
    libraries = sorted(of.glob("usr/lib/*-linux-gnu"))
    for part in (*(of / name for name in _PARTS), *libraries):
        target = Path("/") / part.relative_to(of)
        above = of / part.relative_to(of / "usr")  # as /lib is /usr/lib
        lower = [str(one) for one in (part, above) if one.is_dir()]
        data = f"lowerdir={':'.join([*lower, str(target)])}"
        namespaces.mount("overlay", str(target), "overlay", data=data)


def arguments(log: Path) -> list[str]:
    """Return the command that runs it in the foreground."""
    return [PLUTO, "--nofork", "--config", "/etc/ipsec.conf", "--logfile", str(log)]
