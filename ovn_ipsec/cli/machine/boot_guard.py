# SPDX-License-Identifier: Apache-2.0
"""Edge: what the controller has left on disk to be denied from boot on."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path

from .values import KeptGuard

STATE_DIR = Path("/var/lib/ovn-ipsec")
NAME = "boot-guard.json"


def kept_guard(state_dir: Path) -> KeptGuard | None:
    """Read the boot guard.

    Returns:
        None where none is kept. One that is torn has a fault: at boot it denies everything.

    Raises:
        OSError: We may not look.
    """
    path = state_dir / NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        stored = json.loads(text)
        return KeptGuard(
            path=str(path),
            ports=frozenset(map(int, stored["ports"])),
            local=frozenset(map(ip_address, stored["local"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return KeptGuard(path=str(path), fault=f"cannot be read ({type(error).__name__})")
