# SPDX-License-Identifier: Apache-2.0
"""Edge (inotify): notices that files may have changed, through the directories that lead to them.

Input: paths. Output: a descriptor that is readable when something happened to one of them.

An event only wakes the loop; what counts is what is then read. A replaced file is another inode, so
not the file is watched but every directory that contains a name on the path to it: its own, those
of the symbolic links that lead there, or, while something is missing, the deepest existing one.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Mapping
from ctypes import CDLL
from pathlib import PurePath

import inotify_simple
import structlog
from inotify_simple import INotify, flags

_log = structlog.get_logger()

LINKS_MAX = 40
"""As the kernel allows on one way (path_resolution(7))."""
TRIES = 5
"""Attempts at a path that changes while it is being followed."""
_NAMED = (
    flags.CREATE
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.DELETE
    | flags.CLOSE_WRITE
    | flags.ATTRIB
)
_WHOLE = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.Q_OVERFLOW
"""Events of the directory itself, whatever the name."""


class FileWatch:
    """Folders watched for some files."""

    def __init__(self) -> None:
        self._inotify: INotify | None = None
        self._names: dict[int, frozenset[str]] = {}
        """By watch: names in that folder that count."""
        self.problem = ""

    def watch(self, paths: Iterable[str]) -> bool:
        """Watch what leads to these files, and nothing else.

        Read the files afterwards: whatever happens from now on makes the descriptor readable.

        Returns:
            Whether all of it is watched; else somebody has to look from time to time, as on a file
            system that others change, too.
        """
        wanted, problem = [path for path in paths if path], ""
        try:
            found = leading(wanted)
            for _ in range(TRIES):
                self._add(found)
                before, found = found, leading(wanted)
                if found == before:
                    break
            else:
                problem = "the folders keep changing"
        except (OSError, ValueError) as error:
            problem = str(error)
        if problem and problem != self.problem:
            _log.warning("files_not_watched", reason=problem)
        self.problem = problem
        return not problem

    def _add(self, folders: Mapping[str, frozenset[str]]) -> None:
        if self._inotify is None:
            if not folders:
                return
            self._inotify = _open()
        names: dict[int, frozenset[str]] = {}
        for folder, found in folders.items():
            watch = self._inotify.add_watch(folder, _NAMED | _WHOLE | flags.ONLYDIR)
            names[watch] = names.get(watch, frozenset()) | found
        for watch in self._names.keys() - names.keys():
            with contextlib.suppress(OSError):  # It may have gone with its folder.
                self._inotify.rm_watch(watch)
        self._names = names

    def drain(self) -> bool:
        """Process events; returns whether one of the files was, or may have been, affected."""
        if self._inotify is None:
            return False
        return any(
            event.mask & _WHOLE or event.name in self._names.get(event.wd, ())
            for event in self._inotify.read(timeout=0)
        )

    def fileno(self) -> int:
        """Return the descriptor that is readable when something happened; -1: there is none."""
        return -1 if self._inotify is None else int(self._inotify.fileno())

    def close(self) -> None:
        """Stop watching."""
        if self._inotify is not None:
            self._inotify.close()
        self._inotify, self._names = None, {}


def _open() -> INotify:
    # The library would start ldconfig to find the libc that this process has already.
    inotify_simple._libc = inotify_simple._libc or CDLL(None, use_errno=True)  # noqa: SLF001
    return INotify(nonblocking=True)


def leading(paths: Iterable[str]) -> dict[str, frozenset[str]]:
    """Find what leads to files.

    Args:
        paths: Whatever a database contains.

    Returns:
        Folders without a symbolic link in them, and the names in each that lead on, or that would.

    Raises:
        ValueError: A path holds a null byte.
    """
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in paths:
        for folder, name in _steps(PurePath(os.getcwd(), path)):  # noqa: PTH109 - not resolved
            found[folder].add(name)
    return {folder: frozenset(names) for folder, names in found.items()}


def _steps(path: PurePath) -> Iterable[tuple[str, str]]:
    folder, links = "/", 0
    ahead = list(reversed(path.parts[1:]))
    while ahead:
        name = ahead.pop()
        if name == "..":
            folder = os.path.dirname(folder)  # noqa: PTH120 - as its neighbours
            continue
        step = os.path.join(folder, name)  # noqa: PTH118 - a path from a database
        try:
            is_link = stat.S_ISLNK(os.lstat(step).st_mode)
            target = os.readlink(step) if is_link else ""  # noqa: PTH115 - as its neighbours
        except OSError:
            yield folder, name
            return
        if is_link and links < LINKS_MAX:
            yield folder, name
            links += 1
            folder = "/" if target.startswith("/") else folder
            ahead += [part for part in reversed(PurePath(target).parts) if part != "/"]
        elif is_link or not ahead:
            yield folder, name
            return
        else:
            folder = step
