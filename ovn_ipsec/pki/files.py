# SPDX-License-Identifier: Apache-2.0
"""Edge (files): written whole or not at all, private where they must be, one writer at a time."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from .errors import BusyError, PkiError
from .psk import SECRET_MIN

PRIVATE, PUBLIC, FOLDER = 0o600, 0o644, 0o700
FILE_MAX = 1 << 26
"""Bytes that are read of one file; an index of a hundred thousand certificates is smaller."""
SECRET_MAX = 4096
AS_OWNER = "run this as root, or as the owner of the file"
POLL_S = 0.01, 0.05
"""Between two attempts to lock: at random, so that a writer who comes back all the time lets us."""


@contextmanager
def telling(path: Path | str, doing: str) -> Iterator[None]:
    """Turn an OSError into a PkiError that names the file and what could not be done."""
    try:
        yield
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or type(error).__name__
        step = AS_OWNER if isinstance(error, PermissionError) else ""
        raise PkiError(str(path), f"cannot {doing}: {cause}", next_step=step) from None


def write(path: Path, data: bytes, mode: int = PUBLIC) -> None:
    """Replace a file atomically: a reader sees the old one or the new one, whole.

    The temporary file is beside it, under a fixed name, so that one that a kill left is reused.

    Raises:
        PkiError: It cannot be written; the old one is as it was.
    """
    temporary = path.with_name(f".{path.name}"[:250] + ".new")
    with telling(path, "write"):
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _settle(path.parent)


def _settle(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a private folder, and check one that is there."""
    with telling(path, "make this folder"):
        path.mkdir(mode=FOLDER, exist_ok=True)
    check_folder(path)


def check_folder(path: Path) -> None:
    """Refuse a folder that others can look into.

    Raises:
        PkiError: It is not there, not a folder, or not private.
    """
    with telling(path, "look into this folder"):
        found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise PkiError(str(path), "not a folder")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        what = f"others may read this folder (mode {mode:04o}); expected 0700"
        raise PkiError(str(path), what, next_step=f"chmod 0700 {path}")


def read(path: Path, *, limit: int = FILE_MAX, private: bool = False, start: int = 0) -> bytes:
    """Read a regular file.

    Args:
        path: The file.
        limit: Bytes that it may have.
        start: Where to begin.
        private: Refuse it when anybody but its owner, who is us or root, may read it.

    Raises:
        PkiError: It cannot be read, or is not such a file; says nothing of its content.
    """
    # Nonblocking, so that a pipe at that path holds nobody up.
    with telling(path, "read"):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise PkiError(str(path), "not a regular file")
        if private:
            _check_private(path, found)
        if found.st_size < start:
            raise PkiError(str(path), "has become shorter; its contents are lost")
        with telling(path, "read"), os.fdopen(descriptor, "rb", closefd=False) as file:
            file.seek(start)
            data = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise PkiError(str(path), f"larger than {limit} bytes")
    return data


def _check_private(path: Path, found: os.stat_result) -> None:
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        what = f"others may read this secret (mode {mode:04o}); expected 0600"
        raise PkiError(str(path), what, next_step=f"chmod 0600 {path}")
    if found.st_uid not in (0, os.geteuid()):
        raise PkiError(
            str(path), "this secret belongs to another user; expected root or the current user"
        )


def read_secret_file(path: Path | str) -> bytes:
    """Read the secret that a cluster shares.

    Args:
        path: A file of mode 0600 that belongs to us or to root.

    Returns:
        Its bytes without one newline at the end: at least 16 of them.

    Raises:
        PkiError: It is not such a file; says nothing of its content, not even the length.
    """
    data = read(Path(path), limit=SECRET_MAX, private=True)
    secret = data.removesuffix(b"\n").removesuffix(b"\r")
    if len(secret) < SECRET_MIN:
        what = f"too short for a secret; expected at least {SECRET_MIN} bytes"
        raise PkiError(str(path), what, next_step=f"openssl rand -base64 32 > {path}")
    return secret


@contextmanager
def locked(path: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file exclusively; the kernel releases it if this process dies.

    Args:
        path: The file.
        wait_s: How long to wait for who holds it now.

    Raises:
        BusyError: Another process held it all that time.
    """
    with telling(path, "lock"):
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, PRIVATE)
    try:
        attempts = Retrying(
            retry=retry_if_exception_type(BusyError),
            stop=stop_after_delay(wait_s),
            wait=wait_random(*POLL_S),
            reraise=True,
        )
        attempts(_lock, path, descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path, descriptor: int) -> None:
    with telling(path, "lock"):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = "another process is writing to this folder"
            raise BusyError(str(path.parent), what, next_step="try again") from None


def append(path: Path, end: int, data: bytes) -> None:
    """Append to a file, durably or not at all.

    Args:
        path: The file.
        end: Where what counts in it ends: whatever is behind that, a kill has left unfinished.
        data: What comes there.

    Raises:
        PkiError: It cannot be written; the file is as it was, as far as it counts.
    """
    with telling(path, "write"):
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _put(descriptor, end, data)
        finally:
            os.close(descriptor)


def _put(descriptor: int, end: int, data: bytes) -> None:
    start = end
    os.ftruncate(descriptor, start)
    try:
        while data:
            count = os.pwrite(descriptor, data, end)
            data, end = data[count:], end + count
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, start)
        raise


def tail(path: Path, start: int) -> bytes:
    """Read a file from an offset to the end of the last complete line.

    Raises:
        PkiError: It cannot be read, or is shorter than that.
    """
    data = read(path, private=True, start=start)
    return data[: data.rfind(b"\n") + 1]
