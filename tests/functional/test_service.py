# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.service as a process: what cannot be had is a problem, and no end of the loop."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from ovsdb import REPOSITORY, wait_until

from ovn_ipsec import __version__
from ovn_ipsec.lab.waiting import stretched

PROGRAM = "a-daemon"
DAEMON = """
import json, os, sys
import click, ovs.poller
from ovn_ipsec import flags, service
from ovn_ipsec.errors import IPsecError

service.RETRY_S = 0.3
if "REFUSED" in os.environ:
    def refuse():
        raise IPsecError("memory of this process may be dumped: PR_SET_DUMPABLE: no")
    service.leave_no_core = refuse

@click.command()
@flags.common_options
def main(common):
    process = service.Service("a-daemon", common, rundir=sys.argv_rundir)
    passes = []
    def broken(_):
        yield None.name
    def breaks(_):
        process.exporter.publish(broken, 1.0)
        return ""
    def fail(_):
        raise ZeroDivisionError("row \\x1b[2J")
    try:
        process.open()
    except IPsecError as error:
        service.fail("a-daemon", error)
    process.command("problems", "", 0, 0, lambda _: json.dumps(process.problems()))
    process.command("passes", "", 0, 0, lambda _: str(len(passes)))
    process.command("break-metrics", "", 0, 0, breaks)
    def tell(words):
        for word in words:
            process.tell(word)
        return ""
    process.command("tell", "TEXT...", 1, 999, tell)
    process.command("fail", "", 0, 0, fail)
    process.command("odd", "", 0, 0, lambda _: "a\\tb\\n\\x1b[2J\\ud800")
    while not process.stopping:
        passes.append(1)
        process.poll()
        poller = ovs.poller.Poller()
        process.wait(poller)
        poller.block()
    process.close()

sys.argv_rundir = sys.argv.pop(1)
main()
"""
pytestmark = pytest.mark.skipif(shutil.which("ovs-appctl") is None, reason="no ovs-appctl")


class Daemon:
    """One process of DAEMON."""

    def __init__(self, rundir: Path, log: Path, *flags: str) -> None:
        """Start it; it may take a moment to answer."""
        self.rundir, self.log = rundir, log
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DAEMON, str(rundir), *flags],
                stdout=out,
                stderr=out,
                cwd=REPOSITORY,
            )

    @property
    def control(self) -> Path:
        """Where it answers when nothing else is said."""
        return self.rundir / f"{PROGRAM}.{self.process.pid}.ctl"

    def appctl(self, *words: str, target: str = "") -> subprocess.CompletedProcess[str]:
        """Ask it."""
        argv = ["ovs-appctl", "-t", target or str(self.control), *words]
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=stretched(60), check=False
        )

    def problems(self, target: str = "") -> list[str]:
        """Ask for its problems, once it answers."""
        answers = []

        def answered() -> bool:
            assert self.process.poll() is None, self.log.read_text("utf-8")
            answers.append(self.appctl("problems", target=target))
            return answers[-1].returncode == 0

        wait_until(answered, what="it answers")
        found: list[str] = json.loads(answers[-1].stdout)
        return found

    def text(self) -> str:
        """What it has said on standard error."""
        return self.log.read_text("utf-8", "replace")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    """Start daemons that end with the test."""
    made: list[int] = []
    with ExitStack() as stack:

        def make(*flags: str, rundir: Path | None = None) -> Daemon:
            made.append(1)
            found = Daemon(rundir or tmp_path / "run", tmp_path / f"{len(made)}.out", *flags)
            stack.callback(found.process.wait, 5)
            stack.callback(found.process.kill)
            return found

        yield make


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield held.getsockname()[1]


def test_a_daemon_without_trouble_has_no_problem(start):
    """The run directory is made, the pidfile is ours alone, and SIGTERM ends it cleanly."""
    daemon = start()
    assert [] == daemon.problems()
    pidfile = daemon.rundir / f"{PROGRAM}.pid"
    assert (str(daemon.process.pid), 0o600) == (
        pidfile.read_text("ascii").strip(),
        pidfile.stat().st_mode & 0o777,
    )
    assert "0" != daemon.appctl("passes", target=str(daemon.control)).stdout
    daemon.process.send_signal(signal.SIGTERM)
    assert 0 == daemon.process.wait(5)
    assert not pidfile.exists()


