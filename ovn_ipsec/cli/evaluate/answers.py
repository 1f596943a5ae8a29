# SPDX-License-Identifier: Apache-2.0
"""Pure: what one end asks the other, the answers, and what a controller says of the pair.

The far end answers one JSON object in a line to each word. It is another host, so its answers are
read as strictly as a row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ...errors import EdgeError
from ...model.text import printable
from .readings import ESP_ALGORITHMS, OFFLOADS, number
from .values import NONE, Facts, Sample

ANSWER_MAX = 65536
"""Bytes of an answer."""
QUESTION_MAX = 16
"""Bytes of a question."""
_TEXTS = ("chassis", "kernel", "boot", "processor", "device")
_TEXT_MAX = 253
_SUITES = {
    "default": "AES_GCM_16",
    "cnsa": "AES_GCM_16",
    "pq": "AES_GCM_16",
    "aes256-sha256": "AES_CBC-256/HMAC_SHA2_256_128",
    "chacha20": "CHACHA20_POLY1305",
}
"""How the suite of a CHILD_SA begins, by profile, as strongSwan names it."""


class Question(StrEnum):
    """What the far end is asked."""

    FACTS = "facts"
    SAMPLE = "sample"
    PAIR = "pair"
    END = "end"
    """That was all: take away what was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSeen:
    """What the controller of one end says of all pairs with the other chassis, taken together."""

    state: str
    """`mixed` where they differ, `unknown` where no controller answers."""
    profile: str
    suite: str

    def is_turned(self, profile: str) -> bool:
        """Whether the pair is treated with a profile, or not encrypted (NONE)."""
        if profile == NONE:
            return self.state == "clear"
        begins = self.suite.startswith(_SUITES.get(profile, "?"))
        return self.state == "encrypted" and self.profile == profile and begins


def both(before: str, after: str) -> str:
    """What was said before a measurement and after it, in one text."""
    return before if before == after else f"{before or 'none'}, later {after or 'none'}"


UNKNOWN = PairSeen(state="unknown", profile="", suite="")


def pair_seen(peers: Iterable[Mapping[str, Any]], peer: str) -> PairSeen:
    """Sum up what `peers/show` says of one peer."""
    found = [one for one in peers if one.get("peer") == peer]
    if not found:
        return UNKNOWN
    return PairSeen(
        state=_common(found, "state"),
        profile=_common(found, "profile"),
        suite=_common(found, "suite"),
    )


def _common(found: Iterable[Mapping[str, Any]], key: str) -> str:
    values = {printable(str(one.get(key, "")), _TEXT_MAX) for one in found}
    return values.pop() if len(values) == 1 else "mixed"


def line_of(value: Facts | Sample | PairSeen | None) -> bytes:
    """An answer, as it is sent."""
    return json.dumps({} if value is None else asdict(value)).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise EdgeError("the far end did not answer with an object")
    return found


def _text(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise EdgeError(f"the far end gave no {key}")
    return printable(value, _TEXT_MAX)


def parse_sample(line: bytes) -> Sample:
    """Read the answer to SAMPLE.

    Raises:
        EdgeError: It is none.
    """
    found = _object(line)
    return Sample(
        at_s=number(found, "at_s"),
        user_s=number(found, "user_s"),
        system_s=number(found, "system_s"),
        softirq_s=number(found, "softirq_s"),
        stolen_s=number(found, "stolen_s"),
    )


def parse_pair(line: bytes) -> PairSeen:
    """Read the answer to PAIR.

    Raises:
        EdgeError: It is none.
    """
    found = _object(line)
    return PairSeen(**{key: _text(found, key) for key in ("state", "profile", "suite")})


def parse_facts(line: bytes) -> Facts:
    """Read the answer to FACTS.

    Raises:
        EdgeError: It is none.
    """
    found = _object(line)
    offloads, drivers = found.get("offloads"), found.get("drivers")
    if not isinstance(offloads, list) or not set(map(str, offloads)) <= OFFLOADS:
        raise EdgeError("the far end gave no offloads")
    if not isinstance(drivers, dict) or not drivers.keys() <= ESP_ALGORITHMS.keys():
        raise EdgeError("the far end gave no drivers")
    return Facts(
        **{key: _text(found, key) for key in _TEXTS},
        processors=int(number(found, "processors")),
        mtu=int(number(found, "mtu")),
        offloads=tuple(sorted(map(str, offloads))),
        drivers={str(key): _text(drivers, key) for key in drivers},
    )
