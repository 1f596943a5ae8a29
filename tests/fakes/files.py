# SPDX-License-Identifier: Apache-2.0
"""A FileWatch that says what a test wants."""

from __future__ import annotations

from collections.abc import Iterable


class FakeWatch:
    """Nothing happens but what the test lets happen."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.works = True
        self.happened = False

    def watch(self, paths: Iterable[str]) -> bool:
        """See FileWatch."""
        self.paths = list(paths)
        return self.works

    def drain(self) -> bool:
        """See FileWatch."""
        happened, self.happened = self.happened, False
        return happened

    def fileno(self) -> int:
        """See FileWatch."""
        return -1

    def close(self) -> None:
        """See FileWatch."""
