# SPDX-License-Identifier: Apache-2.0
"""Pure: what `ovn-ipsec peers` shows: counts, what is wrong, and single pairs where it is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from .finding import Finding, Level
from .groups import as_many_as_fit, grouped, heading, told
from .layout import Line, folded, height, table
from .settings import Exit
from .wording import duration, natural, plural

Pair = Mapping[str, Any]
"""One pair as the controller tells it; one of another version may not tell all of it."""

COLUMNS = ("peer", "state", "for", "local", "remote", "type", "mode", "ike/esp", "MTU")
FEW = 10
"""Pairs that are listed one by one, where there is room for them."""
NOT_UP = frozenset({"pending", "blocked"})
ORDER = ("blocked", "pending", "quarantined", "lingering", "clear", "encrypted")
STYLES = {"blocked": "red", "pending": "yellow", "encrypted": "green"}
COLOURS = {Exit.WELL: "bold green", Exit.DEGRADED: "bold yellow", Exit.CANNOT_TELL: "bold red"}
SEE_ALL = "ovn-ipsec peers --problems"
SEE_EACH = "one by one: ovn-ipsec peers --chassis '*'"
NEXT = "run ovn-ipsec doctor here and on the peer, or ovn-ipsec explain A B"


def judge_peers(pairs: Iterable[Pair]) -> Exit:
    """Degraded when a pair that is wanted encrypted is not up."""
    return Exit.DEGRADED if any(is_wrong(pair) for pair in pairs) else Exit.WELL


def is_wrong(pair: Pair) -> bool:
    """Whether a pair is to be encrypted and is not."""
    return _state(pair) in NOT_UP


def chosen(pairs: Iterable[Pair], glob: str) -> list[Pair]:
    """Those with peers whose names match."""
    return [pair for pair in pairs if fnmatchcase(_text(pair, "peer"), glob)]


def first_screen(pairs: Sequence[Pair], width: int | None, lines: int) -> list[Line]:
    """What fits on one screen.

    Args:
        pairs: All pairs of this chassis.
        width: Of the screen.
        lines: Of the screen.
    """
    groups = grouped(_findings(pairs))
    shown = list(_counts(pairs, width))
    bad = [Line(""), Line(heading(groups), "bold")] if groups else []
    few = _table(pairs, width) if len(pairs) <= FEW else []
    room = lines - height([*shown, *bad], width)
    if few and height([*few, *told(groups, width)], width) + 1 <= room:
        shown += [Line(""), *few]
        room -= height(few, width) + 1
    elif pairs and not groups:
        shown.append(Line(SEE_EACH, "dim"))
    return [*shown, *bad, *(as_many_as_fit(groups, width, room, SEE_ALL) if groups else [])]


def problems(pairs: Sequence[Pair], width: int | None) -> list[Line]:
    """Every problem with the names of all peers, and each pair that is not as it should be."""
    wrong = [pair for pair in pairs if is_wrong(pair)]
    listed = [Line(""), *_table(wrong, width)] if wrong else []
    return [*_counts(pairs, width), *_all(pairs, width), *listed]


def one_by_one(pairs: Sequence[Pair], width: int | None) -> list[Line]:
    """Every pair, and its problems."""
    return [*_table(pairs, width), *_all(pairs, width)]


def _all(pairs: Iterable[Pair], width: int | None) -> Iterator[Line]:
    groups = grouped(_findings(pairs))
    yield Line("")
    yield Line(heading(groups) or "no problems", "bold" if groups else "green")
    yield from told(groups, width)


def _counts(pairs: Sequence[Pair], width: int | None) -> Iterator[Line]:
    if not pairs:
        yield Line("no pairs: there is no other chassis, or encryption was never on")
        return
    counts = Counter(_state(pair) for pair in pairs)
    found = ", ".join(f"{counts[state]} {state}" for state in sorted(counts, key=_place))
    style = COLOURS[judge_peers(pairs)]
    yield from folded(f"{plural(len(pairs), 'pair')}: {found}", width, indent="    ", style=style)


def _findings(pairs: Iterable[Pair]) -> Iterator[Finding]:
    """What is wrong with pairs; an error that a pair got over is a warning."""
    for pair in pairs:
        state, error = _state(pair), _text(pair, "last_error")
        if is_wrong(pair) or error:
            yield Finding(
                subject=_text(pair, "peer"),
                problem=f"{state}: {error}" if error else state,
                next_step=NEXT,
                level=Level.PROBLEM if is_wrong(pair) else Level.WARNING,
            )


def _table(pairs: Iterable[Pair], width: int | None) -> list[Line]:
    ordered = sorted(pairs, key=_rank)
    styles = [STYLES.get(_state(pair), "") for pair in ordered]
    return table(COLUMNS, [words(pair) for pair in ordered], width, styles)


def words(pair: Pair) -> tuple[str, ...]:
    """One row of the table."""
    since, sas = pair.get("since_s"), [_text(pair, "ike"), _text(pair, "esp")]
    return (
        _text(pair, "peer"),
        _state(pair),
        duration(since) if isinstance(since, int | float) else "",
        _text(pair, "local"),
        _text(pair, "remote"),
        _text(pair, "type"),
        _text(pair, "mode"),
        "/".join(sas) if any(sas) else "",
        _text(pair, "inner_mtu"),
    )


def _rank(pair: Pair) -> tuple[object, ...]:
    addresses = (natural(_text(pair, "local")), natural(_text(pair, "remote")))
    return (_place(_state(pair)), natural(_text(pair, "peer")), *addresses)


def _place(state: str) -> tuple[int, str]:
    """What is wrong comes first, what is unheard of last."""
    return (ORDER.index(state) if state in ORDER else len(ORDER)), state


def _state(pair: Pair) -> str:
    return _text(pair, "state") or "unknown"


def _text(pair: Pair, key: str) -> str:
    value = pair.get(key)
    return "" if value is None else str(value)
