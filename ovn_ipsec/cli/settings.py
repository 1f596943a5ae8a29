# SPDX-License-Identifier: Apache-2.0
"""Pure: the flags in front of the command, and the exit statuses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses of the commands."""

    WELL = 0
    DEGRADED = 1
    CANNOT_TELL = 2
    USAGE = 64
    """The command line is wrong: EX_USAGE of sysexits.h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The flags in front of the command."""

    ovnnb_db: str
    ovnsb_db: str
    private_key: str | None = None
    certificate: str | None = None
    ca_cert: str | None = None
    as_json: bool = False

    def with_json(self) -> Settings:
        """The same with --json."""
        return replace(self, as_json=True)
