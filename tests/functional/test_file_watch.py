# SPDX-License-Identifier: Apache-2.0
"""Files that are watched on a real file system, in the ways in which people replace them."""

from __future__ import annotations

import errno
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from inotify_simple import INotify

from controller.credentials import file_watch
from controller.credentials.file_watch import FileWatch, leading


@pytest.fixture
def watch() -> Iterator[FileWatch]:
    made = FileWatch()
    yield made
    made.close()


def noticed(watch: FileWatch) -> bool:
    """Whether the descriptor wakes, and it was about a file that is watched."""
    readable, _, _ = select.select([watch.fileno()], [], [], 0.2)
    assert not readable or watch.fileno() in readable
    return watch.drain() and bool(readable)


def rename_over(path: Path) -> None:
    """As ``mv`` and ``install`` do."""
    fresh = path.with_name("fresh")
    fresh.write_text("new")
    fresh.rename(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda path: path.write_text("new"),
    "renamed over": rename_over,
    "removed": Path.unlink,
    "given another mode": lambda path: path.chmod(0o600),
    "moved away": lambda path: path.rename(path.with_name("old")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_each_change_wakes_and_no_other_file_does(
    tmp_path: Path, watch: FileWatch, change: Callable[[Path], object]
) -> None:
    """And what is only read does not, nor what was seen already."""
    path, other = tmp_path / "cert.pem", tmp_path / "key.pem"
    path.write_text("old")
    other.write_text("old")
    assert watch.watch([str(path), str(other), ""])
    assert not noticed(watch)
    path.read_text()
    (tmp_path / "unrelated").write_text("x")
    assert not noticed(watch)
    change(path)
    assert noticed(watch)
    assert watch.watch([str(path), str(other)])
    assert not noticed(watch)
    other.write_text("new")
    assert noticed(watch)


def test_a_file_and_its_folders_may_come_later(tmp_path: Path, watch: FileWatch) -> None:
    """Each of them is a change of what is watched."""
    path = tmp_path / "one" / "two" / "cert.pem"
    for make in (path.parent.parent.mkdir, path.parent.mkdir, lambda: path.write_text("x")):
        assert watch.watch([str(path)])
        make()
        assert noticed(watch)
    assert watch.watch([str(path)])
    path.write_text("y")
    assert noticed(watch)


def test_a_folder_that_is_made_again_is_watched_again(tmp_path: Path, watch: FileWatch) -> None:
    """Though it is another one."""
    folder = tmp_path / "certs"
    for again in range(3):
        folder.mkdir()
        assert watch.watch([str(folder / "cert.pem")])
        (folder / "cert.pem").write_text("x")
        assert noticed(watch), again
        folder.rename(tmp_path / f"old{again}")
        assert noticed(watch)


def test_a_volume_of_kubernetes_is_swapped(tmp_path: Path, watch: FileWatch) -> None:
    """``tls.crt -> ..data/tls.crt``, and ``..data`` is renamed over."""
    for name in ("..1", "..2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tls.crt").write_text(name)
    (tmp_path / "..data").symlink_to("..1")
    path = tmp_path / "tls.crt"
    path.symlink_to("..data/tls.crt")
    assert watch.watch([str(path)])
    (tmp_path / "..data_tmp").symlink_to("..2")
    assert not noticed(watch)
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert noticed(watch)
    assert path.read_text() == "..2"
    assert watch.watch([str(path)])
    (tmp_path / "..2" / "tls.crt").write_text("in place")
    assert noticed(watch)


def test_links_through_other_folders_are_followed(tmp_path: Path, watch: FileWatch) -> None:
    """Relative and absolute, of the file and of a folder above it."""
    for name in ("live", "archive", "next"):
        (tmp_path / name).mkdir()
    (tmp_path / "archive" / "cert1").write_text("1")
    (tmp_path / "next" / "cert").write_text("2")
    (tmp_path / "live" / "cert").symlink_to("../archive/cert1")
    (tmp_path / "current").symlink_to(tmp_path / "live")
    path = str(tmp_path / "current" / "cert")
    assert leading([path]) == {
        str(tmp_path): frozenset({"current"}),
        str(tmp_path / "live"): frozenset({"cert"}),
        str(tmp_path / "archive"): frozenset({"cert1"}),
    }
    for change in (
        lambda: (tmp_path / "archive" / "cert1").write_text("3"),
        (tmp_path / "live" / "cert").unlink,
        (tmp_path / "current").unlink,
    ):
        assert watch.watch([path])
        change()
        assert noticed(watch)
    (tmp_path / "current").symlink_to("next")
    assert watch.watch([path])
    (tmp_path / "next" / "cert").write_text("4")
    assert noticed(watch)


def test_what_leads_nowhere_is_no_error(tmp_path: Path, watch: FileWatch) -> None:
    """A link to itself, or a path that could not be one, which is said."""
    (tmp_path / "loop").symlink_to("loop")
    assert watch.watch([str(tmp_path / "loop")])
    assert watch.watch(["/proc/../nowhere/cert.pem"])
    assert not watch.watch(["/etc/a\0b"])
    assert watch.problem
    assert watch.watch([])
    assert watch.problem == ""


def test_what_is_not_watched_any_more_does_not_wake(tmp_path: Path, watch: FileWatch) -> None:
    """Nor is there anything to wake before something is watched."""
    assert watch.watch([])
    assert watch.fileno() == -1
    assert not watch.drain()
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        assert watch.watch([str(folder / "cert.pem")])
    noticed(watch)
    (old / "cert.pem").write_text("x")
    assert not noticed(watch)
    (new / "cert.pem").write_text("x")
    assert noticed(watch)


def test_a_limit_is_said_and_tried_again(
    tmp_path: Path, watch: FileWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then somebody has to look."""

    class Full(INotify):  # type: ignore[misc]
        """Of a user who has no watch left."""

        def add_watch(self, path: str, mask: int) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "cert.pem"
    monkeypatch.setattr(file_watch, "INotify", Full)
    assert not watch.watch([str(path)])
    assert "No space left" in watch.problem
    monkeypatch.undo()
    watch.close()
    assert watch.watch([str(path)])
    path.write_text("x")
    assert noticed(watch)
