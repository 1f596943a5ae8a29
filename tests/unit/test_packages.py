# SPDX-License-Identifier: Apache-2.0
"""The recipe of the Debian packages, without building them: nothing in it is forgotten."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
DEBIAN = PACKAGING / "debian"
CODE = "usr/share/ovn-ipsec"
PACKAGES = ("ovn-ipsec-common", "ovn-ipsec-host", "ovn-ipsec-central", "ovn-ipsec-doc")
SCRIPTS = sorted(
    path for path in DEBIAN.iterdir() if re.search(r"\.(pre|post)(inst|rm)$", path.name)
)


def config() -> configparser.ConfigParser:
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg", encoding="utf-8")
    return found


def installed() -> dict[str, str]:
    """What the .install files name, and the folder that each goes to."""
    lines = [
        line.split()
        for path in DEBIAN.glob("*.install")
        for line in path.read_text("ascii").splitlines()
    ]
    return {line[0]: line[1] for line in lines}


def requirements() -> dict[str, str]:
    """Lowest version of every distribution that the code needs, by its name on PyPI."""
    lines = config()["options"]["install_requires"].split()
    parts = [re.fullmatch(r"([A-Za-z0-9_-]+)>=([0-9.]+).*", line) for line in lines]
    return {part[1].lower(): part[2] for part in parts if part is not None}


def programs() -> dict[str, str]:
    """Module of every program."""
    lines = config()["options.entry_points"]["console_scripts"].split("\n")
    pairs = [line.split(" = ") for line in lines if line]
    return {name: target.removesuffix(":main") for name, target in pairs}


def test_every_package_of_code_is_installed():
    """Whole folders, so that a new module cannot be forgotten; the laboratory is left out."""
    include = config()["options.packages.find"]["include"].split()
    for package in {name.split(".")[0] for name in include}:
        assert installed()[package] == CODE
    rules = (DEBIAN / "rules").read_text("ascii")
    assert "dh_install --exclude=ovn_ipsec/lab\n" in rules


def test_every_file_that_is_named_exists():
    """Except what tools/deb brings along."""
    for source in installed():
        assert source.startswith("bundled/") or list(ROOT.glob(source)), source


@pytest.mark.parametrize("program", programs())
def test_every_program_has_a_launcher_and_a_page(program: str):
    """The launcher starts the module of the entry point, isolated, and from the private folder."""
    assert installed()[f"packaging/bin/{program}"] == "usr/bin"
    launcher = PACKAGING / "bin" / program
    assert launcher.stat().st_mode & 0o111
    text = launcher.read_text("ascii")
    assert text.startswith("#!/usr/bin/python3 -I\n")
    assert f'sys.path.insert(0, "/{CODE}")' in text
    assert f"from {programs()[program]} import main" in text
    pages = (DEBIAN / "ovn-ipsec-common.manpages").read_text("ascii").split()
    assert f"packaging/man/{program}.8" in pages
    assert all((ROOT / page).is_file() for page in pages)
    assert {path.name for path in (PACKAGING / "man").iterdir()} == {Path(p).name for p in pages}


def test_every_requirement_is_a_dependency_or_comes_along():
    """With the same lowest version; what no Debian has is bundled, and its licence named."""
    control = (DEBIAN / "control").read_text("ascii")
    bundled = (PACKAGING / "bundled.txt").read_text("ascii")
    rules = (DEBIAN / "copyright").read_text("utf-8")
    for name, lowest in requirements().items():
        if f"\n{name}==" in bundled:
            assert f"bundled/{name.replace('-', '_')}" in rules
            assert any(s.startswith(f"bundled/{name.replace('-', '_')}") for s in installed())
            continue
        package = {"ovs": "python3-openvswitch"}.get(name, f"python3-{name}")
        assert f"{package} (>= {lowest})" in control


def test_the_packages_are_of_the_version_of_the_code():
    """And there are four of them."""
    text = (ROOT / "ovn_ipsec" / "__init__.py").read_text("utf-8")
    version = re.search(r'__version__ = "(.*)"', text)
    assert version is not None
    assert (DEBIAN / "changelog").read_text("utf-8").startswith(f"ovn-ipsec ({version[1]}) ")
    control = (DEBIAN / "control").read_text("ascii")
    assert PACKAGES == tuple(
        sorted(re.findall(r"^Package: (.*)$", control, re.M), key=PACKAGES.index)
    )


@pytest.mark.parametrize("unit", [path.name for path in PACKAGING.glob("*.service")])
def test_every_unit_is_in_a_package(unit: str):
    """And an upgrade stops none of them."""
    rules = (DEBIAN / "rules").read_text("ascii")
    name = unit.removesuffix(".service")
    assert re.search(rf"cp packaging/{unit} debian/ovn-ipsec-(host|central)\.{unit}\n", rules)
    line = re.search(rf"dh_installsystemd .*--name={name}( .*)\n", rules)
    assert line is not None
    kept = "--no-start --no-stop-on-upgrade --no-restart-after-upgrade"
    assert line[1].endswith(kept if "northd" not in name else "--restart-after-upgrade")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_maintainer_script_ends_at_an_error_and_lets_debhelper_in(path: Path):
    """One that went on would leave half a configuration."""
    text = path.read_text("ascii")
    assert text.startswith("#!/bin/sh\n")
    assert "\nset -e\n" in text
    assert text.count("#DEBHELPER#") == 1


def test_only_a_purge_takes_the_guard_away():
    """No script flushes for an upgrade or a removal, and none touches the guard's unit."""
    for path in SCRIPTS:
        text = path.read_text("ascii")
        assert "ovn-ipsec-guard" not in text
        if path.name != "ovn-ipsec-host.postrm":
            assert "--flush" not in text
    text = (DEBIAN / "ovn-ipsec-host.postrm").read_text("ascii")
    purge = text[text.index('if [ "$1" = purge ]') :]
    assert purge.index("    flush\n") < purge.index("find /var/lib/ovn-ipsec")
    # What postrm flushes with when the code is gone.
    assert (
        f"cp -r /{CODE} /var/lib/ovn-ipsec/flush" in (DEBIAN / "ovn-ipsec-host.prerm").read_text()
    )
