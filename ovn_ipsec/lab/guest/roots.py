# SPDX-License-Identifier: Apache-2.0
"""The root file system of another Debian than this machine's, for a guest to run on.

Edge (mmdebstrap, pip, files). It has what that Debian has of OVN, Open vSwitch, strongSwan, kernel
and Python with its libraries. A root is made once, in some minutes, and kept for as long as its
recipe stays the same. It needs root, and a machine that can fetch Debian's packages.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LabError
from ..making import Progress, mmdebstrap, run

BUILD_S = 1800.0
"""How long fetching and installing some 300 packages may take."""

_PACKAGES = (
    *("busybox-static", "kmod", "procps", "iproute2", "iputils-ping", "tcpdump", "openssl"),
    *("nftables", "libnftables1", "linux-image-cloud-amd64"),
    *("openvswitch-switch", "openvswitch-ipsec", "openvswitch-pki"),
    *("ovn-central", "ovn-host", "ovn-ic", "ovn-ic-db"),
    *("charon-systemd", "strongswan-swanctl", "strongswan-starter"),
    *("libstrongswan-standard-plugins", "libstrongswan-extra-plugins", "libcharon-extra-plugins"),
    *("python3", "python3-openvswitch", "python3-ovsdbapp", "python3-pyroute2"),
    *("python3-click", "python3-cryptography", "python3-prometheus-client", "python3-pytest"),
    *("python3-rich", "python3-structlog", "python3-tenacity"),
)
_BUNDLED = ("vici", "inotify-simple")
"""In no Debian, and not compiled: what this interpreter installs runs with any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A release of Debian, and how much newer its Python libraries have to be."""

    name: str
    wheels: Sequence[str] = ()
    """From PyPI, for that release's interpreter: what it has itself is too old."""


BOOKWORM = Suite(
    name="bookworm", wheels=("cryptography>=41,<50", "structlog>=24,<27", "pytest>=8,<10")
)
TRIXIE = Suite(name="trixie")
SID = Suite(name="sid")
SUITES = {suite.name: suite for suite in (BOOKWORM, TRIXIE, SID)}
"""By name, the oldest first."""


def missing() -> tuple[str, ...]:
    """Name what this machine lacks to make a root, as what to install or to be."""
    lacks = () if shutil.which("mmdebstrap") else ("mmdebstrap",)
    return (*lacks, *(() if os.geteuid() == 0 else ("root",)))


def ready(suite: Suite, cache: Path, progress: Progress) -> Path:
    """Return the root of a Debian; make it if it is not in the cache.

    Args:
        suite: Which.
        cache: A folder of ours; roots of older recipes go.
        progress: Told what takes long, in words.

    Raises:
        LabError: It cannot be made.
    """
    recipe = repr((suite, sorted(_PACKAGES), _BUNDLED)).encode()
    folder = cache / f"{suite.name}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    if not folder.is_dir():
        if lacks := missing():
            raise LabError(f"a root of Debian {suite.name} needs {', '.join(lacks)}")
        for old in cache.glob(f"{suite.name}-*"):
            shutil.rmtree(old)
        progress(f"making a root of Debian {suite.name}, once")
        _make(suite, folder)
    return folder


def _make(suite: Suite, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.with_name(f"new-{folder.name}")
    shutil.rmtree(work, ignore_errors=True)
    small = ("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*")
    run(*mmdebstrap(_PACKAGES, *small, suite.name, str(work)), timeout=BUILD_S)
    libraries = work / "usr/local/lib" / interpreter(work) / "dist-packages"
    _pip(libraries, "--no-deps", *_BUNDLED)
    if suite.wheels:
        version = interpreter(work).removeprefix("python")
        binary = ("--only-binary=:all:", "--python-version", version)
        _pip(libraries, *binary, *suite.wheels)
    # Commands of the tests are written for an environment, where it has this name.
    (work / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    work.rename(folder)


def interpreter(root: Path) -> str:
    """Return the name of a root's Python, such as ``python3.13``."""
    return (root / "usr/bin/python3").readlink().name


def versions(root: Path) -> dict[str, str]:
    """Return the version of every package that is installed in a root, as dpkg writes it.

    Raises:
        OSError: Its list cannot be read.
    """
    text = (root / "var/lib/dpkg/status").read_text("utf-8")
    found = re.findall(r"^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$", text, re.MULTILINE)
    return dict(found)


def _pip(target: Path, *arguments: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-compile", "--root-user-action=ignore")
    words = (*quiet, "--target", str(target), *arguments)
    run(sys.executable, "-m", "pip", "install", *words, timeout=BUILD_S)
