# SPDX-License-Identifier: Apache-2.0
"""The few files with which a host starts: busybox, and the modules that its disk needs.

Edge (the modules in a root). A distribution's own initramfs does the same in half a minute of
emulation.
"""

from __future__ import annotations

import lzma
from pathlib import Path

from ovn_ipsec.lab.guest.initramfs import archive

_WANTED = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
"""A kernel that has one built in lacks its file."""

_INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
for m in {modules}; do $b insmod /mods/$m || echo "early: $m is not loaded"; done
while [ ! -b /dev/vda ]; do $b usleep 50000; done
$b mount -t ext4 /dev/vda /root || $b sh
$b mount --move /dev /root/dev; $b mount --move /proc /root/proc; $b mount --move /sys /root/sys
exec $b switch_root /root /usr/lib/systemd/systemd
"""


def build(tree: Path) -> bytes:
    """Return the archive for the kernel whose modules are in a folder such as lib/modules/6.12.0.

    Raises:
        OSError: busybox or a module cannot be read.
    """
    modules = {f"{_stem(name)}.ko": _read(tree / name) for name in _order(tree)}
    files = {
        "bin/busybox": Path("/bin/busybox").read_bytes(),
        "init": _INIT.format(modules=" ".join(modules)).encode(),
        **{f"mods/{name}": content for name, content in modules.items()},
    }
    return archive(("bin", "mods", "root", "proc", "sys", "dev"), files)


def _order(tree: Path) -> list[str]:
    """Return the files of the wanted modules, each after those that it needs (depmod(8))."""
    needs = {}
    for line in (tree / "modules.dep").read_text("utf-8").splitlines():
        name, _, others = line.partition(":")
        needs[name] = others.split()
    found: dict[str, None] = {}
    for wanted in _WANTED:
        for name in (name for name in needs if _stem(name) == wanted):
            found |= dict.fromkeys([*reversed(needs[name]), name])
    return list(found)


def _stem(name: str) -> str:
    return Path(name).name.partition(".ko")[0]


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content
