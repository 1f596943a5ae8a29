# SPDX-License-Identifier: Apache-2.0
"""Whether an ovn-controller runs: what speaks for life, and what it takes to call it dead."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import pytest

from controller.plan.ports.liveness import Answer, Life, Lock, Signs, judge, who_owns
from controller.ports import liveness
from ovn_ipsec.schema.open_vswitch import Tunnels

NO_SIGN = Signs(lock=Lock.NO_FILE, answer=Answer.NOBODY, here=0, elsewhere=0, hidden="")
HIDDEN = "some are out of sight"
EVERY = [
    Signs(
        lock=lock,
        answer=answer,
        here=here,
        elsewhere=elsewhere,
        hidden=hidden,
        bridge_remote=remote,
    )
    for lock, answer, here, elsewhere, hidden, remote in product(
        Lock, Answer, (0, 1), (0, 1), ("", HIDDEN), (False, True)
    )
]


def test_dead_is_only_what_is_known_dead() -> None:
    """Of all there is to see: no lock held, nobody answering, no process, nothing out of sight."""
    dead = [signs for signs in EVERY if judge(signs).life is Life.DEAD]
    assert [
        Signs(lock=lock, answer=Answer.NOBODY, here=0, elsewhere=0, hidden="")
        for lock in (Lock.FREE, Lock.NO_FILE)
    ] == dead


def test_one_sign_of_life_is_enough() -> None:
    """Whatever else cannot be seen."""
    alive = {signs for signs in EVERY if judge(signs).life is Life.ALIVE}
    assert alive == {
        signs
        for signs in EVERY
        if signs.lock is Lock.HELD or signs.answer is Answer.ACCEPTED or signs.here
    }


def test_every_verdict_says_what_it_rests_on() -> None:
    """People read it; what is hidden is told as it was found."""
    assert all(judge(signs).reason for signs in EVERY)
    hidden = Signs(lock=Lock.FREE, answer=Answer.NOBODY, here=0, elsewhere=0, hidden=HIDDEN)
    assert HIDDEN == judge(hidden).reason


@pytest.mark.parametrize(
    ("setting", "life", "present", "dead_for_s", "expected"),
    [
        (Tunnels.OWN, Life.ALIVE, False, 0.0, True),
        (Tunnels.ADOPT, Life.DEAD, True, 1e6, False),
        (Tunnels.AUTO, Life.DEAD, True, 30.0, True),
        (Tunnels.AUTO, Life.DEAD, True, 29.9, False),
        (Tunnels.AUTO, Life.ALIVE, True, 1e6, False),
        (Tunnels.AUTO, Life.UNKNOWN, True, 1e6, False),
        (Tunnels.AUTO, Life.DEAD, False, 1e6, False),
    ],
)
def test_who_owns(
    setting: Tunnels, *, life: Life, present: bool, dead_for_s: float, expected: bool
) -> None:
    """Auto owns only when ovn-controller is long known dead and its Chassis row is still there."""
    actual = who_owns(setting, life=life, own_row_present=present, dead_for_s=dead_for_s)
    assert expected == actual


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc of the first PID namespace with ourselves, the first process, and what is none."""
    made = tmp_path / "proc"
    process(made, "self", "python3")
    (made / "self" / "ns" / "pid").symlink_to(liveness.INIT_PID_NAMESPACE)
    process(made, "1", "systemd")
    (made / "uptime").write_text("1 1\n")
    return made


@pytest.fixture
def rundir(tmp_path: Path) -> Path:
    """A folder for a pidfile."""
    made = tmp_path / "ovn"
    made.mkdir()
    return made


def process(
    proc: Path, pid: str, name: str, state: str = "S", netns: str | None = "net:[1]"
) -> None:
    """Add a process."""
    (proc / pid / "ns").mkdir(parents=True)
    (proc / pid / "stat").write_text(f"{pid} ({name}) {state} 1 2 3\n")
    if netns is not None:
        (proc / pid / "ns" / "net").symlink_to(netns)


def test_where_nothing_is_nothing_is_found(rundir: Path, proc: Path) -> None:
    """Not even the folder."""
    assert NO_SIGN == liveness.look(rundir, proc)
    assert NO_SIGN == liveness.look(rundir / "none", proc)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (("ovn-controller", "S", "net:[1]"), (1, 0)),
        (("ovn-controller", "R", "net:[2]"), (0, 1)),
        (("ovn-controller", "S", None), (0, 1)),
        (("ovn-controller", "Z", "net:[1]"), (0, 0)),
        (("ovn-controller-", "S", "net:[1]"), (0, 0)),
        (("a) S (b", "S", "net:[1]"), (0, 0)),
    ],
)
def test_processes_are_counted_by_name_and_place(
    rundir: Path, proc: Path, found: tuple[str, str, str | None], expected: tuple[int, int]
) -> None:
    """A zombie has ended; one of whom the place cannot be told may be ours."""
    process(proc, "42", *found)
    signs = liveness.look(rundir, proc)
    assert expected == (signs.here, signs.elsewhere)
    assert not signs.hidden


def test_who_does_not_see_all_processes_knows_it(rundir: Path, proc: Path) -> None:
    """Another PID namespace, a process that may not be read, hidepid, no /proc at all."""
    (proc / "7").mkdir()
    assert not liveness.look(rundir, proc).hidden, "it has ended meanwhile"
    process(proc, "8", "x")
    (proc / "8" / "stat").write_text("junk")
    assert "looked at" in liveness.look(rundir, proc).hidden
    (proc / "1" / "stat").unlink()
    (proc / "8" / "stat").unlink()
    assert "hidepid" in liveness.look(rundir, proc).hidden
    (proc / "self" / "ns" / "pid").unlink()
    (proc / "self" / "ns" / "pid").symlink_to("pid:[4026532000]")
    assert "namespace" in liveness.look(rundir, proc).hidden
    assert liveness.look(rundir, proc / "none").hidden


def test_a_pidfile_that_is_none_cannot_be_judged(rundir: Path, proc: Path) -> None:
    """A link, a folder, a pipe: none of them is waited for, none is dead."""
    pidfile = rundir / "ovn-controller.pid"
    pidfile.write_text("1\n")
    assert Lock.FREE is liveness.look(rundir, proc).lock
    pidfile.rename(rundir / "other")
    pidfile.symlink_to(rundir / "other")
    assert Lock.UNREADABLE is liveness.look(rundir, proc).lock
    pidfile.unlink()
    pidfile.mkdir()
    assert Lock.UNREADABLE is liveness.look(rundir, proc).lock
    pidfile.rmdir()
    os.mkfifo(pidfile)
    assert Lock.UNREADABLE is liveness.look(rundir, proc).lock


def test_the_real_namespaces_can_be_read() -> None:
    """Of ourselves at least."""
    assert str(liveness.network_namespace(Path("/proc/self"))).startswith("net:[")
    assert liveness.network_namespace(Path("/proc/none")) is None
