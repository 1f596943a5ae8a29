# SPDX-License-Identifier: Apache-2.0
"""Edge: what Libreswan's pluto is, and which secrets it reads."""

from __future__ import annotations

from pathlib import Path

from ...errors import EdgeError
from ...ikes import PLUTO_CONTROL, is_pluto
from .programs import output_of
from .values import Pluto

WHACK = ("/usr/libexec/ipsec/whack", "/usr/lib/ipsec/whack")
SECRETS = Path("/etc/ipsec.secrets")


def look(control: Path = PLUTO_CONTROL, secrets: Path = SECRETS) -> Pluto:
    """Ask pluto whether it answers, and look what it is and which secrets it is told to read.

    Args:
        control: Its socket; the file with its process id is beside it.
        secrets: Its file of secrets.

    Raises:
        EdgeError: Nobody can tell: it does not answer in time, or we may not talk to it.
        OSError: A file cannot be read.
        ValueError: The file with its process id names no process.
    """
    fault = version = ""
    if not is_pluto(control.with_name("pluto.pid")):
        fault = f"pluto does not run: {control.with_name('pluto.pid')} names no process"
    else:
        whack = next((path for path in WHACK if Path(path).exists()), None)
        if whack is None:
            raise EdgeError("whack is missing (package libreswan)")
        output_of(whack, "--ctlsocket", str(control), "--briefstatus")
        version = output_of(whack, "--version").strip().removeprefix("Libreswan ")
    try:
        lines = secrets.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        lines = []
    words = (line.split() for line in lines)
    included = tuple(w[1] for w in words if len(w) > 1 and w[0] == "include")
    return Pluto(fault=fault, version=version, included=included)