def test_a_log_file_that_cannot_be_opened(start, tmp_path: Path):
    """Lines go to standard error, and to the file once its folder is there."""
    log = tmp_path / "var" / "log"
    daemon = start(f"--log-file={log}")
    assert [f"log file {log}: No such file or directory"] == daemon.problems()
    assert "service_problem part=log" in daemon.text()
    assert 0 != daemon.appctl("vlog/reopen").returncode
    log.parent.mkdir()
    wait_until(lambda: [] == daemon.problems(), what="it is tried again")
    assert "service_problem_over part=log" in log.read_text("utf-8")


def test_a_metrics_port_that_somebody_else_has(start):
    """Tried again until it can be had."""
    with taken_port() as port:
        daemon = start(f"--metrics-port={port}")
        (problem,) = daemon.problems()
        assert f"cannot serve metrics on 127.0.0.1 port {port}: Address already in use" == problem
    wait_until(lambda: [] == daemon.problems(), what="it is tried again")
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        assert 200 == answer.status


def test_metrics_that_cannot_be_made_are_a_problem_of_the_loop(start):
    """Each request says so, and standard error has one line and not a traceback for each."""
    with taken_port() as port:
        pass
    daemon = start(f"--metrics-port={port}")
    assert [] == daemon.problems()
    daemon.appctl("break-metrics")
    for _ in range(5):
        with pytest.raises(HTTPError, match="500"):
            urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30)
    (problem,) = daemon.problems()
    assert "metrics cannot be served" in problem
    daemon.appctl("passes")
    assert 1 == daemon.text().count("part=metrics")
    assert "Traceback" not in daemon.text()


def test_an_address_that_this_host_does_not_have(start):
    """As before an interface is up."""
    daemon = start("--metrics-port=9999", "--metrics-address=192.0.2.77")
    assert "Cannot assign requested address" in daemon.problems()[0]


def test_a_run_directory_that_cannot_be_made(start, tmp_path: Path):
    """Neither pidfile nor control socket; both come when the way is free."""
    way = tmp_path / "way"
    way.write_text("a file", "utf-8")
    daemon = start(rundir=way / "run")
    wait_until(lambda: "part=pidfile" in daemon.text(), what="it says so")
    wait_until(lambda: 'part="control socket"' in daemon.text().replace("'", '"'), what="and so")
    assert daemon.process.poll() is None
    way.unlink()
    assert [] == daemon.problems()
    assert (way / "run" / f"{PROGRAM}.pid").exists()


def test_a_second_one_does_not_start(start):
    """The one thing that a daemon does not start beside."""
    first = start()
    assert [] == first.problems()
    second = start()
    assert 1 == second.process.wait(10)
    assert f"already running as pid {first.process.pid}" in second.text()
    assert [] == first.problems()


def test_a_pidfile_that_somebody_else_has_locked_for_reading_is_a_problem(start, tmp_path: Path):
    """Any user could do that to a file that he may read."""
    pidfile = tmp_path / "pid"
    pidfile.write_text("1\n", "ascii")
    with pidfile.open("rb") as held:
        fcntl.lockf(held, fcntl.LOCK_SH)
        daemon = start(f"--pidfile={pidfile}")
        (problem,) = daemon.problems()
        assert f"held by process {os.getpid()}, which is not ours" in problem
    wait_until(lambda: [] == daemon.problems(), what="it is tried again")
    assert f"{daemon.process.pid}\n" == pidfile.read_text("ascii")


def test_a_pidfile_of_a_dead_one_is_taken_over(start, tmp_path: Path):
    """With whatever is in it."""
    pidfile = tmp_path / "pid"
    pidfile.write_bytes(b"\xff" * 99)
    daemon = start(f"--pidfile={pidfile}")
    assert [] == daemon.problems()
    assert f"{daemon.process.pid}\n" == pidfile.read_text("ascii")


