# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec probe`."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import click

from ..clock import SYSTEM
from ..errors import EdgeError
from ..model.text import printable
from . import local
from .output import complain, say, say_json
from .settings import Exit, Settings

DAEMONS = {
    "controller": (local.PROGRAM, "OVS_RUNDIR", "/var/run/openvswitch"),
    "northd": ("ovn-ipsec-northd", "OVN_RUNDIR", "/var/run/ovn"),
}
"""What each of them is called, and where its control socket is: a variable, and without it."""
LIVE, READY = "version", "is-ready"
"""What is asked: something that every release answers, and whether systemd has heard READY=1."""
ANSWER_MAX = 65536


@click.command(name="probe", short_help="Check that a daemon on this host is alive and ready.")
@click.argument("daemon", type=click.Choice(list(DAEMONS)))
@click.option("--live", is_flag=True, help="Ask only whether it answers, ready or not.")
@click.option(
    "-t",
    "--target",
    metavar="SOCKET",
    help="Control socket of the daemon (default: that of the one on this host).",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the answer may take.",
)
@click.pass_obj
def command(
    settings: Settings, daemon: str, live: bool, target: str | None, timeout: float
) -> None:
    """Check that a daemon on this host is alive and ready, as a probe of Kubernetes does.

    The controller is ready as soon as nothing can leave in clear text that should not: it knows the
    policy and the guard follows it, or a guard from before is in force, or no southbound is set.
    ovn-ipsec-northd is ready, active or standby, as soon as it has read both databases. Exit
    status: 0 ready (with --live: alive), 1 alive but not ready, 2 no answer.
    """
    program, variable, rundir = DAEMONS[daemon]
    try:
        path = target or local.socket_of(program, Path(os.environ.get(variable, rundir)))
        text = answer(path, LIVE if live else READY, timeout)
    except EdgeError as error:
        if settings.as_json:
            say_json({"program": program, "alive": False, "ready": None}, indent=None)
        complain(error.diagnostics(), f"see why {program} does not answer: its log, or its unit")
        sys.exit(Exit.CANNOT_TELL)
    ready = None if live else text == "true"
    if settings.as_json:
        say_json({"program": program, "alive": True, "ready": ready}, indent=None)
    elif ready is False:
        complain(f"{program} is alive but not ready yet")
    else:
        say(f"{program} is {'alive' if live else 'ready'}")
    sys.exit(Exit.DEGRADED if ready is False else Exit.WELL)


def answer(path: str, method: str, timeout_s: float) -> str:
    """Ask a control socket; unlike the client of the ovs library, not for ever.

    Args:
        path: The socket.
        method: As for appctl.
        timeout_s: For all of it.

    Raises:
        EdgeError: There is no answer in time, or the command is refused.

    Source:
        ovs-appctl(8): JSON-RPC 1.0 over a Unix domain socket.
    """
    request = json.dumps({"id": 0, "method": method, "params": []}).encode()
    end = SYSTEM.monotonic() + timeout_s
    data = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(timeout_s)
            control.connect(path)
            control.sendall(request)
            while len(data) < ANSWER_MAX:
                control.settimeout(max(0.001, end - SYSTEM.monotonic()))
                part = control.recv(4096)
                data += part
                found = read_answer(data)
                if found is not None:
                    return found
                if not part:
                    break
    except TimeoutError:
        raise EdgeError(f"{path}: no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror or error}") from None
    raise EdgeError(f"{path}: the answer to {method} is incomplete")


def read_answer(data: bytes) -> str | None:
    """Read a whole answer.

    Args:
        data: What has come so far.

    Returns:
        What the command printed, without blanks around it; None: more has to come.

    Raises:
        EdgeError: The command is refused.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        raise EdgeError("a control socket did not answer with an object")
    if found.get("error") is not None:
        raise EdgeError(printable(str(found["error"])))
    return str(found.get("result")).strip()
