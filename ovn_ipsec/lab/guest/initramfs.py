# SPDX-License-Identifier: Apache-2.0
"""The few files with which the guest starts: busybox, the modules for its root, two scripts.

Pure, but for reading the files that go in. Input: a kernel's modules and a command; output: the
bytes of an uncompressed ``newc`` archive.
"""

from __future__ import annotations

import lzma
import shlex
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT_MODULES = (
    *("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev"),
    *("virtio_pci", "fuse", "virtiofs", "overlay"),
)
"""In the order in which they load; a kernel that has one built in lacks its file."""

_INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
for m in {modules}; do [ -f /mods/$m.ko ] && $b insmod /mods/$m.ko; done
$b mount -t virtiofs rootfs /lower
$b mount -t tmpfs -o size={overlay_mib}M tmpfs /over; $b mkdir -p /over/u /over/w
$b mount -t overlay overlay -o lowerdir=/lower,upperdir=/over/u,workdir=/over/w /root
{mounts}
$b mount --move /dev /root/dev; $b mount --move /proc /root/proc; $b mount --move /sys /root/sys
$b cp /second /root/guest-init; exec $b switch_root /root /guest-init
"""

_SECOND = """#!/bin/bash
export OVN_IPSEC_LAB=guest HOME=/root LANG=C.UTF-8
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs tmpfs /run; mkdir -p /run/lock /dev/pts /dev/shm
mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm
ip link set lo up; hostname guest
{exports}
mkdir -p "$OVN_IPSEC_LAB_ARTEFACTS"
cd {directory}
stty -F /dev/ttyS1 {terminal}
{run}
status=$?
stty -F /dev/ttyS1 raw -echo
{{
  if [ -n "$(ls -A "$OVN_IPSEC_LAB_ARTEFACTS")" ]; then
    echo {token} artefacts
    tar -cz -C "$OVN_IPSEC_LAB_ARTEFACTS" . | base64
    echo {token} end
  fi
  echo {token} status $status
}} >/dev/ttyS1
sync; sleep 1; /bin/busybox poweroff -f
"""

_SHARED = """$b mkdir -p {place}; $b mount -t virtiofs -o ro {tag} {place}"""

_RUN_QUIETLY = "{command} </dev/null >/dev/ttyS1 2>&1"
_RUN_ON_TERMINAL = "setsid -c -w {command} </dev/ttyS1 >/dev/ttyS1 2>&1"
_BACK = "-$(($(cut -d. -f1 /proc/uptime) - 1))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the command is run."""

    token: str
    """Opens each line that is meant for the machine outside, not for its user."""
    on_terminal: bool = False
    """Give the command the serial line as its terminal."""
    just_booted: bool = False
    """Set its clocks back to where they are a second after a kernel has started."""


def second_stage(
    argv: Sequence[str], directory: Path, env: Mapping[str, str], manner: Manner
) -> str:
    """Return the script that runs the command as the guest's first process.

    Args:
        argv: The command.
        directory: Where it runs.
        env: What is added to its environment.
        manner: How it runs.
    """
    exports = "\n".join(f"export {key}={shlex.quote(value)}" for key, value in env.items())
    run = _RUN_ON_TERMINAL if manner.on_terminal else _RUN_QUIETLY
    command = just_booted(argv) if manner.just_booted else shlex.join(argv)
    return _SECOND.format(
        exports=exports,
        directory=shlex.quote(str(directory)),
        terminal="sane -echoctl" if manner.on_terminal else "raw -echo",
        run=run.format(command=command),
        token=manner.token,
    )


def just_booted(argv: Sequence[str]) -> str:
    """Return the shell's words for a command that finds the clocks of a kernel of a second ago.

    Source: time_namespaces(7). The clock of the day is not one of them.
    """
    back = f"--monotonic {_BACK} --boottime {_BACK}"
    return f"unshare --time --fork --kill-child {back} {shlex.join(argv)}"


def build(
    modules: Path, second: str, overlay_mib: int, shared: Mapping[str, Path] | None = None
) -> bytes:
    """Return the archive.

    Args:
        modules: The folder of the modules of the kernel that is booted.
        second: What runs in the root, a script.
        overlay_mib: How much may be written there, in MiB.
        shared: Folders to mount besides the root, by the tag of their virtiofs; their place in the
            guest is that on this machine, and there nothing can be written.

    Raises:
        OSError: busybox or a module cannot be read.
    """
    mounts = "\n".join(
        _SHARED.format(place=shlex.quote(f"/root{place}"), tag=tag)
        for tag, place in (shared or {}).items()
    )
    names = " ".join(ROOT_MODULES)
    init = _INIT.format(modules=names, overlay_mib=overlay_mib, mounts=mounts)
    files = {
        "bin/busybox": Path("/bin/busybox").read_bytes(),
        "init": init.encode(),
        "second": second.encode(),
    }
    for module in ROOT_MODULES:
        for path in (modules / "kernel").rglob(f"{module}.ko*"):
            files[f"mods/{module}.ko"] = _unpacked(path)
    folders = ("bin", "mods", "lower", "over", "root", "proc", "sys", "dev")
    return archive(folders, files)


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def archive(folders: Iterable[str], files: Mapping[str, bytes]) -> bytes:
    """Return the bytes of an archive that holds these folders and files."""
    entries = [
        *(_entry(folder, stat.S_IFDIR | 0o755, b"") for folder in folders),
        *(_entry(name, stat.S_IFREG | 0o755, content) for name, content in files.items()),
        _entry("TRAILER!!!", 0, b""),
    ]
    return b"".join(entries)


def _entry(name: str, mode: int, content: bytes) -> bytes:
    # cpio(5), "New ASCII Format": thirteen fields of eight hexadecimal digits.
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
