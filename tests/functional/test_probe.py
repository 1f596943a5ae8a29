# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec probe` on real daemons that wait, that are ready, that hang, and that are gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ovsdb import REPOSITORY, Central, missing_programs, wait_until

from ovn_ipsec.cli.settings import Exit
from ovn_ipsec.lab.waiting import stretched

OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
pytestmark = pytest.mark.skipif(
    bool(missing_programs()) or not OVS_SCHEMA.exists(),
    reason=f"not installed: {', '.join(missing_programs()) or OVS_SCHEMA}",
)


def probe(made: Central, *words: str) -> int:
    """Ask as a kubelet does; nothing but the exit status counts."""
    argv = [sys.executable, "-m", "ovn_ipsec.cli", "probe", *words]
    done = subprocess.run(
        argv,
        env={**os.environ, **made.env},
        cwd=REPOSITORY,
        capture_output=True,
        timeout=stretched(60),
        check=False,
    )
    return done.returncode


def freeze(made: Central, name: str) -> None:
    """Stop a daemon in the middle of whatever it does, as one that hangs."""
    running = made.processes[name].running
    assert running is not None
    running.send_signal(signal.SIGSTOP)


def test_northd_is_ready_when_it_has_both_databases(ovn: Central) -> None:
    """Before that it is alive and not ready; a standby is ready, too."""
    ovn.processes["ovsdb-nb"].stop()
    ovn.add("one", [sys.executable, "-m", "northd_ext"])
    wait_until(lambda: probe(ovn, "northd", "--live") == Exit.WELL, what="it answers")
    assert Exit.DEGRADED == probe(ovn, "northd")
    ovn.serve("nb")
    wait_until(lambda: probe(ovn, "northd") == Exit.WELL, what="ready")
    ovn.start_northd("two")
    second = ("northd", "-t", ovn.control("two"))
    wait_until(lambda: probe(ovn, *second) == Exit.WELL, what="the standby is ready")
    assert "Status: standby" in ovn.appctl("two", "status")


def test_one_that_hangs_or_is_gone_gives_no_answer_in_time(ovn: Central) -> None:
    """Neither keeps the probe waiting."""
    ovn.add("one", [sys.executable, "-m", "northd_ext"])
    wait_until(lambda: probe(ovn, "northd") == Exit.WELL, what="ready")
    freeze(ovn, "one")
    for words in ((), ("--live",)):
        assert Exit.CANNOT_TELL == probe(ovn, "northd", "--timeout", "0.3", *words)
    running = ovn.processes["one"].running
    assert running is not None
    running.kill()
    running.wait()
    assert Exit.CANNOT_TELL == probe(ovn, "northd", "--live")


def test_the_controller_is_ready_when_nobody_can_be_asked(tmp_path: Path) -> None:
    """Neither without a local database nor where that names no southbound; nothing is closed."""
    made = Central(tmp_path)
    db = tmp_path / "conf.db"
    argv = ["unshare", "--net", sys.executable, "-m", "controller"]
    argv += ["--state-dir", str(tmp_path / "state")]
    try:
        made.add("controller", argv)
        wait_until(lambda: probe(made, "controller", "--live") == Exit.WELL, what="it answers")
        wait_until(lambda: probe(made, "controller") == Exit.WELL, what="there is no database")
        made.run("ovsdb-tool", "create", str(db), str(OVS_SCHEMA))
        remote = f"--remote=punix:{tmp_path}/db.sock"
        made.add("ovsdb", ["ovsdb-server", remote, f"--unixctl={tmp_path}/db.ctl", str(db)])
        wait_until((tmp_path / "db.sock").exists, what="the local database listens")
        made.run("ovs-vsctl", f"--db=unix:{tmp_path}/db.sock", "--no-wait", "init")
        wait_until(lambda: probe(made, "controller") == Exit.WELL, what="ready")
    finally:
        for process in reversed(made.processes.values()):
            process.stop()
