# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec evaluate` between two chassis of a real cluster, which leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import helpers
import pytest
from helpers import say

from ovn_ipsec.lab.cluster.chassis import Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.host import python
from ovn_ipsec.lab.cluster.settings import CENTRAL_IPV4, NB_PORT, SB_PORT
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.lab.witness.wire import Kind

pytestmark = pytest.mark.skipif(shutil.which("iperf3") is None, reason="iperf3 is not installed")
DATABASES = (f"--ovnnb-db=tcp:{CENTRAL_IPV4}:{NB_PORT}", f"--ovnsb-db=tcp:{CENTRAL_IPV4}:{SB_PORT}")
SHORT = ("--seconds", "1", "--repeat", "1", "--rate", "50", "--yes")

LONG = ("--repeat", "50")
"""It does not end by itself while a test looks."""


def evaluate(chassis: Chassis, *words: str) -> subprocess.Popen[str]:
    """Start it on one of the two chassis."""
    argv = python("-m", "ovn_ipsec.cli", *DATABASES, "evaluate", "h1", "h2", *words)
    streams = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    return chassis.popen(argv, stdin=subprocess.DEVNULL, **streams)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, errors = process.communicate(timeout=stretched(400))
    return process.returncode, out, errors


def said(process: subprocess.Popen[str], words: str) -> None:
    """Wait until it has said something."""
    assert process.stderr is not None
    text = ""
    for line in process.stderr:
        text += line
        if words in line:
            return
    raise AssertionError(text)


def made(cluster: Cluster) -> dict[str, object]:
    """Everything that an evaluation makes, and what is beside it."""
    rows: Callable[..., list[dict[str, Any]]] = cluster.nb.rows
    found: dict[str, object] = {
        "options": rows("NB_Global", "options")[0]["options"],
        "switches": sorted(row["name"] for row in rows("Logical_Switch", "name")),
        "ports": sorted(row["name"] for row in rows("Logical_Switch_Port", "name")),
    }
    for name in ("h1", "h2"):
        chassis = cluster.chassis[name]
        found[f"{name} interfaces"] = sorted(
            (row["name"], row["type"], sorted(row["external_ids"].items()))
            for row in chassis.ovs.rows("Interface", "name", "type", "external_ids")
        )
        listed = chassis.run(["ip", "netns", "list"]).stdout.split()
        locks = chassis.run(["sh", "-c", "ls /run/openvswitch/*.lock"], check=False).stdout
        found[f"{name} host"] = (listed, locks)
    return found


def test_a_pair_is_measured_with_another_suite_and_without_any(enforced: Cluster) -> None:
    """What was sent went as the controllers said; then the pair is as before, and all else too."""
    before, mark = made(enforced), enforced.wire.mark()
    far = evaluate(enforced.chassis["h2"])
    near = evaluate(enforced.chassis["h1"], *SHORT, "--profiles", "chacha20,none", "--json")
    code, out, errors = ended(near)
    assert code == 0, errors
    assert ended(far)[0] == 0
    found = json.loads(out)
    chacha, clear = found["series"]
    assert (chacha["state"], clear["state"]) == ("encrypted", "clear")
    assert chacha["suite"].startswith("CHACHA20_POLY1305")
    assert "chacha20" in found["chassis"][0]["drivers"]["chacha20-poly1305"]
    for series in (chacha, clear):
        for kind in ("one_stream", "four_streams", "small_packets"):
            figures = series["traffic"][kind]
            assert figures["mbps"]["median"] > 0
            say("carried", profile=series["profile"], kind=kind, **figures["mbps"])
    for kind in (Kind.ESP, Kind.CLEAR):
        assert enforced.wire.total(kind, since=mark) > 100
    assert made(enforced) == before
    helpers.wait_state(enforced, "enforced")
    helpers.wait_all_encrypted(enforced)


def test_one_that_is_interrupted_puts_everything_back(enforced: Cluster) -> None:
    """The rule that it had written included, and the far end ends, too."""
    before = made(enforced)
    far = evaluate(enforced.chassis["h2"])
    near = evaluate(enforced.chassis["h1"], *SHORT, *LONG, "--profiles", "chacha20")
    said(near, "1 stream")
    changed = made(enforced)
    near.send_signal(signal.SIGINT)
    code, _, errors = ended(near)
    assert code == 1, errors
    assert ended(far)[0] == 0
    assert changed["options"] != before["options"]
    assert made(enforced) == before
    helpers.wait_state(enforced, "enforced")
    helpers.wait_all_encrypted(enforced)
