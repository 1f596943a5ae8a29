# SPDX-License-Identifier: Apache-2.0
"""No secret of a run is anywhere but in its own file: not shown, not logged, not in a core."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import helpers
import proving
import pytest
import scan
from helpers import say

from ovn_ipsec.lab.cluster.chassis import CONTROLLER
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.waiting import wait_until

PATTERN = Path("/proc/sys/kernel/core_pattern")


def test_no_secret_of_this_run_is_shown_to_anybody(enforced: Cluster) -> None:
    """Every spelling of every one; and the same search finds each where it is put."""
    cluster = enforced
    h1 = cluster.chassis["h1"]
    if not proving.SECRETS:
        proving.place_secret(h1, "a secret that nobody uses")
    secrets = proving.SECRETS | scan.stored(cluster)
    looked_for = scan.needles(secrets, cluster.chassis)
    places = (scan.files, lambda _: scan.processes(), scan.answers)
    names, found = [], []
    for place in places:
        for name, text in place(cluster):
            names.append(name)
            found += [(name, what) for what in scan.matches(looked_for, text)]
    say("secrets looked for", spellings=len(looked_for), texts=len(names))
    assert found == []
    for wanted in ("nb.db", "sb.db", "conf.db", "charon.log", f"{CONTROLLER}.log", "environ"):
        assert any(name.endswith(wanted) for name in names), wanted
    for wanted in ("status", "peers/show", "guard/show", "xfrm/state", "peers --target"):
        assert any(wanted in name for name in names), wanted
    # The search is worth something: it finds what is there.
    assert scan.matches(looked_for, h1.path("/etc/ovn-ipsec/tls/key.pem").read_bytes())
    planted = h1.logs / "planted.log"
    for needle, what in looked_for.items():
        planted.write_bytes(b"junk " + needle + b" junk")
        assert what in scan.matches(looked_for, planted.read_bytes())
    assert str(planted) in [n for n, text in scan.files(cluster) if scan.matches(looked_for, text)]
    planted.unlink()


@pytest.fixture
def cores(tmp_path: Path) -> Iterator[Path]:
    """Where every process that crashes leaves a core, if it may."""
    before, limits = PATTERN.read_text(), resource.getrlimit(resource.RLIMIT_CORE)
    PATTERN.write_text(f"{tmp_path}/core.%e.%p")
    resource.setrlimit(resource.RLIMIT_CORE, (limits[1], limits[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_CORE, limits)
    PATTERN.write_text(before)


def test_crash_of_a_daemon_leaves_no_core(enforced: Cluster, cores: Path) -> None:
    """Not even where any other process leaves one."""
    cluster = enforced
    daemons = [
        cluster.chassis["h2"].daemons[CONTROLLER],
        cluster.central.daemons["ovn-ipsec-northd"],
    ]
    for daemon in daemons:
        daemon.kill()
        daemon.start()
        daemon.signal(signal.SIGSEGV)
        wait_until(lambda one=daemon: not one.is_alive, 30, f"{daemon.name} dead")
    with subprocess.Popen(["sleep", "60"]) as other:
        other.send_signal(signal.SIGSEGV)
    assert [path.name.split(".")[1] for path in cores.iterdir()] == ["sleep"]
    helpers.revive(cluster)
