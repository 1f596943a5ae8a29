# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec status` and `wait` with real databases, a real ovn-northd and our northd."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from ovsdb import Central, central, missing_programs, wait_until

from ovn_ipsec.lab.waiting import stretched

pytestmark = pytest.mark.skipif(
    bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"
)


@pytest.fixture
def ovn(tmp_path: Path) -> Iterator[Central]:
    """Databases, ovn-northd, our northd and one chassis."""
    with central(tmp_path) as made:
        made.sbctl("chassis-add", "hv1", "geneve", "10.0.0.1")
        made.start_northd()
        yield made


def start(
    ovn: Central, *argv: str, stdout: IO[str] | int = subprocess.PIPE
) -> subprocess.Popen[str]:
    # Whoever runs the tests in the background may have them ignore SIGINT, and children with them.
    return subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "ovn_ipsec.cli", *argv],
        env={**os.environ, **ovn.env},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(ovn: Central, *argv: str) -> tuple[int, str, str]:
    """Run the program: exit status, standard output and error."""
    with start(ovn, *argv) as program:
        output, errors = program.communicate(timeout=stretched(60))
    return program.returncode, output, errors


def test_status_and_wait_follow_a_rollout(ovn: Central) -> None:
    """Off before the switch; a wait that began then ends when the state is reached."""
    code, output, errors = run(ovn, "--json", "status")
    assert (code, json.loads(output)["state"]) == (0, "off"), errors
    with start(ovn, "--json", "wait", "enforced", "--timeout", "60") as waiting:
        ovn.nbctl("set", "NB_Global", ".", "ipsec=true")
        for phase in ("prepare", "establish", "enforce"):
            wait_until(lambda phase=phase: ovn.keys("sb").get("phase") == phase, what=phase)
            ovn.follow("hv1", pairs="encrypted=1")
        output, errors = waiting.communicate(timeout=stretched(60))
    assert (waiting.returncode, json.loads(output)) == (0, {"state": "enforced", "reached": True})
    code, output, errors = run(ovn, "--json", "status")
    assert (code, json.loads(output)["chassis"][0]["agent"]) == (0, "fake"), errors


def test_status_is_shown_again_after_each_change(ovn: Central, tmp_path: Path) -> None:
    """A line of JSON each, until it is interrupted; it ends with the status of the last one."""
    printed = tmp_path / "printed"

    def states() -> list[str]:
        lines = printed.read_text().split("\n")[:-1]
        return [json.loads(line)["state"] for line in lines]

    with printed.open("w") as output:
        watching = start(ovn, "--json", "status", "--watch", stdout=output)
    try:
        wait_until(lambda: states() == ["off"], what="the first look")
        ovn.nbctl("set", "NB_Global", ".", "ipsec=true")
        wait_until(lambda: states()[-1] == "enforced", what="a later look")
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=stretched(60))
    finally:
        watching.kill()
        watching.communicate()
    assert (watching.returncode, errors) == (0, "")


def test_status_of_some_chassis(ovn: Central) -> None:
    """One by one; no match is no answer."""
    ovn.report("hv1", generation="0", phase="off", pairs="clear=1", agent="fake 1.0")
    code, output, errors = run(ovn, "status", "--chassis", "hv?")
    row = "hv1      ready  1 clear  fake 1.0\n"
    assert (code, output.splitlines(keepends=True)[1]) == (0, row), errors
    code, output, errors = run(ovn, "status", "--chassis", "x*")
    assert (code, output) == (2, "")
    assert errors.startswith("ovn-ipsec: no chassis has a name like this: x*\n    next: ")


def test_a_wait_for_a_state_that_is_degraded_says_so(ovn: Central) -> None:
    """It is not over, and whoever waits knows why."""
    ovn.processes["northd"].stop()
    key = "external_ids:ovn-ipsec-state"
    ovn.nbctl("set", "NB_Global", ".", f'{key}="enforced (degraded)"')
    code, output, errors = run(ovn, "wait", "enforced", "--timeout", "1")
    told = "ovn-ipsec: waiting, but the state is enforced (degraded); see ovn-ipsec status\n"
    last = "ovn-ipsec: still enforced (degraded); see ovn-ipsec status\n"
    assert (code, output, errors) == (1, "", told + last)


def test_a_wait_in_vain_says_how_far_it_came(ovn: Central) -> None:
    """In the time that it was given."""
    began = time.monotonic()
    code, _, errors = run(ovn, "wait", "enforced", "--timeout", "1")
    assert (code, errors) == (1, "ovn-ipsec: still off; see ovn-ipsec status\n")
    assert time.monotonic() - began < stretched(10)


@pytest.mark.parametrize("argv", [("status",), ("wait", "off")])
def test_a_database_that_is_not_there_cannot_be_judged(ovn: Central, argv: tuple[str, ...]):
    """The file that is missing is named, and what to do; for programs in one object."""
    path = f"{ovn.folder}/nowhere.sock"
    told = f"there is no {path}: the northbound database does not run on this host"
    step = "run this where it does, or say where: --ovnnb-db ssl:ADDRESS:6641 (or $OVN_NB_DB)"
    code, output, errors = run(ovn, "--ovnnb-db", f"unix:{path}", *argv)
    assert (code, output, errors) == (2, "", f"ovn-ipsec: {told}\n    next: {step}\n")
    code, output, errors = run(ovn, "--ovnnb-db", f"unix:{path}", *argv, "--json")
    assert (code, json.loads(output), errors) == (2, {"error": told, "next_step": step}, "")


@pytest.mark.parametrize("argv", [("status",), ("wait", "off")])
def test_a_database_that_does_not_answer_cannot_be_judged(ovn: Central, argv: tuple[str, ...]):
    """It is named, after a few seconds."""
    remote = f"unix:{ovn.folder}/silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{ovn.folder}/silent.sock")
        silent.listen()
        code, output, errors = run(ovn, "--ovnnb-db", remote, *argv)
    assert (code, output) == (2, "")
    assert errors.startswith("ovn-ipsec: ")
    assert "no answer within 5 s" in errors


def test_a_northbound_without_its_row_says_what_to_start(ovn: Central) -> None:
    """Nobody has made NB_Global yet."""
    ovn.processes["ovn-northd"].stop()
    ovn.query("nb", {"op": "delete", "table": "NB_Global", "where": []})
    code, _, errors = run(ovn, "status")
    assert (code, errors.endswith("NB_Global is empty; start ovn-northd\n")) == (2, True), errors
