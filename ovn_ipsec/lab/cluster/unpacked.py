# SPDX-License-Identifier: Apache-2.0
"""IKE daemons of other releases than this machine's: unpacked, not installed, since one is.

Edge (mounts, files, processes). A tree that has a C library of its own is a root for its programs,
with the files of their host in it. The programs of any other tree run with this machine's library,
and are shown where a package has them.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from .. import namespaces
from ..errors import LabError

_VENV = Path(__file__).resolve().parents[3] / ".venv"
"""Where ``tools/setup`` unpacks them."""
PROGRAMS = (
    *("/usr/sbin/charon-systemd", "/usr/sbin/swanctl"),
    *("/usr/libexec/ipsec/pluto", "/usr/libexec/ipsec/addconn", "/usr/libexec/ipsec/whack"),
    *("/usr/bin/certutil", "/usr/bin/pk12util"),
)
"""What anybody outside a tree runs of it."""
_OF_THE_HOST = ("/dev", "/proc", "/sys", "/etc", "/run", "/var")
_MERGED = ("bin", "lib", "lib64", "sbin")
"""In a Debian root, these lead to what is in /usr."""
_WRAPPER = '#!/bin/sh\nexec chroot {root} {program} "$@"\n'
_PARTS = ("usr/bin", "usr/libexec")
_OURS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")


def missing(*names: str) -> str:
    """Name what cannot run here of these trees; empty: nothing."""
    lacking = [name for name in names if not _runs(_VENV / name)]
    return f"{', '.join(lacking)} in {_VENV}, which tools/setup makes" if lacking else ""


@functools.cache
def _runs(tree: Path) -> bool:
    found = [tree / program[1:] for program in PROGRAMS if (tree / program[1:]).exists()]
    if not found or _is_root(tree):
        return bool(found)
    folders = sorted({str(path.parent) for path in tree.glob("usr/lib/**/*.so*")})
    # This machine's C library stands before its own, as it does for all that runs beside it.
    loaded = {**os.environ, "LD_LIBRARY_PATH": ":".join([*_OURS, *folders])}
    words = [str(found[0]), "--version"]
    return subprocess.run(words, check=False, capture_output=True, env=loaded).returncode == 0


def _is_root(tree: Path) -> bool:
    """Whether it has a C library."""
    return any(tree.glob("usr/lib/*-linux-gnu/libc.so.6"))


def mount(name: str, folder: Path, logs: Path) -> None:
    """Let a tree's programs be found in this mount namespace, where a package has them.

    Args:
        name: The tree's folder, such as ``libreswan-5.2``.
        folder: For what is mounted here; it need not be there.
        logs: Where its daemon logs.

    Raises:
        LabError: It cannot run here.
    """
    if lack := missing(name):
        raise LabError(lack)
    tree = _VENV / name
    if _is_root(tree):
        _mount_root(tree, folder, logs)
    else:
        _show([*(tree / part for part in _PARTS), *sorted(tree.glob("usr/lib/*-linux-gnu"))], tree)


def _mount_root(tree: Path, folder: Path, logs: Path) -> None:
    root, upper, work, wrappers = (folder / part for part in ("root", "up", "work", "wrappers"))
    for one in (root, upper, work):
        one.mkdir(parents=True)
    data = f"lowerdir={tree},upperdir={upper},workdir={work}"
    namespaces.mount("overlay", str(root), "overlay", data=data)
    for link in _MERGED:
        if not (root / link).exists():
            (root / link).symlink_to(f"usr/{link}")
    for shared in (*_OF_THE_HOST, str(logs)):
        target = root / shared[1:]
        target.mkdir(parents=True, exist_ok=True)
        namespaces.mount(shared, str(target), flags=namespaces.MS_BIND)
    found = [program for program in PROGRAMS if (root / program[1:]).exists()]
    for program in found:
        wrapper = wrappers / program[1:]
        wrapper.parent.mkdir(parents=True, exist_ok=True)
        wrapper.write_text(_WRAPPER.format(root=root, program=program))
        wrapper.chmod(0o755)
    # Folders that are here, too: /usr/libexec is, and /usr/libexec/ipsec may not be.
    parts = sorted({Path(*Path(program).parts[1:3]) for program in found})
    _show([wrappers / part for part in parts], wrappers)


def _show(parts: Iterable[Path], tree: Path) -> None:
    """Show folders of a tree above those of this machine."""
    for part in parts:
        target = Path("/") / part.relative_to(tree)
        above = tree / part.relative_to(tree / "usr")  # as /lib is /usr/lib
        lower = [str(one) for one in (part, above) if one.is_dir()]
        data = f"lowerdir={':'.join([*lower, str(target)])}"
        namespaces.mount("overlay", str(target), "overlay", data=data)
