# SPDX-License-Identifier: Apache-2.0
"""Which IKE daemons a host has, from real sockets and processes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovn_ipsec.ikes import PROGRAMS, look
from ovn_ipsec.lab.waiting import wait_until
from ovn_ipsec.model.ike import Ike

NOBODY = frozenset[Ike]()


@pytest.fixture
def pluto(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of that name."""
    program = tmp_path / "pluto"
    shutil.copy("/usr/bin/sleep", program)
    with subprocess.Popen([program, "600"]) as process:
        comm = Path(f"/proc/{process.pid}/comm")
        wait_until(lambda: comm.read_text() == "pluto\n", 10, "it runs")
        yield process
        process.kill()


def test_a_socket_that_answers_is_a_strongswan(tmp_path: Path) -> None:
    """One that was left behind is none, and one whose queue is full is."""
    uri, missing = f"unix://{tmp_path}/vici", tmp_path / "pid"
    assert look(uri, missing, tmp_path).running == NOBODY
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/vici")
        assert look(uri, missing, tmp_path).running == NOBODY
        server.listen(0)
        waiting = []
        for _ in range(3):
            found = look(uri, missing, tmp_path)
            assert (found.running, found.unknown) == ({Ike.STRONGSWAN}, "")
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(f"{tmp_path}/vici")
        for one in waiting:
            one.close()
    assert look(uri, missing, tmp_path).running == NOBODY


def test_a_process_of_that_name_is_a_pluto(tmp_path: Path, pluto: subprocess.Popen[bytes]) -> None:
    """A file that names another, or one that has ended, tells of none."""
    uri, file = f"unix://{tmp_path}/vici", tmp_path / "pluto.pid"
    file.write_text(f"{pluto.pid}\n")
    assert look(uri, file, tmp_path).running == {Ike.LIBRESWAN}
    file.write_text(f"{os.getpid()}\n")
    assert look(uri, file, tmp_path).running == NOBODY
    file.write_text(f"{pluto.pid}\n")
    pluto.kill()
    pluto.wait()
    assert look(uri, file, tmp_path).running == NOBODY


def test_what_cannot_be_read_is_not_absent(tmp_path: Path) -> None:
    """Nor is a socket that nobody could know."""
    uri, file = f"unix://{tmp_path}/vici", tmp_path / "pluto.pid"
    file.write_text("soon\n")
    assert look(uri, file, tmp_path).unknown == f"{file} names no process"
    file.unlink()
    file.mkdir()
    assert look(uri, file, tmp_path).unknown == f"{file}: Is a directory"
    assert "not a vici socket" in look("tcp://x", tmp_path / "none", tmp_path).unknown


def test_what_is_installed_is_found_where_distributions_have_it(tmp_path: Path) -> None:
    """Whether it runs or not."""
    for ike, paths in PROGRAMS.items():
        for path in paths:
            root = tmp_path / str(abs(hash(path)))
            program = root / path[1:]
            program.parent.mkdir(parents=True)
            program.write_text("")
            found = look(f"unix://{tmp_path}/vici", tmp_path / "none", root)
            assert (found.installed, found.running, found.unknown) == ({ike}, NOBODY, "")
