# SPDX-License-Identifier: Apache-2.0
"""The laboratory's cheap start: a fork of a loaded interpreter is what its command would be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovn_ipsec.lab.cluster.forks import Loaded
from ovn_ipsec.lab.cluster.host import PROJECT, python_env
from ovn_ipsec.lab.errors import LabError
from ovn_ipsec.lab.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root: cannot enter namespaces")


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    """An interpreter with our programs in it."""
    made = Loaded()
    made.open(PROJECT, {**os.environ, **python_env()})
    yield made
    made.close()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["--no-such-option"]])
@pytest.mark.parametrize("program", ["controller", "northd_ext"])
def test_fork_says_what_its_command_says(
    loaded: Loaded, tmp_path: Path, program: str, arguments: list[str]
):
    """The module runs as python -m runs it, with these arguments and this output."""
    argv = [program, *arguments]
    command = subprocess.run(
        [sys.executable, "-m", *argv],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=PROJECT,
        text=True,
    )
    with (tmp_path / "out").open("wb") as output:
        assert loaded.start(argv, os.getpid(), output).wait(20) == 0
    assert (tmp_path / "out").read_text() == command.stdout


def test_interpreter_that_ended_is_noticed():
    """No test waits for what cannot come."""
    made = Loaded()
    with pytest.raises(LabError, match=r"open\(\)"):
        made.wait()
    made.open(PROJECT, {**os.environ, **python_env()})
    assert made._process is not None
    made._process.kill()
    with pytest.raises(LabError, match="has ended"):
        made.wait()
    made.close()


def test_fork_is_a_daemon_of_its_own_that_signals_end(loaded: Loaded, tmp_path: Path):
    """Its id is the one in its pidfile; a signal ends it in order, and its files are gone."""
    pidfile, control = tmp_path / "northd.pid", tmp_path / "northd.ctl"
    files = [f"--pidfile={pidfile}", f"--unixctl={control}"]
    remotes = [f"--ovnnb-db=unix:{tmp_path}/nb", f"--ovnsb-db=unix:{tmp_path}/sb"]
    with (tmp_path / "out").open("wb") as output:
        forked = loaded.start(["northd_ext", *files, *remotes], os.getpid(), output)
    wait_until(control.exists, 20, "the control socket")
    assert int(pidfile.read_text()) == forked.pid
    with pytest.raises(subprocess.TimeoutExpired):
        forked.wait(0.1)
    assert forked.poll() is None
    forked.send_signal(signal.SIGTERM)
    forked.wait(20)
    assert forked.poll() is not None
    assert not pidfile.exists()
    forked.send_signal(signal.SIGKILL)


def test_fork_enters_the_namespaces_of_its_host(loaded: Loaded, tmp_path: Path):
    """A host is known by the process that holds its namespaces."""
    holder = subprocess.Popen(["unshare", "--net", "--mount", "sleep", "60"])
    own = os.readlink("/proc/self/ns/net")  # noqa: PTH115 - not a path that exists
    wait_until(lambda: _space(holder.pid, "net") != own, 20, "a network namespace")
    argv = ["northd_ext", f"--pidfile={tmp_path}/pid", f"--unixctl={tmp_path}/ctl"]
    remotes = [f"--ovnnb-db=unix:{tmp_path}/nb", f"--ovnsb-db=unix:{tmp_path}/sb"]
    try:
        with (tmp_path / "out").open("wb") as output:
            forked = loaded.start([*argv, *remotes], holder.pid, output)
        wait_until((tmp_path / "ctl").exists, 20, "the control socket")
        for kind in ("net", "mnt"):
            assert _space(forked.pid, kind) == _space(holder.pid, kind)
        forked.send_signal(signal.SIGKILL)
        forked.wait(20)
    finally:
        holder.kill()
        holder.wait()


def _space(pid: int, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")  # noqa: PTH115 - not a path that exists
