# SPDX-License-Identifier: Apache-2.0
"""The disk from which hosts start, made once and kept for as long as its recipe stays the same.

Edge (mmdebstrap, mke2fs). Needs root, and a machine that can fetch Debian's packages.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ovn_ipsec.lab.errors import LabError
from ovn_ipsec.lab.making import Progress, mmdebstrap, run

from . import early, recipe

DISK_GIB = 4
"""Sparse: what is not written takes no room."""
BUILD_S = 900.0
"""How long mmdebstrap may take to fetch and install some 250 packages."""

KEYS = "keys"
"""Where the keys of ssh are, below the cache."""
ROOTS_KEY, HOSTS_KEY = "id_ed25519", "ssh_host_ed25519_key"

OURS = ("common", "central", "host")
"""What an operator installs; the documentation is no part of a host."""

_PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "ssh-keygen": "openssh-client",
}
_NO_FETCH = re.compile(r"Failed to fetch|Could not resolve|Could not connect|Unable to connect")


class UnfetchableError(LabError):
    """Debian's packages cannot be fetched from this machine."""


@dataclass(frozen=True, slots=True)
class Image:
    """A disk, and the kernel that is on it as QEMU wants it."""

    folder: Path

    @property
    def disk(self) -> Path:
        """An ext4 file system."""
        return self.folder / "disk"

    @property
    def kernel(self) -> Path:
        """The kernel that is installed on the disk."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """What mounts the disk."""
        return self.folder / "initrd"


def missing() -> tuple[str, ...]:
    """Name what this machine lacks for hosts, as what to install or to be."""
    lacks = [package for program, package in _PROGRAMS.items() if not shutil.which(program)]
    return (*lacks, *(() if os.geteuid() == 0 else ("root",)))


def packages(folder: Path) -> tuple[Path, ...]:
    """Return those packages of ours that a host may need, as `make deb` leaves them."""
    return tuple(
        path for part in OURS for path in sorted(folder.glob(f"ovn-ipsec-{part}_*_all.deb"))
    )


def ready(suite: str, cache: Path, debs: Sequence[Path], progress: Progress) -> Image:
    """Return the image for these packages of ours; make it if it is not in the cache.

    Ours are not on it, but all that they need is: a host installs them without a network. All
    images of a cache have the same keys of ssh, so that hosts of different releases can log in to
    each other.

    Args:
        suite: A release of Debian, of ``recipe.SUITES``.
        cache: A folder of ours; images of that release by older recipes go.
        debs: Our packages.
        progress: Told what takes long, in words.

    Raises:
        UnfetchableError: Debian's packages cannot be fetched.
        LabError: It cannot be made for another reason.
    """
    wanted = {*recipe.PACKAGES, *recipe.dependencies(map(_fields, debs))}
    sources = (Path(name).read_bytes() for name in (early.__file__, __file__))
    folder = cache / f"{suite}-{recipe.fingerprint(suite, wanted, *sources)}"
    if not folder.is_dir():
        for old in cache.glob(f"{suite}-{'[0-9a-f]' * 16}"):
            shutil.rmtree(old)
        progress(f"making a disk of Debian {suite} with {len(wanted)} packages and theirs")
        _make(suite, folder, sorted(wanted), _keys(cache / KEYS))
    return Image(folder)


def _fields(deb: Path) -> str:
    return ", ".join(_run("dpkg-deb", "-f", str(deb), field) for field in ("Depends", "Recommends"))


def _keys(folder: Path) -> Path:
    """Make the keys of ssh of root and of the hosts, unless they are there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (ROOTS_KEY, HOSTS_KEY):
        if not (folder / f"{name}.pub").exists():
            (folder / name).unlink(missing_ok=True)
            file = str(folder / name)
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file)
    return folder


def _make(suite: str, folder: Path, packages: Sequence[str], keys: Path) -> None:
    work = folder.with_suffix(".new")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    root = work / "root"
    _debootstrap(suite, root, packages)
    for name, text in recipe.files().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    _let_root_log_in(root, keys)
    # A daemon of ssh starts when somebody comes.
    _run("systemctl", f"--root={root}", "disable", "ssh.service")
    _run("systemctl", f"--root={root}", "enable", "systemd-networkd.service", "ssh.socket")
    # Nobody waits for interfaces that only OVN makes, and no timer holds apt's lock.
    masked = ("systemd-networkd-wait-online.service", *recipe.MASKED_TIMERS)
    _run("systemctl", f"--root={root}", "mask", *masked)
    kernel = max((root / "boot").glob("vmlinuz-*"))
    version = kernel.name.removeprefix("vmlinuz-")
    shutil.copy(kernel, work / "vmlinuz")
    (work / "initrd").write_bytes(early.build(root / "usr/lib/modules" / version))
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(work / "disk"), f"{DISK_GIB}G")
    shutil.rmtree(root)
    work.rename(folder)


def _let_root_log_in(root: Path, keys: Path) -> None:
    """Let root of one host log in to the other, which has the same key of a host."""
    folder = root / recipe.SSH
    folder.mkdir(mode=0o700, exist_ok=True)
    own = root / "etc/ssh"
    for key in own.glob("ssh_host_*_key*"):
        key.unlink()
    for name in (HOSTS_KEY, f"{HOSTS_KEY}.pub"):
        shutil.copy(keys / name, own / name)
    shutil.copy(keys / ROOTS_KEY, folder / ROOTS_KEY)
    shutil.copy(keys / f"{ROOTS_KEY}.pub", folder / "authorized_keys")
    text = (keys / f"{HOSTS_KEY}.pub").read_text("utf-8")
    (folder / "known_hosts").write_text(recipe.known_hosts(text), "utf-8")


def _debootstrap(suite: str, root: Path, packages: Sequence[str]) -> None:
    try:
        # An initramfs of the distribution's own would not be used.
        _run("env", "INITRD=No", *mmdebstrap(packages, suite, str(root)))
    except LabError as error:
        if found := _NO_FETCH.search(str(error)):
            raise UnfetchableError(f"Debian's packages: {found[0]}") from error
        raise


def _run(*argv: str) -> str:
    return run(*argv, timeout=BUILD_S)
