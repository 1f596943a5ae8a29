# SPDX-License-Identifier: Apache-2.0
"""What an IKE daemon, its settings and its ports say, to what is well with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovn_ipsec.cli.doctor.checkup import START_IKE, START_PLUTO
from ovn_ipsec.cli.doctor.daemoncheck import (
    BOUND,
    BYPASS,
    FREE,
    NO_FILELOG,
    PLUGINS,
    SETTINGS,
    examine_daemon,
    examine_ports,
)
from ovn_ipsec.cli.doctor.plutocheck import INCLUDE, OTHER_RELEASE, examine_pluto
from ovn_ipsec.cli.machine import charon
from ovn_ipsec.cli.machine.values import Daemon, DaemonFiles, Holder, Pluto
from ovn_ipsec.model.ike import Ike

FILES = DaemonFiles(ours="/etc/strongswan.d/ovn-ipsec.conf")
WHOLE = frozenset(
    {"kernel-netlink", "socket-default", "nonce", "random", "openssl"}
    | {"x509", "constraints", "revocation", "vici"}
)


def daemon(*lacking: str, version: str = "5.9.8", more: str = "") -> Daemon:
    return Daemon(version=version, plugins=WHOLE - set(lacking) | set(more.split()))


def test_a_daemon_with_its_plugins_and_settings_is_well():
    """Each is told."""
    checks = examine_daemon(daemon(), FILES)
    assert ["vici", "plugins", "settings"] == [check.part for check in checks]
    assert [True] * 3 == [check.is_well for check in checks]
    assert "strongSwan 5.9.8 answers" == checks[0].said


def test_no_daemon_is_not_well():
    """The socket is named with the reason."""
    fault = "unix:///run/charon.vici: Connection refused"
    vici, settings = examine_daemon(Daemon(fault=fault), FILES)
    assert ("vici", False, fault, START_IKE) == (vici.part, vici.is_well, vici.said, vici.next_step)
    assert settings.is_well


STRONGSWAN, LIBRESWAN = Ike.STRONGSWAN, Ike.LIBRESWAN


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        ({"kernel-netlink"}, "charon lacks kernel-netlink (SAs in the kernel)"),
        ({"socket-default"}, "charon lacks socket-default (packets of IKE)"),
        ({"openssl"}, "charon lacks openssl (AES-GCM), openssl (SHA-2)"),
        (
            {"constraints", "revocation"},
            "charon lacks constraints (what an authority may sign), "
            "revocation (certificates that were revoked)",
        ),
    ],
)
def test_a_plugin_that_nothing_stands_for_is_missed(lacking: set[str], said: str):
    """With what it is for."""
    _, plugins, _ = examine_daemon(daemon(*lacking), FILES)
    assert (False, said, PLUGINS) == (plugins.is_well, plugins.said, plugins.next_step)


def test_another_plugin_may_stand_for_one():
    """Each cipher comes from more than one."""
    _, plugins, _ = examine_daemon(daemon("openssl", more="gcm sha2"), FILES)
    assert plugins.is_well


def test_a_plugin_that_lets_clear_text_past_is_not_well():
    """It is off in what strongSwan ships."""
    checks = {check.part: check for check in examine_daemon(daemon(more="bypass-lan"), FILES)}
    assert (False, BYPASS) == (checks["bypass-lan"].is_well, checks["bypass-lan"].next_step)


def test_settings_that_are_not_installed_are_missed():
    """Without them a peer that is dead counts as alive for minutes."""
    *_, settings = examine_daemon(daemon(), DaemonFiles())
    assert ("settings", False, SETTINGS) == (settings.part, settings.is_well, settings.next_step)


@pytest.mark.parametrize(
    ("version", "filelog", "bad"),
    [("6.0.1", "/etc/x.conf", True), ("6.0.1", "", False), ("6.0.2", "/etc/x.conf", False)],
)
def test_a_version_that_is_known_to_stall_is_named(version: str, filelog: str, bad: bool):
    """Only with what makes it stall."""
    files = DaemonFiles(ours="x", filelog=filelog)
    checks = {check.part: check for check in examine_daemon(daemon(version=version), files)}
    assert bad == ("version" in checks)
    if bad:
        assert (False, NO_FILELOG) == (checks["version"].is_well, checks["version"].next_step)


@pytest.mark.parametrize(
    ("holders", "runs", "is_well", "said", "step"),
    [
        ([], False, True, "free", ""),
        ([], True, False, "the IKE daemon runs, and nobody here has the port", BOUND[STRONGSWAN]),
        ([("charon-systemd", 7)], True, True, "held by charon-systemd", ""),
        ([("pluto", 9)], False, False, "held by pluto (pid 9)", FREE.format("charon")),
        (
            [("charon-systemd", 7), ("pluto", 9)],
            True,
            False,
            "held by pluto (pid 9)",
            FREE.format("charon"),
        ),
        (
            [("", 0)],
            True,
            None,
            "held by a process that cannot be seen from here",
            "ss -lunp 'sport = 500'",
        ),
    ],
)
def test_the_ports_of_ike_belong_to_charon(
    holders: list[tuple[str, int]], runs: bool, is_well: bool | None, said: str, step: str
):
    """Whoever else has one is named."""
    seen = [Holder(port=500, program=program, pid=pid) for program, pid in holders]
    one, other = examine_ports([*seen, Holder(port=4500, program="charon")], daemon=runs)
    assert ("UDP port 500", is_well, said, step) == (one.part, one.is_well, one.said, one.next_step)
    assert ("UDP port 4500", True) == (other.part, other.is_well)


@pytest.mark.parametrize(
    ("program", "runs", "is_well", "said", "step"),
    [
        ("", True, False, "the IKE daemon runs, and nobody here has the port", BOUND[LIBRESWAN]),
        ("pluto", True, True, "held by pluto", ""),
        ("charon", True, False, "held by charon (pid 9)", FREE.format("pluto")),
    ],
)
def test_where_libreswan_is_used_they_belong_to_pluto(
    program: str, runs: bool, is_well: bool, said: str, step: str
):
    """And charon is a stranger."""
    seen = [Holder(port=500, program=program, pid=9)] if program else []
    one, _ = examine_ports(seen, daemon=runs, ike=LIBRESWAN)
    assert (is_well, said, step) == (one.is_well, one.said, one.next_step)


def test_a_pluto_that_knows_no_shared_key_is_told():
    """It reads those files that it is told to include, and no others."""
    runs, secrets = examine_pluto(
        Pluto(version="5.2", included=("/etc/other", "/etc/ipsec.d/*.secrets"))
    )
    assert (runs.part, runs.is_well, secrets.part, secrets.is_well) == (
        "pluto",
        True,
        "secrets",
        True,
    )
    gone, none = examine_pluto(
        Pluto(fault="pluto does not run", included=("/etc/ipsec.d/x.secrets",))
    )
    assert (gone.is_well, gone.said, gone.next_step) == (False, "pluto does not run", START_PLUTO)
    assert (none.is_well, none.next_step) == (False, INCLUDE)


@pytest.mark.parametrize(
    ("version", "is_well"), [("4.10", True), ("5.2", True), ("5.3", False), ("5.4", False)]
)
def test_a_libreswan_that_was_not_tried_is_told(version: str, is_well: bool):
    """As the controller refuses it."""
    runs, _ = examine_pluto(Pluto(version=version))
    assert (runs.is_well, version in runs.said) == (is_well, True)
    assert runs.next_step == ("" if is_well else OTHER_RELEASE)


@pytest.mark.parametrize("below", ["", "strongswan"])
def test_settings_of_strongswan_are_found_where_they_are(tmp_path: Path, below: str):
    """Debian's and Fedora's places; a filelog in comments is none."""
    folder = tmp_path / below / "strongswan.d" / "charon"
    folder.mkdir(parents=True)
    logging = folder.parent / "charon-logging.conf"
    logging.write_text("charon {\n filelog {\n # /var/log/x {\n # }\n }\n}\n")
    assert DaemonFiles() == charon.files(tmp_path)
    ours = folder.parent / "ovn-ipsec.conf"
    ours.write_text("charon { }")
    logging.write_text("charon {\n filelog {\n  x {\n path = /var/log/x\n }\n }\n}\n")
    assert DaemonFiles(ours=str(ours), filelog=str(logging)) == charon.files(tmp_path)


@pytest.mark.parametrize("program", ["charon", "pluto"])
def test_where_the_stock_daemon_makes_the_sas_they_belong_to_what_it_drives(program: str):
    """That may be either; another program is a stranger."""
    found = examine_ports([Holder(port=500, program=program)], daemon=False, ike=Ike.DELEGATE)
    assert [check.is_well for check in found] == [True, True]
    one, _ = examine_ports([Holder(port=500, program="racoon")], daemon=False, ike=Ike.DELEGATE)
    assert (one.is_well, one.next_step) == (False, FREE.format("charon or pluto"))
