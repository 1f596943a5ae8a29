# SPDX-License-Identifier: Apache-2.0
"""Shell: keeps both layers of the guard in one wanted state, and restores what someone removed.

The layers are independent: one that fails is reported and tried again, and the others go on. The
first one is nftables, which judges a packet last: a change is made around it.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TypeVar

import structlog

from ovn_ipsec.errors import EdgeError, IPsecError
from ovn_ipsec.model.observation import Known, Unknown

from ..plan.boot import joined
from ..plan.guard import GuardCounters, GuardObserved, GuardState
from .layer import GuardLayer

_log = structlog.get_logger()

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class _Kept:
    layer: GuardLayer
    applied: Known[GuardState | None] | Unknown = field(default_factory=lambda: Unknown("new"))
    problem: str = ""
    read: bool = False
    """Whether it was ever read what it holds."""


class GuardKeeper:
    """The layers, and the state to which each was last brought."""

    def __init__(self, layers: list[GuardLayer]) -> None:
        self._kept = [_Kept(layer=layer) for layer in layers]
        self.wanted: GuardState | None = None

    @property
    def unread(self) -> bool:
        """Whether it is still unknown what an earlier run has left in some layer."""
        return not all(kept.read for kept in self._kept)

    @property
    def blind(self) -> bool:
        """Whether that is unknown for every layer."""
        return not any(kept.read for kept in self._kept)

    def found(self) -> GuardState | None:
        """Read what an earlier run left in layers that have not been read yet.

        Returns:
            Everything together: a pair is closed if any layer closes it. None: nothing is known.
        """
        states: list[GuardState] = []
        for kept in self._kept:
            if kept.read:
                continue
            match _observe(kept):
                case Known(value=observed):
                    kept.read, kept.problem = True, ""
                    if observed.sound:
                        kept.applied = Known(observed.state)
                    if observed.state is not None:
                        states.append(observed.state)
                case Unknown(reason=reason):
                    kept.problem = reason
        if not states:
            return None
        may_clear = frozenset.intersection(*(state.may_clear for state in states))
        return replace(reduce(joined, states), may_clear=may_clear)

    def keep(self, wanted: GuardState | None, *, without: Container[str] = frozenset()) -> bool:
        """Bring every layer to a state.

        The first layer only judges what the others let through, so a flow that is being closed is
        removed from it last; otherwise it would drop packets that still leave in clear meanwhile.

        Args:
            wanted: The state; None: nothing.
            without: Names of layers that are not tried now, unless they are in a known state.

        Returns:
            Whether all layers are in that state now.
        """
        self.wanted = wanted
        first, *rest = (kept for kept in self._kept if not _is_spared(kept, wanted, without))
        ready = self._bring(first, self._wider(first))
        held = [self._bring(kept, self._part(kept)) for kept in rest]
        ready = ready and self._bring(first, self._part(first)) and all(held)
        return ready and 1 + len(rest) == len(self._kept)

    def _wider(self, kept: _Kept) -> GuardState | None:
        """The wanted state of a layer, plus the flows that it lets through now."""
        part = self._part(kept)
        match kept.applied:
            case Known(value=before) if before is not None and part is not None and before != part:
                return replace(part, may_clear=part.may_clear | before.may_clear)
        return part

    def _part(self, kept: _Kept) -> GuardState | None:
        return None if self.wanted is None else kept.layer.part_of(self.wanted)

    def _bring(self, kept: _Kept, wanted: GuardState | None) -> bool:
        match kept.applied:
            case Known(value=before) if before == wanted:
                return True
        try:
            match kept.applied:
                case Known(value=before):
                    kept.layer.apply(before, wanted)
                case _ if wanted is None:
                    self._take_away(kept)
                case _:
                    kept.layer.rebuild(wanted)
        except Exception as error:  # noqa: BLE001 - no layer takes the other along
            cause = _cause(error)
            kept.applied = Unknown(cause)
            if kept.problem != cause:
                _log.error("guard_failed", layer=kept.layer.name, reason=cause)
            kept.problem = cause
            return False
        kept.applied, kept.read = Known(wanted), True
        kept.problem = ""
        return True

    @staticmethod
    def _take_away(kept: _Kept) -> None:
        match _observe(kept):
            case Known(value=observed):
                if observed.state is not None or not observed.sound:
                    kept.layer.apply(observed.state, None)
            case Unknown(reason=reason):
                raise EdgeError(reason)

    def audit(self) -> list[str]:
        """Compare the kernel with the state it was brought to, and restore what is missing.

        Returns:
            What was found, for the log.
        """
        found: list[str] = []
        for kept in self._kept:
            if self.wanted is None and not kept.read:
                continue
            if isinstance(kept.applied, Unknown):
                self._bring(kept, self._part(kept))
                continue
            match _observe(kept):
                case Known(value=observed) if observed.state == kept.applied.value and (
                    observed.sound
                ):
                    kept.problem = ""
                case Known(value=observed):
                    what = ", ".join(observed.damage) or "differs from what was installed"
                    what = "gone" if observed.state is None else what
                    found.append(f"{kept.layer.name}: {what}")
                    kept.applied = Unknown(what)
                    self._bring(kept, self._part(kept))
                case Unknown(reason=reason):
                    kept.problem = reason
        return found

    def available(self) -> dict[str, bool | None]:
        """Which layers this kernel can enforce; None for one that cannot be checked."""
        answers: dict[str, bool | None] = {}
        for kept in self._kept:
            answer = _ask(kept.layer.available)
            answers[kept.layer.name] = answer.value if isinstance(answer, Known) else None
        return answers

    def holds_all(self) -> bool:
        """Whether every layer holds what it can hold of the wanted state."""
        return all(self._is_held(kept) for kept in self._kept)

    def holds(self) -> bool:
        """Whether at least one layer holds what it can hold of the wanted state.

        That layer need not see VNIs: then `problems` reports it.
        """
        return any(self._is_held(kept) for kept in self._kept)

    def unheld(self) -> frozenset[str]:
        """Names of the layers that do not hold what they can hold of the wanted state."""
        return frozenset(kept.layer.name for kept in self._kept if not self._is_held(kept))

    def _is_held(self, kept: _Kept) -> bool:
        return isinstance(kept.applied, Known) and kept.applied.value == self._part(kept)

    def problems(self) -> dict[str, str]:
        """What is wrong, by layer; and as ``vnis``, that protected networks can leave in clear."""
        found = {kept.layer.name: kept.problem for kept in self._kept if kept.problem}
        wanted = self.wanted
        if wanted is None or not (wanted.vnis and wanted.may_clear):
            return found
        if not any(
            self._is_held(kept) and kept.layer.part_of(wanted) == wanted for kept in self._kept
        ):
            found["vnis"] = (
                f"no layer that sees VNIs is in force, so {len(wanted.vnis)} protected networks"
                " can pass in clear wherever a pair may be clear"
            )
        return found

    def counters(self) -> dict[str, GuardCounters | None]:
        """Packet counters by layer; None for one whose counters cannot be read."""
        answers: dict[str, GuardCounters | None] = {}
        for kept in self._kept:
            answer = _ask(kept.layer.counters)
            answers[kept.layer.name] = answer.value if isinstance(answer, Known) else None
        return answers


def _is_spared(kept: _Kept, wanted: GuardState | None, without: Container[str]) -> bool:
    """Whether a layer is not tried; one that may hold something is always emptied."""
    named = kept.layer.name in without
    return named and wanted is not None and isinstance(kept.applied, Unknown)


def _observe(kept: _Kept) -> Known[GuardObserved] | Unknown:
    return _ask(kept.layer.observe)


def _ask(question: Callable[[], Known[T] | Unknown]) -> Known[T] | Unknown:
    """Query a layer; if it raises an exception, nothing is known about it."""
    try:
        return question()
    except Exception as error:  # noqa: BLE001 - no layer takes the other along
        return Unknown(_cause(error))


def _cause(error: Exception) -> str:
    return error.diagnostics() if isinstance(error, IPsecError) else repr(error)[:200]
