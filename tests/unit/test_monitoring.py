# SPDX-License-Identifier: Apache-2.0
"""Alert rules and dashboard: they ask for metrics, labels and values that the programs have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller import metrics as controller_metrics
from northd_ext import metrics as northd_metrics
from northd_ext.observe.views import STATE_PHASE
from ovn_ipsec.model.metric import LAST_PASS, Kind, Metric
from ovn_ipsec.model.policy import Phase
from ovn_ipsec.model.status import PairState

PACKAGING = Path(__file__).parents[2] / "packaging"
ALL = {
    metric.name: metric
    for metric in (LAST_PASS, *controller_metrics.METRICS, *northd_metrics.METRICS)
}
STATES: dict[Metric, set[str]] = {
    controller_metrics.PAIRS: set(PairState),
    controller_metrics.PHASE: set(Phase),
    northd_metrics.PAIRS: set(PairState),
    northd_metrics.STATE: set(STATE_PHASE),
}
SERIES = re.compile(r"(ovn_ipsec_\w+)(?:\{([^}]*)\})?")
LABEL = re.compile(r'(\w+)=~?"([^"]*)"')
SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds itself."""


def alerts() -> list[str]:
    """The text of each rule."""
    text = (PACKAGING / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    return re.split(r"^ +- alert: ", text, flags=re.MULTILINE)[1:]


def expressions() -> Iterator[str]:
    """All that is asked of Prometheus."""
    for rule in alerts():
        found = re.search(r" expr: (?:>-\n)?(.*?)\n +(?:for|labels):", rule, re.DOTALL)
        assert found is not None, rule
        yield found[1]
    board = json.loads((PACKAGING / "grafana" / "ovn-ipsec.json").read_text(encoding="utf-8"))
    yield from (target["expr"] for panel in board["panels"] for target in panel["targets"])


@pytest.mark.parametrize("expression", list(expressions()))
def test_an_expression_asks_for_what_there_is(expression: str) -> None:
    """Names, labels, and states; the rate of a counter and of nothing else."""
    series = SERIES.findall(expression)
    assert series or expression.startswith("up{")
    for name, selector in series:
        metric = ALL[name]
        for label, texts in LABEL.findall(selector):
            assert label in metric.labels
            assert set(texts.split("|")) <= STATES[metric]
        rated = re.search(rf"(rate|increase)\({name}", expression) is not None
        assert rated == (metric.kind is Kind.COUNTER)
    for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
        known = {label for name, _ in series for label in ALL[name].labels}
        assert set(labels.split(", ")) <= known | SCRAPED


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule.partition("\n")[0])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: str) -> None:
    """A person is woken up by it."""
    assert re.search(r"^ +severity: (critical|warning)$", rule, re.MULTILINE)
    assert "summary: " in rule
    assert "description: " in rule


def test_names_are_as_prometheus_wants_them() -> None:
    """One name is one metric; a counter ends with _total, and nothing else does; units are base."""
    tables = (controller_metrics.METRICS, northd_metrics.METRICS, (LAST_PASS,))
    assert len(ALL) == sum(map(len, tables))
    for metric in ALL.values():
        assert re.fullmatch(r"ovn_ipsec_[a-z_]+[a-z]", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert metric.meaning.endswith(".")
        assert ("Unix time" in metric.meaning) == metric.name.endswith("_timestamp_seconds")
        assert not any(word in metric.name for word in ("_ms", "_minutes", "_days"))