def test_a_command_that_fails_ends_neither_the_loop_nor_the_answers(start):
    """What it answers and logs is printable, whatever it was about."""
    daemon = start()
    assert [] == daemon.problems()
    answer = daemon.appctl("fail")
    assert 0 != answer.returncode
    assert "fail: ZeroDivisionError: row ?[2J" in answer.stderr
    assert "a\tb\n?[2J?" == daemon.appctl("odd").stdout.strip()
    assert [] == daemon.problems()
    assert "command_failed" in daemon.text()
    assert "\x1b" not in daemon.text()


@pytest.mark.parametrize(
    "words",
    [
        ["problems"],
        ["version"],
        ["list-commands"],
        ["help"],
        ["odd"],
        ["fail"],
        ["no-such"],
        ["problems", "more"],
    ],
    ids=" ".join,
)
def test_answers_and_refusals_end_with_the_end_of_one_line(start, words: list[str]):
    """Whatever the versions of ovs-appctl and of the ovs library; each of them may add nothing."""
    daemon = start()
    assert [] == daemon.problems()
    done = daemon.appctl(*words)
    told = done.stdout if done.returncode == 0 else done.stderr.partition("ovs-appctl:")[0]
    assert told.endswith("\n")
    assert not told.endswith("\n\n")


def test_commands_are_listed_as_by_ovs_vswitchd(start):
    """Under the name that appctl's own help gives, too."""
    daemon = start()
    assert [] == daemon.problems()
    found = daemon.appctl("list-commands").stdout
    assert found == daemon.appctl("help").stdout
    head, *lines = found.splitlines()
    assert head == "The available commands are:"
    assert {"  list-commands", "  version", "  vlog/reopen"} <= set(lines)
    assert daemon.appctl("version").stdout.startswith(f"{PROGRAM} {__version__}\nOpen vSwitch ")


def test_a_way_to_end_that_there_is_not_is_refused(start):
    """As scripts for ovs-vswitchd may ask; the one of ovs-monitor-ipsec is what always happens."""
    daemon = start()
    assert [] == daemon.problems()
    refused = daemon.appctl("exit", "--cleanup")
    assert "exit: expected [--no-cleanup]" in refused.stderr
    assert 2 == refused.returncode
    assert [] == daemon.problems()
    assert 0 == daemon.appctl("exit", "--no-cleanup").returncode
    assert 0 == daemon.process.wait(stretched(60))


def test_levels_are_set_and_listed_by_appctl(start):
    """What vlog/list says is what is written, and what was refused changes nothing."""
    daemon = start("--log-level=error")
    assert [] == daemon.problems()
    before = daemon.appctl("vlog/list").stdout
    head, _, *rows = before.splitlines()
    assert head.split() == ["console", "syslog", "file"]
    assert ["ovn_ipsec.control", "ERR", "OFF", "OFF"] in [row.split() for row in rows]
    for refused in (["no-such:dbg"], ["dbg", "syslog:dbg"], ["file:dbg"]):
        assert 0 != daemon.appctl("vlog/set", *refused).returncode
    assert before == daemon.appctl("vlog/list").stdout
    assert "" == daemon.appctl("vlog/set", "ovn_ipsec.control:off").stdout
    daemon.appctl("fail")
    assert "command_failed" not in daemon.text()
    rows = [row.split() for row in daemon.appctl("vlog/list").stdout.splitlines()]
    assert ["ovn_ipsec.control", "OFF", "OFF", "OFF"] in rows
    daemon.appctl("vlog/set", "console:warn")
    daemon.appctl("fail")
    assert 1 == daemon.text().count("command_failed")
    assert before.replace("ERR", "WARN").split() == daemon.appctl("vlog/list").stdout.split()


