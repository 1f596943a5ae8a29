# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.model.metric, and ovn_ipsec.metrics as far as it needs no socket."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ovn_ipsec.clock import utc_now
from ovn_ipsec.metrics import EVERY_S, IDLE_S, Exporter
from ovn_ipsec.model.metric import LAST_PASS, Kind, Metric, Sample

PLAIN = Metric(name="plain", meaning="What it is.")
LOST = Metric(name="lost_packets_total", meaning="Lost.", kind=Kind.COUNTER, labels=("a", "b"))
STATE = Metric(name="state", meaning="1 for one.", labels=("state",))


def test_sample_carries_its_labels_by_name() -> None:
    """A truth is 1 or 0, as Prometheus knows only numbers."""
    assert PLAIN.at(True) == Sample(PLAIN, (), 1.0)
    assert LOST.at(3, "x", "y") == Sample(LOST, (("a", "x"), ("b", "y")), 3.0)


@pytest.mark.parametrize("labels", [(), ("x",), ("x", "y", "z")])
def test_sample_with_other_labels_is_our_bug(labels: tuple[str, ...]) -> None:
    """It is never served."""
    with pytest.raises(ValueError, match="zip"):
        LOST.at(1, *labels)


def test_one_state_of_many() -> None:
    """Every state has a sample; a word that is none of them is nowhere."""
    found = [(dict(s.labels)["state"], s.value) for s in STATE.one_of(("on", "off"), "off")]
    assert found == [("on", 0.0), ("off", 1.0)]
    assert {s.value for s in STATE.one_of(("on", "off"), "junk")} == {0.0}


def test_what_is_handed_over_last_is_served() -> None:
    """By metric, with kind and meaning; before anything is handed over there is nothing."""
    exporter, registry = Exporter(ip_address("127.0.0.1"), 1), CollectorRegistry()
    registry.register(exporter)
    assert generate_latest(registry) == b""

    def first(_now: datetime) -> Iterator[Sample]:
        yield PLAIN.at(1)

    def second(now: datetime) -> Iterator[Sample]:
        assert now.tzinfo is UTC
        yield LOST.at(1, "x", 'quote " and\nline\ud800')
        yield PLAIN.at(2.5)
        yield LOST.at(2, "x", "z")

    exporter.publish(first, 100.0)
    exporter.publish(second, 100.5)
    lines = generate_latest(registry).decode().splitlines()
    name, value = lines.pop(2).split()
    assert name == LAST_PASS.name
    assert float(value) == pytest.approx(utc_now().timestamp(), abs=60)
    assert lines == [
        f"# HELP {LAST_PASS.name} {LAST_PASS.meaning}",
        f"# TYPE {LAST_PASS.name} gauge",
        "# HELP lost_packets_total Lost.",
        "# TYPE lost_packets_total counter",
        'lost_packets_total{a="x",b="quote \\" and?line?"} 1.0',
        'lost_packets_total{a="x",b="z"} 2.0',
        "# HELP plain What it is.",
        "# TYPE plain gauge",
        "plain 2.5",
    ]


def test_a_pass_is_due_soon_after_one_that_was_not_looked_at() -> None:
    """Else after a while, so that a program in which nothing happens is not taken to hang."""
    exporter = Exporter(ip_address("127.0.0.1"), 1)
    assert exporter.due(100.0)
    exporter.publish(lambda _now: (), 100.0)
    assert exporter.delay_s(100.0) == IDLE_S
    assert exporter.delay_s(104.0) == IDLE_S - 4.0
    assert not exporter.due(100.5)
    assert exporter.delay_s(100.5) == EVERY_S
    assert exporter.due(101.5)


def test_passes_that_fail_are_not_hurried() -> None:
    """Nothing is handed over after them, and the loop does not spin."""
    exporter = Exporter(ip_address("127.0.0.1"), 1)
    assert exporter.delay_s(100.0) == EVERY_S
    exporter.publish(lambda _now: (), 100.0)
    assert exporter.delay_s(1000.0) == EVERY_S
