# SPDX-License-Identifier: Apache-2.0
"""Edge: what the controller of this host says, if there is one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ovs.unixctl.client

from ..errors import EdgeError
from .peers import PROGRAM, read_peers


def live_peers(target: str | None) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Ask for all pairs.

    Args:
        target: Control socket; None for that of the controller running here.

    Returns:
        By peer, local and remote address. Empty when no socket was named and none runs here.

    Raises:
        EdgeError: It runs and does not answer, or not what this version understands.
    """
    socket = target or _socket()
    if socket is None:
        return {}
    peers = read_peers(_ask(socket))
    return {(str(p.get("peer")), str(p.get("local")), str(p.get("remote"))): p for p in peers}


def _socket() -> str | None:
    rundir = Path(os.environ.get("OVS_RUNDIR", "/var/run/openvswitch"))
    try:
        pid = int((rundir / f"{PROGRAM}.pid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return str(rundir / f"{PROGRAM}.{pid}.ctl")


def _ask(target: str) -> str:
    error, client = ovs.unixctl.client.UnixctlClient.create(target)
    if error:
        raise EdgeError(f"{target}: {os.strerror(error)}")
    try:
        broken, refused, answer = client.transact("peers/show", ["json"])
    finally:
        client.close()
    if broken or refused is not None:
        raise EdgeError(f"{target}: {os.strerror(broken) if broken else refused}")
    return str(answer)