def test_levels_of_a_daemon_with_a_log_file_are_those_of_the_file(start, tmp_path: Path):
    """There it takes what is set for the file, and refuses what is set for the console."""
    daemon = start(f"--log-file={tmp_path}/log")
    assert [] == daemon.problems()
    assert 0 != daemon.appctl("vlog/set", "console:dbg").returncode
    assert 0 == daemon.appctl("vlog/set", "file:dbg").returncode
    rows = [row.split()[1:] for row in daemon.appctl("vlog/list").stdout.splitlines()[2:]]
    assert [["OFF", "OFF", "DBG"]] * len(rows) == rows


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff\xfe",
        b"{}",
        b'{"id":1,"method":"problems","params":3}',
        b'{"id":1,"method":"problems","params":[[]]}',
        b'{"id":1,"method":["x"],"params":[]}',
        b'{"id":null,"method":"x","params":[]}',
        b'{"id":1,"result":1,"error":null}',
        b'{"id":1,"method":"set-options","params":["--format","\\ud800"]}',
    ],
)
def test_nonsense_on_the_control_socket_ends_nothing(start, nonsense: bytes):
    """The next one is answered."""
    daemon = start()
    assert [] == daemon.problems()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(daemon.control))
        client.sendall(nonsense)
        time.sleep(0)
        wait_until(lambda: daemon.appctl("passes").returncode == 0, what="it answers")
    assert [] == [one for one in daemon.problems() if "control" not in one]
    wait_until(lambda: [] == daemon.problems(), what="all is well")
    assert daemon.process.poll() is None


def test_a_kernel_that_may_dump_memory_is_a_problem_that_stays(
    start, monkeypatch: pytest.MonkeyPatch
):
    """Nothing is tried again: it would be refused again."""
    monkeypatch.setenv("REFUSED", "1")
    daemon = start()
    assert ["memory of this process may be dumped: PR_SET_DUMPABLE: no"] == daemon.problems()
    before = int(daemon.appctl("passes").stdout)
    time.sleep(1.0)
    assert int(daemon.appctl("passes").stdout) - before < 5


def test_problems_do_not_make_a_loop_spin(start, tmp_path: Path):
    """Four at once, and a few passes a second."""
    with taken_port() as port:
        daemon = start(
            f"--metrics-port={port}", f"--log-file={tmp_path}/no/log", "--pidfile=/proc/no/pid"
        )
        assert 3 == len(daemon.problems())
        before = int(daemon.appctl("passes").stdout)
        time.sleep(1.0)
        assert int(daemon.appctl("passes").stdout) - before < 20
        assert daemon.text().count("service_problem") <= 6


def test_systemd_hears_that_the_loop_goes_round(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """WATCHDOG=1 at half the interval that systemd asked for, though nothing else happens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        start()
        assert [b"WATCHDOG=1"] * 3 == [listener.recv(64) for _ in range(3)]


def test_systemd_is_shown_what_is_done_when_it_changes(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The first at once, of many that follow the last one, and none twice."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(stretched(60))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        daemon = start()
        assert [] == daemon.problems()
        daemon.appctl("tell", "waiting", *(f"number {n}" for n in range(90)))
        daemon.appctl("tell", "number 89", "number 89")
        assert [b"STATUS=waiting", b"STATUS=number 89"] == [listener.recv(999) for _ in range(2)]
        assert 0 == daemon.appctl("exit").returncode
        assert b"STOPPING=1" == listener.recv(999)


def test_what_systemd_is_shown_is_one_short_printable_line(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """No text of a row can say READY=1, nor reach a terminal as it is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(stretched(60))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        daemon = start()
        assert [] == daemon.problems()
        daemon.appctl("tell", "row \x1b[2J\nREADY=1" + "x" * 999)
        assert b"STATUS=row ?[2J?READY=1" + b"x" * 284 == listener.recv(9999)


@pytest.mark.parametrize("asked", [{}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_PID": "1"}])
def test_systemd_hears_nothing_that_it_did_not_ask_for(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str]
):
    """No watchdog, none that can be understood, or that of another process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(0.5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "100000" if "WATCHDOG_PID" in asked else "0")
        for name, value in asked.items():
            monkeypatch.setenv(name, value)
        assert [] == start().problems()
        with pytest.raises(TimeoutError):
            listener.recv(64)
