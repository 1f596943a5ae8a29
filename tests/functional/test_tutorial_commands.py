# SPDX-License-Identifier: Apache-2.0
"""What the tutorial has its reader write into databases, with real ones and the real tools."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.functional.ovsdb import OVS_SCHEMA, Central, missing_programs
from tests.tutorial import TUTORIAL, steps

NEEDS_A_CLUSTER = "sync"
WRITTEN = [
    step
    for step in steps(TUTORIAL.read_text("utf-8"))
    if step.command.startswith(("ovn-nbctl", "ovn-sbctl", "ovs-vsctl"))
    and not step.command.endswith(NEEDS_A_CLUSTER)
]

pytestmark = pytest.mark.skipif(
    bool(missing_programs()) or not OVS_SCHEMA.exists() or shutil.which("ovs-vsctl") is None,
    reason="no Open vSwitch or no OVN here",
)


def test_the_tools_take_what_the_reader_types(databases: Central) -> None:
    """All of it, in the order of the page; both machines write into one local database here."""
    env = {**os.environ, **databases.env}
    for step in WRITTEN:
        typed = step.command.replace("ovs-vsctl ", "ovs-vsctl --no-wait ")
        done = subprocess.run(
            ["sh", "-c", typed], env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), step
    assert len(WRITTEN) >= 12
    addresses = databases.nbctl("--bare", "--columns=addresses", "list", "Logical_Switch_Port")
    assert "02:00:00:00:00:02 198.51.100.2" in addresses
    ids = databases.run("ovs-vsctl", "get", "Interface", "w1", "external_ids:iface-id")
    assert ids.strip() == "w1"
    assert databases.nbctl("get", "NB_Global", ".", "ipsec").strip() == "false"
