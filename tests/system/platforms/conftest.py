# SPDX-License-Identifier: Apache-2.0
"""What not every generation of OVN and strongSwan can do; `make platforms` runs it on each.

A module that needs something new says so, and is skipped with the name of what is missing.
`make check` leaves this folder out: nothing is skipped there, and some of it takes long.
"""

from __future__ import annotations

import re
import subprocess

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line("markers", "needs_ovn(version, what): OVN from this version on")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this OVN cannot do, before a cluster is built for it."""
    for item in items:
        if mark := item.get_closest_marker("needs_ovn"):
            wanted, what = mark.args
            if (found := _ovn_version()) < wanted:
                reason = f"OVN {'.'.join(f'{part:02}' for part in found)} has no {what}"
                item.add_marker(pytest.mark.skip(reason=reason))


def _ovn_version() -> tuple[int, ...]:
    text = subprocess.run(
        ["ovn-controller", "--version"], check=True, capture_output=True, text=True
    ).stdout
    found = re.search(r"(\d+)\.(\d+)", text)
    assert found is not None, text
    return tuple(map(int, found.groups()))
