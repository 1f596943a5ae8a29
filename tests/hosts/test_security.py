# SPDX-License-Identifier: Apache-2.0
"""What systemd says of our units as they are installed."""

from __future__ import annotations

import re

import pytest

from ovn_ipsec.lab.hosts.pair import Pair

EXPOSURE_MAX = 3.0
"""Of 10; most units of a distribution have more than 9."""


@pytest.mark.parametrize("unit", ["ovn-ipsec-controller", "ovn-ipsec-northd", "ovn-ipsec-guard"])
def test_a_unit_exposes_little(enforced: Pair, unit: str) -> None:
    """``systemd-analyze security`` of the running units."""
    output = enforced.h1.check(f"systemd-analyze --no-pager security {unit}")
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", output)
    assert found is not None, output
    print(f"MEASURED exposure of {unit}: {found[1]}")
    assert float(found[1]) < EXPOSURE_MAX
