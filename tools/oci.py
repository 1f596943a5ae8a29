# SPDX-License-Identifier: Apache-2.0
"""An OCI image layout in a tar: `pack` makes one of a root file system, `unpack` opens it.

The same root gives the same image: times are SOURCE_DATE_EPOCH's, and nothing names the machine.

Source:
    OCI image specification 1.1: image-layout.md, manifest.md, config.md, layer.md.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""As Go calls them, which the specification follows; by uname(2)."""
KIND = "application/vnd.oci.image"
SETTINGS: dict[str, object] = {
    "Entrypoint": ["/usr/bin/ovn-ipsec"],
    "Cmd": ["--help"],
    "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
    # On SIGTERM charon takes its policies out of the kernel; killed, it leaves them. Our daemons
    # can be killed at any time, too.
    "StopSignal": "SIGKILL",
}


def sha256(data: bytes) -> str:
    """Digest as the specification writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def blob_path(digest: str) -> str:
    """Place of a blob in the layout."""
    return f"blobs/{digest.replace(':', '/')}"


class Image:
    """What goes into the layout, by its path."""

    def __init__(self, epoch: int) -> None:
        """Start an empty one; epoch is the time of everything in it."""
        self.epoch = epoch
        self.files: dict[str, bytes | Path] = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"})}

    def layer(self, root: Path, folder: Path) -> tuple[dict[str, object], str]:
        """Compress a root.

        Returns:
            Its descriptor, and the digest of what was compressed.
        """
        made = folder / "layer"
        plain = hashlib.sha256()
        with (
            root.open("rb") as source,
            made.open("wb") as target,
            gzip.GzipFile("", "wb", 6, target, mtime=0) as packer,
        ):
            while part := source.read(1 << 20):
                plain.update(part)
                packer.write(part)
        with made.open("rb") as packed:
            digest = f"sha256:{hashlib.file_digest(packed, 'sha256').hexdigest()}"
        self.files[blob_path(digest)] = made
        kind = f"{KIND}.layer.v1.tar+gzip"
        described = {"mediaType": kind, "digest": digest, "size": made.stat().st_size}
        return described, f"sha256:{plain.hexdigest()}"

    def blob(self, kind: str, value: object) -> dict[str, object]:
        """Add a JSON document; returns its descriptor."""
        data = _json(value)
        self.files[blob_path(sha256(data))] = data
        return {"mediaType": f"{KIND}.{kind}", "digest": sha256(data), "size": len(data)}

    def write(self, target: Path) -> None:
        """Write the layout."""
        with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name in sorted(self.files):
                data = self.files[name]
                entry = tarfile.TarInfo(name)
                entry.mtime, entry.mode = self.epoch, 0o644
                if isinstance(data, Path):
                    entry.size = data.stat().st_size
                    with data.open("rb") as source:
                        tar.addfile(entry, source)
                else:
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))


def pack(root: Path, target: Path, *, version: str, revision: str, epoch: int) -> None:
    """Make an image of one layer.

    Args:
        root: Tar of the root file system.
        target: The image.
        version: Of the packages in it; the image is named by it.
        revision: Commit that they were built from.
        epoch: Seconds since 1970: the time of the image.
    """
    image = Image(epoch)
    created = datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z")
    labels = {
        "org.opencontainers.image.title": "ovn-ipsec",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.revision": revision,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        layer, diff_id = image.layer(root, Path(folder))
        settings: dict[str, object] = {**SETTINGS, "Labels": labels}
        config = image.blob(
            "config.v1+json",
            {
                "created": created,
                "architecture": ARCHITECTURES.get(os.uname().machine, os.uname().machine),
                "os": "linux",
                "config": settings,
                "rootfs": {"type": "layers", "diff_ids": [diff_id]},
                "history": [{"created": created, "created_by": "tools/image"}],
            },
        )
        kind = f"{KIND}.manifest.v1+json"
        described = image.blob(
            "manifest.v1+json",
            {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]},
        )
        described["annotations"] = {"org.opencontainers.image.ref.name": version}
        index = {"schemaVersion": 2, "mediaType": f"{KIND}.index.v1+json", "manifests": [described]}
        image.files["index.json"] = _json(index)
        image.write(target)


def unpack(image: Path, folder: Path) -> None:
    """Unpack the root of an image, after every digest and size was compared; run it as root.

    Raises:
        ValueError: Something of it is not what its digest says.
    """
    with tarfile.open(image) as tar:
        index = json.loads(_read(tar, "index.json"))
        manifest = json.loads(_checked(tar, index["manifests"][0]))
        config = json.loads(_checked(tar, manifest["config"]))
        for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
            root = gzip.decompress(_checked(tar, layer))
            if sha256(root) != diff_id:
                raise ValueError(f"{layer['digest']}: unpacked, it is not {diff_id}")
            program = shutil.which("tar") or "tar"
            argv = [program, "-x", "--numeric-owner", "--same-permissions", "-C", str(folder)]
            subprocess.run(argv, input=root, check=True)


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file.read()


def _checked(tar: tarfile.TarFile, described: dict[str, Any]) -> bytes:
    data = _read(tar, blob_path(described["digest"]))
    if (sha256(data), len(data)) != (described["digest"], described["size"]):
        raise ValueError(f"{described['digest']}: it is not what its digest or size says")
    return data


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def main() -> None:
    """Do what the command line says."""
    verb, source, target = sys.argv[1:4]
    if verb == "pack":
        version, revision = sys.argv[4:]
        epoch = int(os.environ["SOURCE_DATE_EPOCH"])
        pack(Path(source), Path(target), version=version, revision=revision, epoch=epoch)
    else:
        unpack(Path(source), Path(target))


if __name__ == "__main__":
    main()
