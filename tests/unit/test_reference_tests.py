# SPDX-License-Identifier: Apache-2.0
"""Every case of Open vSwitch's and OVN's own IPsec tests has a test of ours, or a reason.

Source: openvswitch/ovs d6a632a9b, tests/system-ipsec.at; ovn-org/ovn 2411e964d and 23.03,
tests/ovn-ipsec.at. Each name is that of AT_SETUP, without ``IPsec -- Libreswan`` or ``ipsec --``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SYSTEM = ROOT / "tests" / "system"
PAGE = ROOT / "docs" / "explanation" / "reference-tests.md"

OPEN_VSWITCH = (
    "ipv4, geneve, defaultroute, psk",
    "ipv4, geneve, localip, psk",
    "ipv4, geneve, defaultroute, self-signed",
    "ipv4, geneve, defaultroute, ca-signed",
    "ipv4, gre, defaultroute, psk",
    "ipv4, vxlan, defaultroute, psk",
    "ipv6, vxlan, defaultroute, psk",
    "ipv6, vxlan, localip, psk",
    "ipv6, geneve, defaultroute, psk",
    "ipv4, geneve, custom conf",
    "ipv4, geneve, default crypto",
    "ipv4, geneve, custom conf, default crypto",
    "reconciliation interval is respected - ipv4",
    "reconciliation interval is respected - ipv6",
    "established conns survive new additions - ipv4",
    "established conns survive new additions - ipv6",
    "certificate update while the daemon is down",
    "NxN geneve tunnels + reconciliation",
)
OVN = ("basic configuration", "unsupported multiple ovn-encap-ip values")

NAMED = re.compile(r"`([a-z_/]+\.py)::(test_\w+)`")
NOT_OURS = ("not applicable", "not shown")


def rows() -> dict[str, tuple[str, str]]:
    """By case: what it does, and what is the same of ovn-ipsec."""
    lines = PAGE.read_text("utf-8").splitlines()
    found: dict[str, tuple[str, str]] = {}
    for line in lines:
        if line.startswith("| `"):
            case, does, ours = (cell.strip() for cell in line.strip("|").split("|"))
            assert case.strip("`") not in found, "one row for each case"
            found[case.strip("`")] = does, ours
    return found


def names_in(module: str) -> set[str]:
    """The names of the tests of a module."""
    tree = ast.parse((SYSTEM / module).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_case_has_its_row_and_no_row_is_of_another():
    assert [*OPEN_VSWITCH, *OVN] == list(rows())


@pytest.mark.parametrize("case", [*OPEN_VSWITCH, *OVN])
def test_a_row_names_tests_or_says_why_there_is_none(case: str):
    """What is not applicable says why in more than a word."""
    does, ours = rows()[case]
    assert does
    if ours.startswith(NOT_OURS):
        assert len(ours.split()) >= 7
    else:
        assert NAMED.search(ours)


def test_every_test_that_the_page_names_exists():
    text = PAGE.read_text("utf-8")
    named = NAMED.findall(text)
    assert named
    assert [] == [(file, name) for file, name in named if name not in names_in(file)]
    files = set(re.findall(r"`([a-z_/]+\.py)`", text))
    assert all((SYSTEM / file).exists() for file in files)
