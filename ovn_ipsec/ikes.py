# SPDX-License-Identifier: Apache-2.0
"""Edge: which IKE daemons this host has, and where they are. Output: IkesHere."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

from .model.ike import Ike, IkesHere

VICI = "unix:///run/charon.vici"
"""Where strongSwan has its socket, unless it is told otherwise."""
PLUTO_CONTROL = Path("/run/pluto/pluto.ctl")
"""Where Libreswan has its own; the file with its process id is beside it."""
PROGRAMS = {
    Ike.STRONGSWAN: (
        *("/usr/sbin/charon-systemd", "/usr/lib/ipsec/charon"),
        *("/usr/libexec/ipsec/charon", "/usr/libexec/strongswan/charon"),
    ),
    Ike.LIBRESWAN: ("/usr/libexec/ipsec/pluto", "/usr/lib/ipsec/pluto"),
}


def look(vici: str, pidfile: Path | None = None, root: Path = Path("/")) -> IkesHere:
    """Look which IKE daemons run and are installed.

    Args:
        vici: URI of strongSwan's socket.
        pidfile: Of pluto; None: the usual one.
        root: The folder that programs are below.
    """
    installed = (
        ike for ike, paths in PROGRAMS.items() if any((root / p[1:]).exists() for p in paths)
    )
    running, unknown = frozenset[Ike](), ""
    try:
        running = frozenset(_running(vici, pidfile or PLUTO_CONTROL.with_name("pluto.pid")))
    except OSError as error:
        unknown = f"{error.filename or vici}: {error.strerror}"
    except ValueError as error:
        unknown = str(error)
    return IkesHere(running=running, installed=frozenset(installed), unknown=unknown)


def _running(vici: str, pidfile: Path) -> Iterator[Ike]:
    if _listens(vici):
        yield Ike.STRONGSWAN
    if is_pluto(pidfile):
        yield Ike.LIBRESWAN


def _listens(uri: str) -> bool:
    """Whether somebody takes connections there; nobody waits for it."""
    scheme, _, path = uri.partition("://")
    if scheme != "unix" or not path.startswith("/"):
        raise ValueError(f"{uri[:80]!r} is not a vici socket: expected unix:///path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        try:
            sock.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:
            pass  # it listens, and others wait for it
    return True


def is_pluto(pidfile: Path) -> bool:
    """Tell whether the process that a file names is a pluto.

    Raises:
        OSError: The file cannot be read.
        ValueError: It names no process.
    """
    try:
        pid = int(pidfile.read_text("ascii").split()[0])
        name = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return False
    except (ValueError, IndexError):
        raise ValueError(f"{pidfile} names no process") from None
    return name == "pluto"
