# SPDX-License-Identifier: Apache-2.0
"""The examples of the reference of keys, as they stand on the page, with real databases."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.ovsdb import Central, missing_programs, wait_until

OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "keys.md"
TOOLS = "ovn-nbctl|ovs-vsctl"
EXAMPLES = re.findall(rf"^- Example: `((?:{TOOLS}) .*)`$", PAGE.read_text("utf-8"), re.MULTILINE)

pytestmark = pytest.mark.skipif(
    bool(missing_programs()) or not OVS_SCHEMA.exists() or shutil.which("ovs-vsctl") is None,
    reason="no Open vSwitch or no OVN here",
)


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    """A northbound with one switch, and a local database without a switch behind it."""
    made = Central(tmp_path_factory.mktemp("examples"))
    made.start_database("nb")
    made.nbctl("ls-add", "payments")
    made.run("ovsdb-tool", "create", str(made.folder / "conf.db"), str(OVS_SCHEMA))
    socket = made.folder / "db.sock"
    made.add("vswitch", ["ovsdb-server", f"--remote=punix:{socket}", str(made.folder / "conf.db")])
    wait_until(socket.exists, what=f"{socket}")
    made.run("ovs-vsctl", "--no-wait", "init")
    yield made
    for process in made.processes.values():
        process.stop()


def test_there_are_examples_of_both_tools() -> None:
    assert {"ovn-nbctl", "ovs-vsctl"} == {line.split()[0] for line in EXAMPLES}


@pytest.mark.parametrize("line", EXAMPLES)
def test_a_shell_and_the_tool_take_the_example(databases: Central, line: str) -> None:
    """And the database then holds what the page shows, whatever had to be quoted on the way."""
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
