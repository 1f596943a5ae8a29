# SPDX-License-Identifier: Apache-2.0
"""Pure: what is said to vlog/set, and what vlog/list answers, as of ovs-vswitchd.

A program of ours writes its lines to one place: to the log file where it has one, else to standard
error, which OVS calls the console. A level can be set for that place alone.

Source: ovs lib/vlog.c, vlog_set_levels_from_string and vlog_get_levels; ovs-appctl(8).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

LEVELS: Mapping[str, int] = {"off": 50, "emer": 50, "err": 40, "warn": 30, "info": 20, "dbg": 10}
"""By the name that vlog/set takes: the lowest number of structlog that passes. No line of ours is
an emergency, so `emer` lets nothing pass either."""
DESTINATIONS = ("console", "syslog", "file")
DEFAULT = "dbg"
"""What a specification without a level sets, as in C."""
_ANY = "any"
_REFUSED = {
    "pattern": "a pattern cannot be set: --log-format says how lines are written",
    "facility": "a facility cannot be set: nothing goes to syslog",
}
_ELSEWHERE = {
    "console": "lines go to the log file, and to the console only what cannot be written there",
    "syslog": "nothing goes to syslog",
    "file": "there is no log file: give one with --log-file",
}


class SpecError(ValueError):
    """A specification that says nothing that could be set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One level to set."""

    module: str | None
    """None: all of them."""
    level: str
    """A key of LEVELS."""


def parse(words: Sequence[str], modules: Collection[str], destination: str) -> tuple[Setting, ...]:
    """Parse what stands behind vlog/set.

    Args:
        words: Each one specification: a module, a destination and a level in any order, with blanks
            or colons between; any of them may be left out, or be `any`.
        modules: Those that write lines.
        destination: Where lines go.

    Returns:
        The settings, in their order; without a word one that sets all to DEFAULT, as in C.

    Raises:
        SpecError: One of them cannot be followed, so none is.
    """
    return tuple(_parse_one(word, modules, destination) for word in words or ("",))


def _parse_one(text: str, modules: Collection[str], destination: str) -> Setting:
    found: dict[str, str] = {}
    for word in filter(None, re.split(r"[ ,:\t]", text.lower())):
        kind = _kind(word, modules, destination)
        if kind and kind in found:
            raise SpecError(f"cannot specify multiple {kind}s")
        found[kind] = word
    return Setting(module=found.get("module"), level=found.get("level", DEFAULT))


def _kind(word: str, modules: Collection[str], destination: str) -> str:
    """What a word is; empty for one that stands for anything."""
    if word in _REFUSED:
        raise SpecError(_REFUSED[word])
    if word in DESTINATIONS and word != destination:
        raise SpecError(f"{word}: {_ELSEWHERE[word]}")
    if word == destination:
        return "destination"
    if word in LEVELS:
        return "level"
    if word in modules:
        return "module"
    if word == _ANY:
        return ""
    raise SpecError(f'no destination, level, or module "{word[:80]}"')


def table(levels: Mapping[str, str], destination: str) -> str:
    """Lay levels out as vlog/list does.

    Args:
        levels: Keys of LEVELS by module.
        destination: Where lines go; elsewhere everything is off.
    """
    width = max([16, *map(len, levels)])
    lines = [
        f"{'':{width}} console    syslog    file",
        f"{'':{width}} -------    ------    ------",
    ]
    for module, level in sorted(levels.items()):
        said = [level if one == destination else "off" for one in DESTINATIONS]
        console, syslog, file = (word.upper() for word in said)
        lines.append(f"{module:<{width}}  {console:>4}       {syslog:>4}       {file:>4}")
    return "\n".join(lines)
