# SPDX-License-Identifier: Apache-2.0
"""The recipe of the RPM packages: the files of the Debian packages, at Fedora's places."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.test_packages import DEBIAN, PACKAGES, PACKAGING, ROOT, installed, requirements

SPEC = PACKAGING / "rpm" / "ovn-ipsec.spec"
MACROS = {
    "buildroot": "",
    "code": "/usr/share/ovn-ipsec",
    "_bindir": "/usr/bin",
    "_datadir": "/usr/share",
    "_docdir": "/usr/share/doc",
    "_mandir": "/usr/share/man",
    "_presetdir": "/usr/lib/systemd/system-preset",
    "_sysconfdir": "/etc",
    "_unitdir": "/usr/lib/systemd/system",
}
ELSEWHERE = (
    ("/etc/default/", "/etc/sysconfig/"),
    ("/etc/strongswan.d/", "/etc/strongswan/strongswan.d/"),
    ("/usr/share/zsh/vendor-completions/", "/usr/share/zsh/site-functions/"),
)
"""What has another place on Fedora."""
FEDORA_ONLY = {"packaging/rpm/85-ovn-ipsec.preset"}
"""What Debian's helpers do without a file."""
LOGROTATE = "packaging/debian/ovn-ipsec-common.ovn-ipsec.logrotate"


def text() -> str:
    return SPEC.read_text("ascii")


def expanded(words: str) -> str:
    return re.sub(r"%\{(\w+)\}", lambda found: MACROS[found[1]], words)


def section(name: str) -> list[str]:
    """Lines of a section, without comments."""
    found = re.search(rf"^%{name}\n((?:(?!%(?:files|post|pre|changelog)).*\n)*)", text(), re.M)
    assert found is not None, name
    return [line for line in found[1].splitlines() if line and not line.startswith("#")]


def by_rpm() -> dict[str, tuple[str, str]]:
    """Package and place of every file of this tree that the spec installs, and of whole folders."""
    places: dict[str, str] = {}
    for line in section("install"):
        if line.startswith("install -Dpm "):
            source, place = expanded(line).split()[3:]
            places[source] = place
        elif line.startswith("cp -pr "):
            *sources, folder = expanded(line).split()[2:]
            places |= {source: f"{folder}/{Path(source).name}" for source in sources}
    owners: dict[str, str] = {}
    for package in PACKAGES:
        for line in section(f"files {package.removeprefix('ovn-ipsec-')}"):
            if not line.startswith("%dir "):
                owners[expanded(line.split()[-1]).removesuffix(".gz")] = package
    found = {}
    for source, place in places.items():
        owner = [owners[own] for own in owners if place == own or place.startswith(f"{own}/")]
        assert len(owner) == 1, place
        found[source] = (owner[0], place)
    return found


def by_deb() -> dict[str, tuple[str, str]]:
    """The same of the Debian packages, with Fedora's places."""
    found = {}
    for path in DEBIAN.glob("*.install"):
        for line in path.read_text("ascii").splitlines():
            source, folder = line.split()
            found[source] = (path.stem, f"/{folder}/{Path(source).name}")
    for page in (DEBIAN / "ovn-ipsec-common.manpages").read_text("ascii").split():
        found[page] = ("ovn-ipsec-common", f"/usr/share/man/man{page[-1]}/{Path(page).name}")
    rules = (DEBIAN / "rules").read_text("ascii")
    for unit, package in re.findall(r"cp packaging/(\S+\.service) debian/([^.\s]+)\.", rules):
        found[f"packaging/{unit}"] = (package, f"/usr/lib/systemd/system/{unit}")
    found[LOGROTATE] = ("ovn-ipsec-common", "/etc/logrotate.d/ovn-ipsec")
    return {source: (package, moved(place)) for source, (package, place) in found.items()}


def moved(place: str) -> str:
    for debian, fedora in ELSEWHERE:
        place = place.replace(debian, fedora)
    return place


