# SPDX-License-Identifier: Apache-2.0
"""The OCI image layout that tools/oci.py writes."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EPOCH = 1_800_000_000


def tool() -> ModuleType:
    described = importlib.util.spec_from_file_location("oci", ROOT / "tools" / "oci.py")
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


OCI = tool()


def root(folder: Path) -> Path:
    """A file system of one file."""
    made = folder / "root.tar"
    with tarfile.open(made, "w") as tar:
        entry = tarfile.TarInfo("etc/hostname")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"image"))
    return made


def packed(folder: Path, name: str = "image.tar") -> Path:
    OCI.pack(root(folder), folder / name, version="1.2", revision="abc", epoch=EPOCH)
    return folder / name


def read(image: Path) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Manifest, config and layer, each by the digest that names it."""
    with tarfile.open(image) as tar:
        index = json.loads(OCI._read(tar, "index.json"))
        assert {"imageLayoutVersion": "1.0.0"} == json.loads(OCI._read(tar, "oci-layout"))
        manifest = json.loads(OCI._checked(tar, index["manifests"][0]))
        config = json.loads(OCI._checked(tar, manifest["config"]))
        layer = OCI._checked(tar, manifest["layers"][0])
        assert {entry.mtime for entry in tar.getmembers()} == {EPOCH}
    assert "1.2" == index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
    return manifest, config, layer


def test_the_layer_is_the_root(tmp_path: Path):
    """Compressed, under the digest of what was compressed and that of what came out."""
    manifest, config, layer = read(packed(tmp_path))
    plain = gzip.decompress(layer)
    assert (tmp_path / "root.tar").read_bytes() == plain
    assert [OCI.sha256(plain)] == config["rootfs"]["diff_ids"]
    assert "application/vnd.oci.image.layer.v1.tar+gzip" == manifest["layers"][0]["mediaType"]


def test_charon_is_not_told_to_end(tmp_path: Path):
    """On SIGTERM it would take its policies out of the kernel."""
    _, config, _ = read(packed(tmp_path))
    assert "SIGKILL" == config["config"]["StopSignal"]
    assert ["/usr/bin/ovn-ipsec"] == config["config"]["Entrypoint"]


def test_the_same_root_gives_the_same_image(tmp_path: Path):
    """Whenever and wherever it is made."""
    first, second = packed(tmp_path), packed(tmp_path, "again.tar")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("change", [{"size": 1}, {"digest": "sha256:" + "0" * 64}])
def test_what_is_not_as_described_is_not_unpacked(change: dict[str, object], tmp_path: Path):
    """Neither another size nor another digest."""
    made = packed(tmp_path)
    with tarfile.open(made) as tar:
        index = json.loads(OCI._read(tar, "index.json"))
        described = index["manifests"][0]
        right = OCI._checked(tar, described)
        assert described["size"] == len(right)
    with tarfile.open(made, "a") as tar:
        wrong = {**described, **change}
        entry = tarfile.TarInfo(OCI.blob_path(str(wrong["digest"])))
        entry.size = len(right)
        tar.addfile(entry, io.BytesIO(right))
    with tarfile.open(made) as tar, pytest.raises(ValueError, match="sha256:"):
        OCI._checked(tar, wrong)
