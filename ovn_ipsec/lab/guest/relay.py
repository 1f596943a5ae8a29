# SPDX-License-Identifier: Apache-2.0
"""Take the guest's serial line apart: what its user sees, its exit status, its artefacts.

Pure. Input: bytes as they come; output: bytes to show, and what was learned on the way.
"""

from __future__ import annotations

import base64
import binascii


class Relay:
    """A filter that passes all but the lines opened by a token."""

    def __init__(self, token: str) -> None:
        self.status: int | None = None
        """The command's exit status, once its line was seen."""
        self.token = token
        """Opens each line that is not for the user."""
        self._token = token.encode()
        self._held = b""
        self._inside_line = False
        self._artefacts: list[bytes] | None = None
        self._complete = False

    def feed(self, data: bytes) -> bytes:
        """Take what came and return what may be shown now.

        A line that has not ended is shown at once, as a prompt must be, unless it may yet turn
        out to be one of ours.
        """
        shown = []
        self._held += data
        while self._held and self.status is None:
            line, newline, rest = self._held.partition(b"\n")
            if not newline and self._may_be_ours(line):
                break
            self._held = rest
            shown.append(self._pass(line + newline))
        return b"".join(shown)

    def artefacts(self) -> bytes | None:
        """Return the gzipped tar that the guest sent, or None if it sent none or half of one."""
        if not self._complete or self._artefacts is None:
            return None
        try:
            return base64.b64decode(b"".join(self._artefacts))
        except binascii.Error:
            return None

    def _may_be_ours(self, line: bytes) -> bool:
        if self._inside_line:
            return False
        collecting = self._artefacts is not None and not self._complete
        return collecting or line.startswith(self._token) or self._token.startswith(line)

    def _pass(self, line: bytes) -> bytes:
        first, self._inside_line = not self._inside_line, not line.endswith(b"\n")
        words = line.split()
        if first and words and words[0] == self._token:
            self._learn(words[1:])
            return b""
        if self._artefacts is not None and not self._complete:
            self._artefacts.append(line.strip())
            return b""
        return line

    def _learn(self, words: list[bytes]) -> None:
        match words:
            case [b"status", number]:
                self.status = int(number)
            case [b"artefacts"]:
                self._artefacts = []
            case [b"end"]:
                self._complete = True
            case _:
                pass
