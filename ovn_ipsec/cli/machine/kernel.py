# SPDX-License-Identifier: Apache-2.0
"""Edge: the kernel's modules, what modprobe.d keeps out, and whether its clock is set by another.

Source: modprobe.d(5), adjtimex(2).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...errors import EdgeError
from .values import Modules

ROOT = Path("/")
FOLDERS = ("etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d")
"""In the order in which a file of one name hides those behind it; /lib is /usr/lib."""
_TIMEX_BYTES = 512
"""More than struct timex has on any machine."""
_TIME_ERROR = 5
_NEVER = frozenset({"/bin/false", "/bin/true", "/usr/bin/false", "/usr/bin/true"})


def modules(names: Iterable[str], root: Path = ROOT) -> Modules:
    """Look which modules the running kernel has, and which it may not load.

    Args:
        names: Of the modules, with underscores.
        root: Where the file system begins.
    """
    wanted = frozenset(names)
    release = os.uname().release
    folder = next(
        (
            found
            for lib in ("lib", "usr/lib")
            if (found := root / lib / "modules" / release).is_dir()
        ),
        None,
    )
    here = {name for name in wanted if (root / "sys" / "module" / name).is_dir()}
    on_disk: frozenset[str] | None = None
    if folder is not None:
        here |= wanted & set(_listed(folder / "modules.builtin"))
        on_disk = wanted & frozenset(_listed(folder / "modules.dep"))
    blacklisted = {name: path for name, path in _blacklisted(root) if name in wanted}
    return Modules(release=release, here=frozenset(here), on_disk=on_disk, blacklisted=blacklisted)


def _listed(path: Path) -> Iterator[str]:
    for line in _lines(path):
        file = line.partition(":")[0].rpartition("/")[2]
        yield file.partition(".ko")[0].replace("-", "_")


def _blacklisted(root: Path) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for folder in FOLDERS:
        for path in sorted((root / folder).glob("*.conf")):
            if path.name in seen:
                continue
            seen.add(path.name)
            for line in _lines(path):
                match line.split():
                    case ["blacklist", name]:
                        yield name.replace("-", "_"), f"/{path.relative_to(root)}"
                    case ["install", name, program, *_] if program in _NEVER:
                        yield name.replace("-", "_"), f"/{path.relative_to(root)}"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def clock_is_set() -> bool:
    """Ask the kernel whether somebody keeps its clock right.

    Raises:
        EdgeError: It does not say.
    """
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    if state < 0:
        raise EdgeError(f"adjtimex: {os.strerror(ctypes.get_errno())}")
    return bool(state != _TIME_ERROR)
