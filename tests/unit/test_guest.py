# SPDX-License-Identifier: Apache-2.0
"""What a guest starts from, with this machine's root and with another's."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from ovn_ipsec.lab.errors import LabError
from ovn_ipsec.lab.guest import initramfs, machine, roots


def test_modules_are_unpacked_since_busybox_cannot(tmp_path: Path) -> None:
    """Newer kernels come with compressed modules; one that has a module built in lacks its file."""
    folder = tmp_path / "kernel" / "fs"
    folder.mkdir(parents=True)
    (folder / "fuse.ko.xz").write_bytes(lzma.compress(b"a module in xz"))
    (folder / "overlay.ko").write_bytes(b"a plain module")
    packed = initramfs.build(tmp_path, "second", 768)
    assert b"mods/fuse.ko\0" in packed
    assert b"a module in xz" in packed
    assert b"a plain module" in packed
    assert b"mods/virtiofs.ko" not in packed


def test_what_is_shared_is_at_its_own_place_and_cannot_be_written(tmp_path: Path) -> None:
    """The project, when the root is that of another Debian and does not hold it."""
    packed = initramfs.build(tmp_path, "second", 768, {"project": Path("/srv/the project")})
    line = b"$b mount -t virtiofs -o ro project '/root/srv/the project'"
    assert line in packed
    assert b"virtiofs -o ro" not in initramfs.build(tmp_path, "second", 768)


def test_the_newest_kernel_of_a_root_is_booted(tmp_path: Path) -> None:
    """By number and not by letter."""
    (tmp_path / "boot").mkdir()
    for version in ("6.9.10", "6.12.1", "6.12.9"):
        (tmp_path / "boot" / f"vmlinuz-{version}-cloud-amd64").touch()
    assert machine._kernel(tmp_path).name == "vmlinuz-6.12.9-cloud-amd64"
    with pytest.raises(machine.GuestError, match="no cloud kernel in"):
        machine._kernel(tmp_path / "none")


def test_a_root_that_is_there_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is that of its recipe; what another recipe made goes when there is a new one."""
    made: list[Path] = []

    def make(_suite: roots.Suite, folder: Path) -> None:
        made.append(folder)
        folder.mkdir()

    monkeypatch.setattr(roots, "_make", make)
    monkeypatch.setattr(roots, "missing", tuple)
    (tmp_path / "trixie-0123456789ab").mkdir()
    (tmp_path / "sid-0123456789ab").mkdir()
    first = roots.ready(roots.TRIXIE, tmp_path, lambda _: None)
    assert first == roots.ready(roots.TRIXIE, tmp_path, lambda _: None)
    assert [first] == made
    assert {first.name, "sid-0123456789ab"} == {path.name for path in tmp_path.iterdir()}


def test_what_a_root_needs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, before anything is fetched."""
    monkeypatch.setattr(roots, "missing", lambda: ("mmdebstrap", "root"))
    with pytest.raises(LabError, match="a root of Debian sid needs mmdebstrap, root"):
        roots.ready(roots.SID, tmp_path, lambda _: None)
