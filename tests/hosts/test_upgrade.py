# SPDX-License-Identifier: Apache-2.0
"""Another version of the packages is installed under traffic."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import DEBS
from operator_words import APT_S, NEXT, Operator, is_active, nothing_clear, pinging, say, spis

from ovn_ipsec.lab.hosts.machine import Machine
from ovn_ipsec.lab.hosts.pair import Pair

PINGS_MIN = 50
"""Fewer show nothing."""


@pytest.fixture(scope="session")
def next_debs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same packages with a higher version, each needing the others of that version."""
    folder = tmp_path_factory.mktemp("next")
    for deb in DEBS:
        tree = folder / "tree"
        subprocess.run(["dpkg-deb", "-R", deb, tree], check=True)
        control = tree / "DEBIAN" / "control"
        text = control.read_text("utf-8")
        [old] = [line for line in text.splitlines() if line.startswith("Version: ")]
        version = old.removeprefix("Version: ")
        text = text.replace(old, f"{old}+next").replace(f"(= {version})", f"(= {version}+next)")
        control.write_text(text, "utf-8")
        name = folder / deb.name.replace(version, f"{version}+next")
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, name], check=True)
        subprocess.run(["rm", "-r", tree], check=True)
    return sorted(folder.glob("*.deb"))


def versions(host: Machine) -> dict[str, str]:
    """Return the version of each package of ours that is installed on a host."""
    form = "${db:Status-Abbrev} ${binary:Package} ${Version}\\n"
    lines = host.check(f"dpkg-query -W -f '{form}' 'ovn-ipsec-*'").splitlines()
    return {words[1]: words[2] for line in lines if (words := line.split())[0] == "ii"}


@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_upgrade_loses_no_packet_and_keeps_every_sa(
    enforced: Pair, operator: Operator, next_debs: list[Path], number: int
) -> None:
    """In one call, as documented; the daemons then run the new version."""
    host, peer = enforced.hosts if number == 1 else tuple(reversed(enforced.hosts))
    enforced.give(host, next_debs, NEXT)
    files = " ".join(f"./{NEXT}/{name}_*.deb" for name in versions(host))
    before = spis(host)
    daemon = host.check("systemctl show -p MainPID ovn-ipsec-controller")
    with (
        nothing_clear(enforced, f"upgrade of {host.name}"),
        pinging(host, peer.host.workload_address) as loss,
    ):
        host.check(f"apt install -y {files}", timeout=APT_S)
        operator.wait_enforced()
    say(f"upgrade of {host.name}", sent=loss.sent, lost=loss.lost)
    assert loss.sent >= PINGS_MIN
    assert loss.lost == 0
    assert spis(host) == before
    assert all(version.endswith("+next") for version in versions(host).values())
    assert is_active(host, "ovn-ipsec-controller")
    assert host.check("systemctl show -p MainPID ovn-ipsec-controller") != daemon
