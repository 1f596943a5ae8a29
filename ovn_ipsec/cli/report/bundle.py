# SPDX-License-Identifier: Apache-2.0
"""Edge: an archive that is new, whole or not there, and for nobody else to read."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from ...errors import EdgeError

MODE = 0o600


def write(path: Path, members: Mapping[str, bytes], made: datetime) -> None:
    """Write an archive.

    Args:
        path: Where; its name without ``.tar.gz`` is the folder in it.
        members: Contents by name.
        made: The time of all of them.

    Raises:
        EdgeError: There is something at that path, or it cannot be written; then nothing is there.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, MODE)
    except FileExistsError:
        raise EdgeError(f"{path}: exists, and is not overwritten") from None
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), MODE)
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                for name, data in members.items():
                    archive.addfile(_member(path, name, data, made), io.BytesIO(data))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise EdgeError(f"{path}: {error.strerror or error}") from error


def _member(path: Path, name: str, data: bytes, made: datetime) -> tarfile.TarInfo:
    found = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}")
    found.size, found.mode, found.mtime = len(data), MODE, int(made.timestamp())
    return found
