# SPDX-License-Identifier: Apache-2.0
"""Pure: JSON texts one after the other out of a stream, as the ovs library reads them.

The library's own parser takes one character at a time unless its C extension is installed. This one
only looks for the end of each text (brackets outside strings) and leaves the rest to the standard
library; see docs/decisions/0007-json-parser.md for what that saves.
"""

from __future__ import annotations

import json
import re

_BEGINS = frozenset("{[")
_OPENS, _CLOSES = frozenset("{["), frozenset("}]")
_MARK = re.compile(r'[{}\[\]]|"(?:[^"\\]+|\\.)*("|\\?\Z)', re.DOTALL)
"""A bracket, or a string; its first group is the end of the string, if that is there yet."""
_REST = re.compile(r'(?:[^"\\]+|\\.)*("|\\?\Z)', re.DOTALL)
"""The rest of a string that began in an earlier part."""
_BLANK = " \t\r\n"


class JsonStream:
    """One text, fed in parts; another one needs another of these (ovs.json.Parser)."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._depth = 0
        self._open_string = self._escapes = self._done = False
        self._error = ""

    def feed(self, text: str) -> int:
        """Take a part.

        Args:
            text: Characters; those behind the end of the text are left alone.

        Returns:
            How many of them were taken.
        """
        if not self._parts:
            bare = text.lstrip(_BLANK)
            if not bare:
                return len(text)
            if bare[0] not in _BEGINS:
                self._error, self._done = "neither an object nor an array begins here", True
                return 0
        end = self._end(text)
        self._parts.append(text[:end])
        return end

    def _end(self, text: str) -> int:
        """Tell where in a part the text ends; its length if not there."""
        at = 0
        if self._open_string:
            match = _REST.match(text, 1 if self._escapes else 0)
            assert match is not None  # noqa: S101 - it matches everything, if only nothing
            self._note_string(match[1])
            at = match.end()
        for match in _MARK.finditer(text, at):
            mark = text[match.start()]
            if mark in _OPENS:
                self._depth += 1
            elif mark in _CLOSES:
                self._depth -= 1
                if not self._depth:
                    self._done = True
                    return match.end()
            else:
                self._note_string(match[1])
        return len(text)

    def _note_string(self, end: str) -> None:
        self._open_string, self._escapes = end != '"', end == "\\"

    def is_done(self) -> bool:
        """Tell whether the end of the text was there, or an error."""
        return self._done

    def finish(self) -> object:
        """Return what the text says; a str is what is wrong with it (ovs.json.Parser.finish)."""
        if self._error or not self._done:
            return self._error or "unexpected end of input"
        text = "".join(self._parts)
        try:
            value: object = json.loads(text)
            if "\\u" in text:
                # Half of a surrogate pair is no character, and nothing could write it down.
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            return f"it is not JSON: {error}"
        return value
