# SPDX-License-Identifier: Apache-2.0
"""Edge: signs of life of ovn-controller: the lock on its pidfile, its control socket, /proc."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import stat
import struct
from pathlib import Path

from ..plan.ports.liveness import Answer, Lock, Signs

CONTROLLER = "ovn-controller"
INIT_PID_NAMESPACE = "pid:[4026531836]"
"""Source: linux/nsfs.h, PID_NS_INIT_INO; the same since Linux 3.8."""

_FLOCK = struct.Struct("@hhqqi")
"""struct flock with 64 bit offsets (fcntl(2)): l_type, l_whence, l_start, l_len, l_pid."""
_CONTROL = re.compile(rf"{CONTROLLER}\.[0-9]+\.ctl")
_CONTROLS_MAX = 16
"""Of those that were killed the sockets stay; more than this is not asked in one look."""
_ANSWER_S = 0.2
_NOBODY = (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED)
_ENDED = (errno.ENOENT, errno.ESRCH)


def look(rundir: Path, proc: Path = Path("/proc")) -> Signs:
    """Look for an ovn-controller.

    The lock comes first, and a held one ends the look: that is every look while it runs.

    Args:
        rundir: $OVN_RUNDIR, where its pidfile and its control socket are.
        proc: Where proc(5) is mounted.
    """
    lock = _pidfile(rundir / f"{CONTROLLER}.pid")
    if lock is Lock.HELD:
        return Signs(lock=lock, answer=Answer.NOBODY, here=0, elsewhere=0, hidden="")
    answer = _ask_all(rundir)
    here, elsewhere, hidden = _processes(proc)
    return Signs(lock=lock, answer=answer, here=here, elsewhere=elsewhere, hidden=hidden)


def _pidfile(file: Path) -> Lock:
    try:
        # Whatever stands there: it must not make us wait, nor lead to elsewhere.
        number = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        return Lock.NO_FILE if error.errno in _NOBODY else Lock.UNREADABLE
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            return Lock.UNREADABLE
        return Lock.HELD if _is_locked(number) else Lock.FREE
    except OSError:
        return Lock.UNREADABLE
    finally:
        os.close(number)


def _is_locked(number: int) -> bool:
    """Whether somebody holds a lock; of one in another PID namespace only l_pid is not known."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    found: int = _FLOCK.unpack(fcntl.fcntl(number, fcntl.F_GETLK, asked))[0]
    return found != fcntl.F_UNLCK


def _ask_all(rundir: Path) -> Answer:
    """Ask every control socket of that name: its pidfile may be gone, or be another's."""
    try:
        found = [path for path in rundir.iterdir() if _CONTROL.fullmatch(path.name)]
    except OSError as error:
        return Answer.NOBODY if error.errno in _NOBODY else Answer.UNCLEAR
    answers = {_ask(path) for path in sorted(found)[:_CONTROLS_MAX]}
    if Answer.ACCEPTED in answers:
        return Answer.ACCEPTED
    clear = answers <= {Answer.NOBODY} and len(found) <= _CONTROLS_MAX
    return Answer.NOBODY if clear else Answer.UNCLEAR


def _ask(path: Path) -> Answer:
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(_ANSWER_S)
        try:
            made.connect(os.fspath(path))
        except OSError as error:
            return Answer.NOBODY if error.errno in _NOBODY else Answer.UNCLEAR
    return Answer.ACCEPTED


def _processes(proc: Path) -> tuple[int, int, str]:
    """Count those of that name here and elsewhere, and tell why there may be more."""
    here = elsewhere = 0
    try:
        hidden = _hidden(proc)
        own = network_namespace(proc / "self")
        processes = [entry for entry in proc.iterdir() if entry.name.isdecimal()]
    except OSError:
        return 0, 0, "the processes of this host cannot be listed"
    for process in processes:
        try:
            name, state = _name_and_state((process / "stat").read_bytes())
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) not in _ENDED:
                hidden = "not every process may be looked at"
            continue
        if name != CONTROLLER or state in ("Z", "X"):
            continue
        theirs = network_namespace(process)
        if theirs is not None and theirs == own:
            here += 1
        else:
            elsewhere += 1
    return here, elsewhere, hidden


def _hidden(proc: Path) -> str:
    if str((proc / "self" / "ns" / "pid").readlink()) != INIT_PID_NAMESPACE:
        return "the processes of other PID namespaces cannot be seen from this one"
    # Under hidepid only those come that we may trace, and nobody who may not see all of them may
    # see the first one, which has every capability.
    try:
        (proc / "1" / "stat").stat()
    except OSError:
        return "/proc hides the processes of others (hidepid)"
    return ""


def _name_and_state(line: bytes) -> tuple[str, str]:
    """Source: proc_pid_stat(5): the name is between the first and the last parenthesis."""
    name = line[line.index(b"(") + 1 : line.rindex(b")")]
    return os.fsdecode(name), os.fsdecode(line[line.rindex(b")") + 1 :].split()[0])


def network_namespace(process: Path) -> str | None:
    """Name the network namespace of a process; None when we may not know.

    Args:
        process: Its folder in proc(5).
    """
    try:
        return str((process / "ns" / "net").readlink())
    except OSError:
        return None
