# SPDX-License-Identifier: Apache-2.0
"""Samples as tests write them down: `name['label', ...]` without our prefix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.parser import text_string_to_metric_families

from ovn_ipsec.model.metric import Sample

PREFIX = "ovn_ipsec_"


def _told(name: str, labels: Mapping[str, str]) -> str:
    texts = [str(text) for text in labels.values()]
    return name.removeprefix(PREFIX) + (str(texts) if texts else "")


def told(samples: Iterable[Sample]) -> dict[str, float]:
    """Samples by name and labels, without those that are 0 of some label."""
    found = [(_told(s.metric.name, dict(s.labels)), s.value) for s in samples]
    return {name: value for name, value in found if value or "[" not in name}


def parsed(text: str) -> dict[str, float]:
    """What a program serves, as Prometheus reads it, by name and labels; labels sorted by name."""
    return {
        _told(sample.name, dict(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
