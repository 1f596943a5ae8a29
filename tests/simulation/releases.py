# SPDX-License-Identifier: Apache-2.0
"""Programs of other releases: this one's, that leave keys out or say what nobody knows yet.

An older release lacks the keys that came after it, and leaves alone what it finds of them; a newer
one adds keys and words within the same schema.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import wraps

from controller import chassis
from ovn_ipsec.model.policy import ClusterPolicy
from ovn_ipsec.model.status import Digest
from ovn_ipsec.schema import report, sb_global

from . import logs

LATER = "ovn-ipsec-later"
"""A key that nobody knows."""


class Release(StrEnum):
    """How a program compares with this release."""

    OLDER = "older"
    NEWER = "newer"


UNKNOWN_BEFORE = frozenset(
    {
        *(report.PROFILES, report.AUTHS, report.WARNING, report.EXPIRES, report.MTU),
        *(sb_global.REVOKED, sb_global.ORIGIN),
    }
)
"""Keys that an older release does not write."""
_WORDS = {report.PROFILES: "later", report.AUTHS: "later"}
of_program: dict[str, Release] = {}
"""By the program's name; all others are of this release."""


def _as_of(program: str, keys: dict[str, str]) -> dict[str, str]:
    match of_program.get(program):
        case Release.OLDER:
            return {key: text for key, text in keys.items() if key not in UNKNOWN_BEFORE}
        case Release.NEWER:
            more = {key: f"{keys[key]} {word}" for key, word in _WORDS.items() if key in keys}
            return {**keys, **more, LATER: "1"}
        case None:
            return keys


def install() -> None:
    """Let programs write as their release does."""
    of_program.clear()
    chassis.format_digest = _of_release(report.format_digest)  # type: ignore[attr-defined]
    sb_global.format_policy = _of_northd(_FORMAT_POLICY)


_FORMAT_POLICY = sb_global.format_policy


def _of_release(write: Callable[[Digest], dict[str, str]]) -> Callable[[Digest], dict[str, str]]:
    @wraps(write)
    def writes(digest: Digest) -> dict[str, str]:
        return _as_of(logs.current(), write(digest))

    return writes


def _of_northd(
    write: Callable[[ClusterPolicy], dict[str, str]],
) -> Callable[[ClusterPolicy], dict[str, str]]:
    @wraps(write)
    def writes(policy: ClusterPolicy) -> dict[str, str]:
        program = logs.current()
        return _as_of(program, write(policy)) if program.startswith("northd") else write(policy)

    return writes
