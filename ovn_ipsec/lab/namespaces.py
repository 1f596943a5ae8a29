# SPDX-License-Identifier: Apache-2.0
"""Network and mount namespaces by system call: no fork where a fork costs 50 ms.

Edge (the kernel, through libc). Python 3.11 has no ``os.setns``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

CLONE_NEWNS = 0x0002_0000
CLONE_NEWNET = 0x4000_0000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x4_0000
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by the flags for new ones, this thread alone."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Attach a file system to the tree of this mount namespace."""
    encoded = [text.encode() for text in (source, target, kind)]
    _check(_libc.mount(*encoded, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def unmount(target: str) -> None:
    """Detach a mount, lazily."""
    _check(_libc.umount2(target.encode(), 2), f"umount {target}")


def enter_network(path: Path) -> None:
    """Move this thread into the network namespace at that path."""
    _enter(path, CLONE_NEWNET)


def enter(pid: int) -> None:
    """Move this process, which has one thread, into the network and mounts of another one."""
    folder = Path(f"/proc/{pid}/ns")
    enter_network(folder / "net")
    _enter(folder / "mnt", CLONE_NEWNS)


def _enter(path: Path, kind: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(descriptor, kind), f"setns {path}")
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def inside_network(path: Path) -> Iterator[None]:
    """Be in another network namespace for the length of a block, this thread alone.

    A socket made inside stays there.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter_network(path)
        try:
            yield
        finally:
            _check(_libc.setns(home, CLONE_NEWNET), "setns back")
    finally:
        os.close(home)


def hold(network: Path, prepare: Callable[[], None]) -> int:
    """Fork a process that lives in the network namespace and a mount namespace of its own.

    It dies with the thread that called this, so call it from the main thread.

    Args:
        network: The network namespace, as ``ip netns`` names it.
        prepare: Runs in the new mount namespace; what it mounts is seen there only.

    Returns:
        The id of the holding process; ``nsenter -t`` takes it.

    Raises:
        OSError: The namespaces could not be made; the child's words are on standard error.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _hold_forever(network, prepare, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        answer = answers.read()
    if answer != b"ready":
        os.waitpid(child, 0)
        raise OSError(f"could not make a host: {answer.decode(errors='replace')}")
    return child


def _hold_forever(network: Path, prepare: Callable[[], None], writer: int) -> None:
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        enter_network(network)
        unshare(CLONE_NEWNS)
        mount("none", "/", flags=MS_REC | MS_PRIVATE)
        prepare()
        os.write(writer, b"ready")
        os.close(writer)
    except BaseException as error:  # noqa: BLE001 - the parent gets the words
        os.write(writer, repr(error).encode())
        os._exit(1)
    while True:
        signal.pause()
