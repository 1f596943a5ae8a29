# SPDX-License-Identifier: Apache-2.0
"""Pure: what a program can be asked by Prometheus: metrics, and samples of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """How the numbers of a metric move."""

    GAUGE = "gauge"
    """Up and down."""
    COUNTER = "counter"
    """Only up; it starts over with what it counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric: the rows of the reference page are made of these."""

    name: str
    """As Prometheus wants it: base unit at the end, and then `_total` of a counter."""
    meaning: str
    """One sentence: what the number is, in which unit."""
    kind: Kind = Kind.GAUGE
    labels: tuple[str, ...] = ()

    def at(self, value: float, *labels: str) -> Sample:
        """Make a sample.

        Args:
            value: Now.
            labels: Values, in the order of the metric's labels.

        Raises:
            ValueError: There are more or fewer labels than the metric has.
        """
        return Sample(self, tuple(zip(self.labels, labels, strict=True)), float(value))

    def one_of(self, states: Iterable[str], current: str) -> Iterator[Sample]:
        """Make a sample for each state of a metric whose one label is the state: 1 or 0."""
        return (self.at(state == current, state) for state in states)


class Sample(NamedTuple):
    """A number of a metric, for one set of labels."""

    metric: Metric
    labels: tuple[tuple[str, str], ...]
    """Names and values."""
    value: float


LAST_PASS = Metric(
    name="ovn_ipsec_last_pass_timestamp_seconds",
    meaning="Unix time of the last complete pass of the program. If it is older than a minute, the"
    " program hangs or keeps failing.",
)
"""Of every program: the other numbers are as old as that."""
