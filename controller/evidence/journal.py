# SPDX-License-Identifier: Apache-2.0
"""Edge: the journal of evidence, one file to which lines are appended, mode 0600.

Lines are not forced to disk: what a crash of the machine takes along is the end of the file, and
then the last line that is left says until when anything is known. A file that is written anew is
replaced as a whole.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from ovn_ipsec.errors import EdgeError
from ovn_ipsec.pki import files
from ovn_ipsec.pki.errors import PkiError


class Journal(Protocol):
    """Where lines are kept."""

    def read(self) -> str:
        """Everything that was kept; empty if there is nothing.

        Raises:
            EdgeError: It cannot be read.
        """

    def append(self, lines: str) -> None:
        """Add lines at the end.

        Raises:
            EdgeError: They are not kept, or not all of them: replace the whole.
        """

    def replace(self, lines: str) -> None:
        """Keep these lines and no others.

        Raises:
            EdgeError: What was kept before is still kept.
        """


class FileJournal:
    """A Journal in a file; its folder must exist."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        """Bytes that the file has if nobody else writes it."""

    def read(self) -> str:
        """See Journal."""
        if not os.path.lexists(self._path):
            return ""
        try:
            data = files.read(self._path)
        except PkiError as error:
            raise EdgeError(error.diagnostics()) from error
        self._size = len(data)
        return data.decode("ascii", "replace")

    def append(self, lines: str) -> None:
        """See Journal."""
        data = lines.encode("ascii", "replace")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags, files.PRIVATE)
            try:
                if os.fstat(descriptor).st_size != self._size:
                    raise EdgeError(f"{self._path}: was changed by something else")
                written = os.write(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise EdgeError(f"{self._path}: {error.strerror}") from error
        self._size += written
        if written != len(data):
            raise EdgeError(f"{self._path}: written in part")

    def replace(self, lines: str) -> None:
        """See Journal."""
        data = lines.encode("ascii", "replace")
        try:
            files.write(self._path, data, files.PRIVATE)
        except PkiError as error:
            raise EdgeError(error.diagnostics()) from error
        self._size = len(data)
