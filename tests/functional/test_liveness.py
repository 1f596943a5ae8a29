# SPDX-License-Identifier: Apache-2.0
"""Signs of life of a real ovn-controller, seen from its own and from another PID namespace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from controller.plan.ports.liveness import Answer, Life, Lock, Signs, judge
from controller.ports import liveness
from tests.functional import test_tunnels as real
from tests.functional.ovsdb import REPOSITORY

pytestmark = pytest.mark.skipif(
    bool(real.MISSING), reason=f"not installed: {', '.join(real.MISSING)}"
)

FROM_OUTSIDE = f"""
import json, sys
sys.path.insert(0, {str(REPOSITORY)!r})
from dataclasses import asdict
from pathlib import Path
from controller.ports import liveness
print(json.dumps(asdict(liveness.look(Path(sys.argv[1])))))
"""
"""What a controller in a container sees."""
NAME = "ovn-controller"


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.Machine]:
    """A chassis hv1 on which ovn-controller runs."""
    made = real.Machine(tmp_path_factory.mktemp("t"))
    try:
        made.build()
        made.start_controller()
        yield made
    finally:
        made.close()


def from_another_namespace(rundir: Path) -> Signs:
    """Look from a PID namespace with a /proc of its own, as in a container."""
    spaces = ("unshare", "--pid", "--fork", "--mount-proc")
    done = subprocess.run(
        [*spaces, sys.executable, "-c", FROM_OUTSIDE, str(rundir)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    found = json.loads(done.stdout)
    found["lock"], found["answer"] = Lock(found["lock"]), Answer(found["answer"])
    return Signs(**found)


def test_a_living_one_is_alive_from_everywhere(machine: real.Machine) -> None:
    """Its lock is seen across PID namespaces, where its process is not."""
    assert Lock.HELD is liveness.look(machine.folder).lock
    assert Lock.HELD is from_another_namespace(machine.folder).lock


def test_one_whose_pidfile_is_gone_still_answers(machine: real.Machine) -> None:
    """Its control socket does, also across PID namespaces."""
    (machine.folder / "ovn-controller.pid").unlink()
    for signs in (liveness.look(machine.folder), from_another_namespace(machine.folder)):
        assert (Lock.NO_FILE, Answer.ACCEPTED) == (signs.lock, signs.answer)
        assert Life.ALIVE is judge(signs).life


def test_one_with_another_run_directory_is_not_dead(machine: real.Machine, tmp_path: Path) -> None:
    """A pidfile that somebody left in ours says nothing of it; from a container nothing does."""
    shutil.copy(machine.folder / "ovn-controller.pid", tmp_path)
    signs = liveness.look(tmp_path)
    assert (Lock.FREE, Answer.NOBODY) == (signs.lock, signs.answer)
    assert Life.ALIVE is judge(signs).life
    assert 1 == signs.here
    assert Life.UNKNOWN is judge(from_another_namespace(tmp_path)).life


def of_this_machine_alone(folder: Path, own: int) -> Path:
    """A /proc as the first PID namespace has it, without ovn-controllers other than a given one."""
    made = folder / "proc"
    (made / "self" / "ns").mkdir(parents=True)
    (made / "self" / "ns" / "pid").symlink_to(liveness.INIT_PID_NAMESPACE)
    (made / "self" / "ns" / "net").symlink_to(Path("/proc/self/ns/net").readlink())
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and (process.name == str(own) or not is_one(process)):
            (made / process.name).symlink_to(process)
    return made


def is_one(process: Path) -> bool:
    """Whether a process is an ovn-controller."""
    try:
        return (process / "comm").read_text().strip() == NAME
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_dead_one_is_dead_for_who_sees_all(
    machine: real.Machine, how: signal.Signals, tmp_path: Path
) -> None:
    """Killed, it leaves its pidfile and its socket; for a container that is not enough."""
    process = machine.running.pop(NAME)
    view = of_this_machine_alone(tmp_path, process.pid)
    (machine.folder / f"{NAME}.pid").rename(machine.folder / "kept")
    assert 1 == liveness.look(machine.folder, view).here
    (machine.folder / "kept").rename(machine.folder / f"{NAME}.pid")
    process.send_signal(how)
    process.wait(10)
    left = (machine.folder / f"{NAME}.pid").exists()
    assert left == (how is signal.SIGKILL)
    assert Life.DEAD is judge(liveness.look(machine.folder, view)).life
    assert Life.UNKNOWN is judge(from_another_namespace(machine.folder)).life


def test_a_socket_that_does_not_answer_is_unclear(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A queue that is full, a name too long, more sockets than are asked: none of them is dead."""
    folder = tmp_path_factory.mktemp("t")
    path = folder / "ovn-controller.42.ctl"
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(os.fspath(path))
        assert Answer.NOBODY is liveness.look(folder).answer
        listening.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(os.fspath(path))
        assert Answer.UNCLEAR is liveness.look(folder).answer
        for one in waiting:
            one.close()
    path.unlink()
    for number in range(20):
        (folder / f"ovn-controller.{number}.ctl").touch()
    assert Answer.UNCLEAR is liveness.look(folder).answer
