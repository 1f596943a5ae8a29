# SPDX-License-Identifier: Apache-2.0
"""Machines that are faster or slower than this one, as the laboratory makes them up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ovn_ipsec.lab.cluster import upcalls
from ovn_ipsec.lab.cluster.host import PROJECT, python_env
from ovn_ipsec.lab.guest import initramfs
from ovn_ipsec.lab.guest.throttle import throttled
from ovn_ipsec.lab.waiting import stretched, wait_until

BUSY = "while True: pass"
SECONDS = 1.5


def _processor_s(pid: int) -> float:
    """Return the processor time that a process has had: proc(5), utime and stime of stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_throttled_process_gets_its_part_of_the_time_and_runs_on_afterwards() -> None:
    """A fifth of it and not more than the scheduler's turns beside it; then all of it again."""
    with subprocess.Popen([sys.executable, "-c", BUSY]) as busy:
        try:
            wait_until(lambda: _processor_s(busy.pid) > 0.05, 30, "at work")
            before, begin = _processor_s(busy.pid), time.monotonic()
            with throttled(busy.pid, 20):
                time.sleep(SECONDS)
                spent = _processor_s(busy.pid) - before
                took = time.monotonic() - begin
            assert 0 < spent < 0.4 * took
            stopped = _processor_s(busy.pid)
            wait_until(lambda: _processor_s(busy.pid) > stopped + 0.2, 30, "at work again")
        finally:
            busy.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: no time namespaces")
def test_a_switch_is_started_only_when_the_processors_are_counted() -> None:
    """On the clock of a kernel of a second ago it takes until 10 s and a margin; later, no time."""
    text = (
        "import time; from ovn_ipsec.lab.cluster import upcalls; begin = time.monotonic()\n"
        "upcalls.wait_until_counted(); end = time.monotonic()\n"
        "upcalls.wait_until_counted(); print(begin, end, time.monotonic())"
    )
    done = subprocess.run(
        ["sh", "-c", f"exec {initramfs.just_booted([sys.executable, '-c', text])}"],
        check=True,
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env={**os.environ, **python_env()},
        timeout=stretched(60),
    )
    begin, end, again = map(float, done.stdout.split())
    assert begin < 10 < upcalls.COUNTED_S <= end
    assert again - end < 1


def test_a_process_without_handler_threads_takes_no_upcalls() -> None:
    """This one, for example."""
    assert upcalls.handlers(os.getpid()) == 0
