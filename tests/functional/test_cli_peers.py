# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec peers` and a controller that answers over its control socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from ovsdb import wait_until

from ovn_ipsec.lab.waiting import stretched
from tests.functional.answering import controller

PEERS = [sys.executable, "-m", "ovn_ipsec.cli", "peers"]
PEER = {"peer": "hv2", "local": "10.0.0.1", "remote": "10.0.0.2", "since_s": 61}


def start(*argv: str, stdout: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
    # Whoever runs the tests in the background may have them ignore SIGINT, and children with them.
    return subprocess.Popen(
        ["env", "--default-signal=INT", *PEERS, *argv],
        env=dict(os.environ),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*argv: str) -> tuple[int, str, str]:
    with start(*argv) as program:
        output, errors = program.communicate(timeout=stretched(60))
    return program.returncode, output, errors


def test_pairs_are_shown_as_the_controller_tells_them(tmp_path: Path) -> None:
    """For people and for programs."""
    socket = tmp_path / "controller.ctl"
    pairs = [{**PEER, "state": "blocked", "last_error": "no answer"}]
    with controller(socket, lambda: json.dumps(pairs)):
        code, output, errors = run("-t", str(socket))
        assert (code, errors) == (1, "")
        assert output.splitlines()[0] == "1 pair: 1 blocked"
        assert "hv2: blocked: no answer" in output.splitlines()
        code, output, errors = run("-t", str(socket), "--json")
        assert (code, json.loads(output), errors) == (1, pairs, "")
        code, output, errors = run("-t", str(socket), "--chassis", "hv3", "--json")
        assert (code, json.loads(output)["error"], errors) == (
            2,
            "no peer has a name like this: hv3",
            "",
        )


def test_pairs_are_asked_for_again_and_again(tmp_path: Path) -> None:
    """Until it is interrupted; it ends with the status of the last answer."""
    socket, printed = tmp_path / "controller.ctl", tmp_path / "printed"

    def states() -> list[str]:
        lines = printed.read_text().split("\n")[:-1]
        return [pair["state"] for line in lines for pair in json.loads(line)]

    def reply() -> str:
        state = "encrypted" if "blocked" in states() else "blocked"
        return json.dumps([{**PEER, "state": state}])

    with printed.open("w") as output, controller(socket, reply):
        words = ("-t", str(socket), "--json", "--watch", "--interval", "0.1")
        watching = start(*words, stdout=output)
        try:
            wait_until(lambda: "encrypted" in states(), what="another answer than the first")
            watching.send_signal(signal.SIGINT)
            _, errors = watching.communicate(timeout=stretched(60))
        finally:
            watching.kill()
            watching.communicate()
    assert (watching.returncode, errors) == (0, "")


def test_a_socket_that_nobody_serves_is_named(tmp_path: Path) -> None:
    """With what to do."""
    code, output, errors = run("-t", f"{tmp_path}/nowhere.ctl")
    assert (code, output) == (2, "")
    assert errors.startswith(f"ovn-ipsec: {tmp_path}/nowhere.ctl: No such file or directory\n")
    assert "\n    next: start ovn-ipsec-controller, if this is a chassis" in errors
