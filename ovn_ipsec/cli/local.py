# SPDX-License-Identifier: Apache-2.0
"""Edge: what the controller of this host answers, if there is one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import EdgeError

PROGRAM = "ovn-ipsec-controller"
NEXT_WITHOUT = (
    f"start {PROGRAM}, if this is a chassis: systemctl start {PROGRAM}; or name its socket with -t"
)
"""What to do when it does not answer."""
NEXT_FORBIDDEN = "run this as root"

Peer = dict[str, Any]
"""One pair, as `peers/show json` of the controller prints it."""


def next_step_after(error: EdgeError) -> str:
    """What to do when the controller could not be asked: it may run, and only root may ask it."""
    return NEXT_FORBIDDEN if isinstance(error.__cause__, PermissionError) else NEXT_WITHOUT


def own_rundir() -> Path:
    """Where the programs of Open vSwitch have their sockets and pidfiles."""
    return Path(os.environ.get("OVS_RUNDIR", "/var/run/openvswitch"))


def own_socket() -> str:
    """Find the control socket of the controller running here.

    Raises:
        EdgeError: None runs here.
    """
    return socket_of(PROGRAM, own_rundir())


def socket_of(program: str, rundir: Path) -> str:
    """Find the control socket of a program, as appctl does.

    Raises:
        EdgeError: It has left no pidfile.
    """
    pidfile = rundir / f"{program}.pid"
    try:
        pid = int(pidfile.read_text(encoding="ascii"))
    except FileNotFoundError:
        raise EdgeError(f"there is no {pidfile}: {program} does not run on this host") from None
    except OSError as error:
        raise EdgeError(f"{pidfile}: {error.strerror}") from error
    except ValueError as error:
        raise EdgeError(f"{pidfile} has no process id in it: {error}") from error
    return str(rundir / f"{program}.{pid}.ctl")


def ask_peers(target: str) -> list[Peer]:
    """Ask for all pairs.

    Args:
        target: Control socket.

    Raises:
        EdgeError: It does not answer, or not what this version understands.
    """
    return read_peers(_asked(target, "peers/show", "json"))


def ask(target: str, command: str, *words: str) -> dict[str, Any]:
    """Ask for something that is answered by one JSON object.

    Args:
        target: Control socket.
        command: As for appctl.
        words: Its arguments.

    Raises:
        EdgeError: It does not answer, or not what this version understands.
    """
    found = _json(_asked(target, command, *words))
    if not isinstance(found, dict):
        raise EdgeError(f"{PROGRAM} did not answer {command} with an object")
    return found


def _asked(target: str, command: str, *words: str) -> str:
    import ovs.unixctl.client  # noqa: PLC0415 - --help stays quick

    error, client = ovs.unixctl.client.UnixctlClient.create(target)
    if error:
        cause = OSError(error, os.strerror(error))
        raise EdgeError(f"{target}: {cause.strerror}") from cause
    try:
        broken, refused, answer = client.transact(command, list(words))
    finally:
        client.close()
    if broken:
        raise EdgeError(f"{target}: {os.strerror(broken)}")
    if refused is not None:
        raise EdgeError(f"{target}: {refused}")
    return str(answer)


def _json(text: str) -> object:
    try:
        found: object = json.loads(text)
    except ValueError as error:
        raise EdgeError(f"{PROGRAM} did not answer with JSON: {error}") from error
    return found


def read_peers(text: str) -> list[Peer]:
    """Parse the controller's answer.

    Raises:
        EdgeError: It is not a list of objects, so it is not of this version's making.
    """
    peers = _json(text)
    if not isinstance(peers, list) or not all(isinstance(peer, dict) for peer in peers):
        raise EdgeError(f"{PROGRAM} did not answer with a list of peers")
    return peers


def live_peers(target: str | None) -> dict[tuple[str, str, str], Peer]:
    """Ask for all pairs, where there is a controller to ask.

    Args:
        target: Control socket; None for that of the controller running here.

    Returns:
        By peer, local and remote address. Empty when no socket was named and none runs here.

    Raises:
        EdgeError: It runs and does not answer, or not what this version understands.
    """
    try:
        socket = target or own_socket()
    except EdgeError:
        return {}
    peers = ask_peers(socket)
    return {(str(p.get("peer")), str(p.get("local")), str(p.get("remote"))): p for p in peers}
