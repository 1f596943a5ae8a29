# SPDX-License-Identifier: Apache-2.0
"""Chassis that are played in the bench of the switch do at it what the controller does."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.bench.switch.cluster import Cluster
from tests.bench.switch.costs import Costs
from tests.bench.switch.machine import Processor
from tests.fakes.timeline import Timeline

COUNT = 8
NOTHING = Costs()
MUCH = Costs(
    load_s=0.005, initiator_s=0.05, responder_s=0.016, list_one_s=0.003, transaction_s=0.001
)
"""The own CPU time of programs, which differs from run to run, is left out of both."""


def enforced_s(real: Iterable[int], costs: Costs) -> float:
    """Seconds from the switch on."""
    with Cluster(COUNT, real, costs) as cluster:
        times = cluster.switch_on()
    assert 0 < times.prepare < times.establish < times.first_sa < times.last_sa
    assert times.last_sa + 1.0 < times.enforce < times.enforced
    return times.enforced


@pytest.mark.parametrize("costs", [NOTHING, MUCH], ids=["nothing", "much"])
def test_a_cluster_that_is_played_takes_as_long_as_a_real_one(costs: Costs) -> None:
    """Whatever operations cost, and whichever chassis run the controller."""
    expected = pytest.approx(enforced_s(range(COUNT), costs), rel=0.15)
    assert enforced_s([0, COUNT // 2, COUNT - 1], costs) == expected
    assert enforced_s([COUNT // 2], costs) == expected


def test_a_processor_does_one_thing_after_the_other() -> None:
    """Who waits for an answer goes before jobs that have not begun."""
    timeline = Timeline(0.0)
    processor, done = Processor(timeline), list[tuple[str, float]]()

    def note(what: str) -> None:
        done.append((what, round(timeline.now, 3)))

    processor.job(1.0, lambda: note("first"))
    processor.job(1.0, lambda: note("second"))
    assert processor.call(timeline.now, 0.25) == 1.25
    timeline.run(5.0)
    assert done == [("first", 1.0), ("second", 2.25)]
    assert processor.used_s == 2.25