def flat(found: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Every single file, whether a recipe names it, its folder, or a folder of drop-ins."""
    files = {}
    for source, (package, place) in found.items():
        for top in ROOT.glob(source):
            base = f"{Path(place).parent}/{top.name}" if "*" in source else place
            for path in [top] if top.is_file() else top.rglob("*"):
                if path.is_file() and "__pycache__" not in path.parts:
                    below = "" if path == top else f"/{path.relative_to(top)}"
                    files[str(path.relative_to(ROOT))] = (package, base + below)
    return files


def test_both_carry_the_same_files_in_the_same_packages():
    """But what Fedora has itself: nothing lies beside the code there."""
    debian, fedora = flat(by_deb()), flat(by_rpm())
    assert FEDORA_ONLY == fedora.keys() - debian.keys()
    assert debian == {source: fedora[source] for source in fedora.keys() - FEDORA_ONLY}
    assert {s for s in installed() if s.startswith("bundled/")} == {
        s for s in by_deb() if not list(ROOT.glob(s))
    }
    assert "bundled" not in text()


def test_no_package_holds_the_laboratory():
    """Nor does it need what only the laboratory needs."""
    assert "rm -r %{buildroot}%{code}/ovn_ipsec/lab" in section("install")


def test_every_requirement_is_a_dependency():
    """By its name on PyPI, which Fedora's packages provide, and with the same lowest version."""
    found = re.findall(r"^Requires: +python3dist\((\S+)\) >= (\S+)$", text(), re.M)
    assert requirements() == dict(found)
    assert len(found) == len(set(found))


def test_the_packages_are_of_the_version_of_the_code():
    """In the head and in the newest entry of the changelog."""
    debian = re.match(r"ovn-ipsec \((.*)\) ", (DEBIAN / "changelog").read_text("utf-8"))
    version = re.search(r"^Version: +(\S+)$", text(), re.M)
    assert debian is not None
    assert version is not None
    assert debian[1] == version[1]
    assert section("changelog")[0].endswith(f" - {version[1]}-1")
    assert PACKAGES == tuple(
        f"ovn-ipsec-{name}"
        for name in sorted(
            re.findall(r"^%package (\w+)$", text(), re.M),
            key=lambda name: PACKAGES.index(f"ovn-ipsec-{name}"),
        )
    )


@pytest.mark.parametrize("old", ["unix:///run/charon.vici", "/etc/strongswan.d/"])
def test_what_fedora_has_elsewhere_is_changed_wherever_it_is_named(old: str):
    """The build changes some folders; what is installed names it there and nowhere else."""
    found = re.search(rf"^grep -rlF {re.escape(old)} (.*) \|$", text(), re.M)
    assert found is not None
    naming = {
        source
        for source, (package, _) in flat(by_rpm()).items()
        if package != "ovn-ipsec-doc" and old in (ROOT / source).read_text("utf-8")
    }
    assert naming
    assert {source.split("/")[0] for source in naming} <= set(found[1].split())


def scriptlets() -> dict[str, str]:
    """Text of each, by its name and package."""
    parts = re.split(r"^%((?:pre|post)\w*) (\w+)\n", text(), flags=re.M)
    ends = [re.split(r"^%(?:files|endif)", part, flags=re.M)[0] for part in parts[3::3]]
    return dict(zip((f"{a} {b}" for a, b in zip(parts[1::3], parts[2::3], strict=True)), ends,
                    strict=True))  # fmt: skip


def test_an_upgrade_stops_nothing_and_restarts_daemons_only():
    """When all files are there, and only those that run; never the guard, strongSwan or OVN."""
    for name, body in scriptlets().items():
        units = re.findall(r"systemctl (.*?)(\S+\.service)", body)
        for verb, unit in units:
            if verb.strip() == "try-restart":
                assert name.startswith("posttrans ")
                assert unit in {"ovn-ipsec-northd.service", "ovn-ipsec-controller.service"}
            elif "--now" in verb:
                assert body.index('"$1" = 0') < body.index(unit)
                assert unit != "ovn-ipsec-guard.service"
            else:
                assert verb.split()[0] in {"preset", "is-active", "--no-reload"}


def test_a_removal_leaves_the_guard_and_says_so():
    """No scriptlet flushes; the one that removes tells how to."""
    for name, body in scriptlets().items():
        for line in body.splitlines():
            assert "--flush" not in line or line.lstrip().startswith("echo "), name
    assert "boot-guard.json" in scriptlets()["preun host"]
    assert "--flush" in scriptlets()["preun host"]
