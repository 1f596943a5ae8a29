# SPDX-License-Identifier: Apache-2.0
"""The units that are shipped: what must never be lost from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parents[2] / "packaging"
CONTROLLER, GUARD, NORTHD = "ovn-ipsec-controller", "ovn-ipsec-guard", "ovn-ipsec-northd"
DROP_INS = PACKAGING / "systemd"
DAEMONS, ALL = (CONTROLLER, NORTHD), (CONTROLLER, GUARD, NORTHD)
HARDENING = {
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateDevices=yes",
    "ProtectControlGroups=yes",
    "ProtectKernelLogs=yes",
    "RestrictNamespaces=yes",
    "LockPersonality=yes",
    "ProtectKernelModules=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "UMask=0077",
    "StateDirectoryMode=0700",
}
OF_DAEMONS = {"PrivateTmp=yes", "LimitCORE=0"}


def settings(path: Path) -> Iterator[tuple[str, str, str]]:
    """Section, key and value of every line; a key may stand more than once."""
    section = ""
    for line in path.read_text("ascii").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            yield section, key, value


def lines(unit: str, wanted: str) -> set[str]:
    found = settings(PACKAGING / f"{unit}.service")
    return {f"{key}={value}" for section, key, value in found if section == wanted}


def words(unit: str, section: str, key: str) -> set[str]:
    found = settings(PACKAGING / f"{unit}.service")
    return {w for s, k, value in found if (s, k) == (section, key) for w in value.split()}


@pytest.mark.parametrize("unit", ALL)
def test_nothing_is_undone_when_a_unit_ends(unit: str):
    """What is in force stays in force while nobody is there."""
    keys = {key for _, key, _ in settings(PACKAGING / f"{unit}.service")}
    assert not keys & {"ExecStop", "ExecStopPost", "ExecReload", "PartOf", "BindsTo", "Requires"}


@pytest.mark.parametrize("unit", DAEMONS)
def test_a_daemon_comes_back_however_often_it_fails(unit: str):
    """Without a limit, at once, and when it hangs."""
    assert "StartLimitIntervalSec=0" in lines(unit, "Unit")
    assert {"Type=notify", "Restart=always", "RestartSec=1"} <= lines(unit, "Service")
    assert any(line.startswith("WatchdogSec=") for line in lines(unit, "Service"))
    assert lines(unit, "Install") == {"WantedBy=multi-user.target"}


def test_the_controller_leaves_to_themselves_what_it_has_started():
    """And nothing of the run directory goes with it."""
    assert {"KillMode=process", "RuntimeDirectoryPreserve=yes"} <= lines(CONTROLLER, "Service")


def test_no_tunnel_comes_before_the_guard():
    """ovs-vswitchd makes its ports at once; ovn-controller waits for the controller, too."""
    before = words(GUARD, "Unit", "Before")
    assert {"network-pre.target", "ovsdb-server.service", "ovs-vswitchd.service"} <= before
    assert {"openvswitch-switch.service", "ovn-controller.service"} <= before
    assert "ovn-controller.service" in words(CONTROLLER, "Unit", "Before")
    assert f"{GUARD}.service" in words(CONTROLLER, "Unit", "After")
    assert f"{GUARD}.service" in words(CONTROLLER, "Unit", "Wants")
    assert words(CONTROLLER, "Unit", "Conflicts") == {"openvswitch-ipsec.service"}


def test_the_guard_comes_before_everything():
    """From boot on, after those who flush the ruleset, and once."""
    assert "DefaultDependencies=no" in lines(GUARD, "Unit")
    assert {"nftables.service", "local-fs.target"} <= words(GUARD, "Unit", "After")
    assert {"Type=oneshot", "RemainAfterExit=yes"} <= lines(GUARD, "Service")
    assert lines(GUARD, "Install") == {"WantedBy=sysinit.target"}


def test_tunnels_are_closed_before_the_guard_has_started():
    """By a program that starts at once, and until the guard stands, however long that takes."""
    found = settings(PACKAGING / f"{GUARD}.service")
    assert [f"{key}={value}" for _, key, value in found if key.startswith("Exec")] == [
        "ExecStartPre=-/usr/sbin/nft -f /usr/share/ovn-ipsec-host/boot.nft",
        "ExecStart=/usr/bin/ovn-ipsec-controller --guard",
        "ExecStartPost=-/usr/sbin/nft delete table inet ovn_ipsec_boot",
    ]
    shipped = (PACKAGING / "debian" / "ovn-ipsec-host.install").read_text("utf-8")
    assert "packaging/nftables/boot.nft usr/share/ovn-ipsec-host\n" in shipped


def test_only_a_guard_that_is_kept_can_hold_ovn_controller_back():
    """Where none is kept the unit is skipped; nobody stops ovn-controller by stopping it."""
    kept = "ConditionPathExists=/var/lib/ovn-ipsec/boot-guard.json"
    assert {kept, "RefuseManualStop=yes"} <= lines(GUARD, "Unit")
    found = settings(DROP_INS / "ovn-controller.service.d" / "ovn-ipsec.conf")
    drop_in = {f"{key}={value}" for _, key, value in found}
    assert drop_in == {f"Requires={GUARD}.service", f"After={GUARD}.service"}


@pytest.mark.parametrize(("unit", "variable"), [(CONTROLLER, "CONTROLLER"), (NORTHD, "NORTHD")])
def test_flags_come_from_a_file_of_the_operator(unit: str, variable: str):
    """In Debian's place and in Fedora's; neither need be there."""
    assert {
        "EnvironmentFile=-/etc/default/ovn-ipsec",
        "EnvironmentFile=-/etc/sysconfig/ovn-ipsec",
        f"ExecStart=/usr/bin/{unit} --log-format json $OVN_IPSEC_{variable}_OPTS",
    } <= lines(unit, "Service")


@pytest.mark.parametrize("unit", ALL)
def test_a_unit_can_do_no_more_than_it_must(unit: str):
    """Hardening, with the few capabilities that each needs."""
    assert lines(unit, "Service") >= HARDENING
    assert unit == GUARD or lines(unit, "Service") >= OF_DAEMONS
    wanted = {"CAP_DAC_OVERRIDE"} if unit == NORTHD else {"CAP_NET_ADMIN", "CAP_DAC_READ_SEARCH"}
    assert words(unit, "Service", "CapabilityBoundingSet") == wanted | {"CAP_DAC_OVERRIDE"}
    families = {"AF_UNIX"} if unit == GUARD else {"AF_UNIX", "AF_INET", "AF_INET6"}
    families |= set() if unit == NORTHD else {"AF_NETLINK"}
    assert words(unit, "Service", "RestrictAddressFamilies") == families


def test_charon_leaves_its_sas_when_it_ends():
    """Killed, it takes no policy out of the kernel; and nobody unloads what is in no file."""
    found = settings(DROP_INS / "strongswan.service.d" / "ovn-ipsec.conf")
    drop_in = {f"{key}={value}" for _, key, value in found}
    assert {"KillSignal=SIGKILL", "Restart=always", "LimitCORE=0"} <= drop_in
    assert {"ExecStartPost=", "ExecReload="} <= drop_in
