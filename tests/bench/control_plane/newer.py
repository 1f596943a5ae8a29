# SPDX-License-Identifier: Apache-2.0
"""The ovs-monitor-ipsec of another Debian release: one package, unpacked and not installed.

It is fetched with an apt state of its own from where this machine gets its packages, and kept in
build/bench. The script runs with the Python and the ovs package of this machine.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "build" / "bench"
PACKAGE = "openvswitch-ipsec"
SCRIPT = "usr/share/openvswitch/scripts/ovs-monitor-ipsec"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def _run(*argv: str, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=cwd)
    return done.stdout


def _repository() -> str:
    """Where this machine gets Debian's packages."""
    words = _run("apt-get", "indextargets", "--format", "$(REPO_URI)").split()
    return next(uri for uri in words if re.search(r"/debian/?$", uri))


def script(suite: str) -> tuple[Path, str]:
    """Fetch the script of a suite, unless it is there.

    Returns:
        Its path, and the version of its package without Debian's own part.
    """
    root = FOLDER / f"ovs-{suite}"
    if not (root / SCRIPT).exists():
        _fetch(suite, root)
    return root / SCRIPT, (root / "version").read_text().strip()


def _fetch(suite: str, root: Path) -> None:
    for part in ("state/lists/partial", "cache/archives/partial", "etc"):
        (root / part).mkdir(parents=True, exist_ok=True)
    sources, status = root / "etc/sources.list", root / "etc/status"
    status.touch()
    sources.write_text(f"deb [signed-by={KEYS}] {_repository()} {suite} main\n")
    options = {
        "Dir::State": root / "state",
        "Dir::State::status": status,
        "Dir::Cache": root / "cache",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Acquire::Check-Valid-Until": "false",
        "APT::Sandbox::User": "root",
    }
    words = [f"-o{key}={value}" for key, value in options.items()]
    _run("apt-get", *words, "update")
    _run("apt-get", *words, "download", PACKAGE, cwd=root)
    deb = next(root.glob(f"{PACKAGE}_*.deb"))
    _run("dpkg", "-x", str(deb), str(root))
    version = _run("dpkg-deb", "-f", str(deb), "Version")
    (root / "version").write_text(re.split(r"[-+~]", version.strip())[0] + "\n")
