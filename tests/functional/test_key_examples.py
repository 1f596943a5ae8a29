# SPDX-License-Identifier: Apache-2.0
"""The examples of the reference of keys, as they stand on the page, with real databases."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.functional.ovsdb import OVS_SCHEMA, Central, missing_programs

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "keys.md"
TOOLS = "ovn-nbctl|ovs-vsctl"
EXAMPLES = re.findall(rf"^- Example: `((?:{TOOLS}) .*)`$", PAGE.read_text("utf-8"), re.MULTILINE)

pytestmark = pytest.mark.skipif(
    bool(missing_programs()) or not OVS_SCHEMA.exists() or shutil.which("ovs-vsctl") is None,
    reason="no Open vSwitch or no OVN here",
)


def test_there_are_examples_of_both_tools() -> None:
    assert {"ovn-nbctl", "ovs-vsctl"} == {line.split()[0] for line in EXAMPLES}


@pytest.mark.parametrize("line", EXAMPLES)
def test_a_shell_and_the_tool_take_the_example(databases: Central, line: str) -> None:
    """And the database then holds what the page shows, whatever had to be quoted on the way."""
    databases.nbctl("--may-exist", "ls-add", "payments")
    written = line.replace("ovs-vsctl set", "ovs-vsctl --no-wait set")
    env = {**os.environ, **databases.env}
    subprocess.run(["sh", "-c", written], env=env, check=True, timeout=60)
    tool, _, table, row, assignment = line.split(maxsplit=4)
    place, _, expected = assignment.strip("'").partition("=")
    column, _, key = place.partition(":")
    listed = json.loads(
        databases.run(tool, "-f", "json", f"--columns={column}", "list", table, row)
    )
    ((found,),) = listed["data"]
    assert (dict(found[1])[key] if key else json.dumps(found)) == expected
