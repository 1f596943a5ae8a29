# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in the laboratory itself, as against in the product that it tests.

Pure. Exceptions only.
"""

from __future__ import annotations


class LabError(RuntimeError):
    """The laboratory could not do what it was asked to."""


class CommandError(LabError):
    """A command inside the laboratory ended with a status other than 0."""

    def __init__(self, argv: tuple[str, ...], status: int, output: str) -> None:
        """Keep what ran, how it ended and what it said."""
        super().__init__(f"{' '.join(argv)}: status {status}: {output.strip()[-2000:]}")
        self.argv = argv
        self.status = status
        self.output = output
