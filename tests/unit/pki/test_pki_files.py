# SPDX-License-Identifier: Apache-2.0
"""Files are written whole, private where they must be, by one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from pathlib import Path

import pytest

from ovn_ipsec.errors import Retry
from ovn_ipsec.pki import files
from ovn_ipsec.pki.errors import BusyError, PkiError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("wanted", [0o600, 0o644])
def test_a_file_has_its_mode_whatever_the_umask(tmp_path: Path, umask: int, wanted: int):
    """And nothing else is left."""
    old = os.umask(umask)
    try:
        files.write(tmp_path / "file", b"text", wanted)
    finally:
        os.umask(old)
    assert (wanted, b"text") == (mode(tmp_path / "file"), (tmp_path / "file").read_bytes())
    assert ["file"] == [path.name for path in tmp_path.iterdir()]


def test_a_private_file_is_private_from_its_first_byte(tmp_path: Path, monkeypatch):
    """Not only when it is in place."""
    seen = []
    replace = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda self, target: (seen.append(mode(self)), replace(self, target))
    )
    files.write(tmp_path / "key", b"secret", 0o600)
    assert [0o600] == seen


def kill_before(call: str, path: Path) -> None:
    """Write in a child that dies, as by SIGKILL, instead of that system call."""
    child = os.fork()
    if child == 0:
        setattr(Path if call == "replace" else os, call, lambda *_args: os._exit(9))
        files.write(path, b"new", 0o600)
        os._exit(0)
    assert 9 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("call", ["fchmod", "fsync", "replace"])
def test_a_kill_before_the_rename_leaves_the_old_file(tmp_path: Path, call: str):
    """Whatever it leaves beside it does not disturb the next writer."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    kill_before(call, path)
    assert path.read_bytes() == b"old"
    files.write(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert ["file"] == [found.name for found in tmp_path.iterdir()]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch):
    """And says which file could not be written; nothing is left over."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PkiError, match=r"file: cannot write: No space left on device"):
        files.write(path, b"new")
    assert (b"old", ["file"]) == (path.read_bytes(), [p.name for p in tmp_path.iterdir()])


def test_a_link_that_waits_under_the_temporary_name_is_not_followed(tmp_path: Path):
    """A key goes nowhere else."""
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / ".key.new").symlink_to(elsewhere)
    files.write(tmp_path / "key", b"secret", 0o600)
    assert not elsewhere.exists()


def test_the_longest_name_of_a_file_can_be_written(tmp_path: Path):
    """The temporary one is not longer than a file system takes."""
    files.write(tmp_path / ("f" * 255), b"")


def test_a_folder_is_made_private(tmp_path: Path):
    """Again is fine."""
    files.make_folder(tmp_path / "ca")
    files.make_folder(tmp_path / "ca")
    assert mode(tmp_path / "ca") == 0o700


def test_a_folder_that_is_not_private_is_refused(tmp_path: Path):
    """With the command that mends it."""
    tmp_path.chmod(0o750)
    with pytest.raises(PkiError, match="mode 0750") as caught:
        files.check_folder(tmp_path)
    assert caught.value.next_step == f"chmod 0700 {tmp_path}"


@pytest.mark.parametrize("name", ["file/below", "absent", "file"])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str):
    """Each time with its name."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PkiError, match=name):
        files.check_folder(tmp_path / name)


def test_there_is_one_writer(tmp_path: Path):
    """The second one is told to come back; afterwards the lock is free."""
    with files.locked(tmp_path / "lock"):
        again = files.locked(tmp_path / "lock")
        with pytest.raises(BusyError, match="another process") as caught, again:
            pytest.fail("two writers")
        assert caught.value.retry is Retry.LATER
    with files.locked(tmp_path / "lock"):
        assert mode(tmp_path / "lock") == 0o600


def test_another_writer_is_waited_for_so_long(tmp_path: Path, monkeypatch):
    """Not for ever."""
    looks: list[float] = []
    other = contextlib.ExitStack()
    other.enter_context(files.locked(tmp_path / "lock"))

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            other.close()

    monkeypatch.setattr(time, "sleep", sleep)
    with files.locked(tmp_path / "lock", wait_s=60.0):
        assert len(looks) == 3
    times = iter(range(0, 1000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    with files.locked(tmp_path / "lock"), pytest.raises(BusyError):
        files.locked(tmp_path / "lock", wait_s=60.0).__enter__()


def test_something_is_put_behind_what_counts(tmp_path: Path, monkeypatch):
    """What a kill has left behind it goes; a full disk leaves what was there."""
    path = tmp_path / "journal"
    files.write(path, b"one\nhalf of tw", files.PRIVATE)
    assert files.tail(path, 0) == b"one\n"
    files.append(path, 4, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    assert files.tail(path, 4) == b"two\n"
    assert files.tail(path, 8) == b""
    real = os.pwrite

    def full(descriptor: int, data: bytes, where: int) -> int:
        if where > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:2], where)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(PkiError, match="No space left"):
        files.append(path, 8, b"three\n")
    assert path.read_bytes() == b"one\ntwo\n"
    with pytest.raises(PkiError, match="has become shorter"):
        files.tail(path, 9)
    with pytest.raises(PkiError, match="cannot read"):
        files.tail(tmp_path / "none", 0)
    with pytest.raises(PkiError, match="cannot write"):
        files.append(tmp_path / "none", 0, b"x\n")


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path):
    """As any other file."""
    with pytest.raises(PkiError, match="cannot lock"), files.locked(tmp_path / "a" / "lock"):
        pytest.fail("locked")
