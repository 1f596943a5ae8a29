# SPDX-License-Identifier: Apache-2.0
"""Pure: what Prometheus can read from a program: metrics, and samples of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """How the value of a metric moves."""

    GAUGE = "gauge"
    """Up and down."""
    COUNTER = "counter"
    """Only up; it restarts at zero together with what it counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric; the rows of the reference page are made from these."""

    name: str
    """As Prometheus requires: base unit at the end, and `_total` after that for a counter."""
    meaning: str
    """One sentence: what the number is, in which unit."""
    kind: Kind = Kind.GAUGE
    labels: tuple[str, ...] = ()

    def at(self, value: float, *labels: str) -> Sample:
        """Make a sample.

        Args:
            value: The current value.
            labels: Values, in the order of the metric's labels.

        Raises:
            ValueError: There are more or fewer labels than the metric has.
        """
        return Sample(self, tuple(zip(self.labels, labels, strict=True)), float(value))

    def one_of(self, states: Iterable[str], current: str) -> Iterator[Sample]:
        """Make a sample for each state, 1 or 0, for a metric whose only label is the state."""
        return (self.at(state == current, state) for state in states)


class Sample(NamedTuple):
    """A value of a metric, for one set of labels."""

    metric: Metric
    labels: tuple[tuple[str, str], ...]
    """Names and values."""
    value: float


LAST_PASS = Metric(
    name="ovn_ipsec_last_pass_timestamp_seconds",
    meaning="Unix time of the last complete pass of the program. If it is older than a minute, the"
    " program hangs or keeps failing.",
)
"""For every program: the other values are as old as this one."""
