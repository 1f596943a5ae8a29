# SPDX-License-Identifier: Apache-2.0
"""What the controller answers to the real ovs-appctl."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import ovs.unixctl.server
import pytest
from alone import MISSING, OVS_SCHEMA, SB_SCHEMA, Host, alone

from controller import commands
from ovn_ipsec import service
from ovn_ipsec.lab.cluster.jsonrpc import answers
from ovn_ipsec.model.policy import Auth, Phase
from tests.functional import live
from tests.functional.live import until

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_SYS_ADMIN and CAP_NET_ADMIN"),
]
PORT = "ovn-hv2-0"
REPR = re.compile(r"\b(None|True|False)\b|[\[{(]'|<[A-Za-z_.]+ object")
"""What Python prints and nobody else reads."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A chassis that is to encrypt towards another one, and cannot for want of an IKE daemon."""
    with alone(tmp_path) as found:
        found.serve("ovs", OVS_SCHEMA)
        found.serve("sb", SB_SCHEMA)
        found.sbctl("init")
        for number in (1, 2):
            found.sbctl("chassis-add", f"hv{number}", "geneve", f"10.0.0.{number}")
        found.publish(7, Phase.ENFORCE)
        found.vsctl("init")
        found.set(system_id="hv1", ovn_remote=f"unix:{tmp_path}/sb.sock")
        found.vsctl("add-br", "br-int")
        tunnel = ["type=geneve", "options:remote_ip=10.0.0.2"]
        chassis_id = "external_ids:ovn-chassis-id=hv2@10.0.0.2"
        add = ["add-port", "br-int", PORT, "--", "set", "Interface", PORT, *tunnel]
        found.vsctl(*add, "--", "set", "Port", PORT, chassis_id)
        found.start()
        found.hears("STATUS=waiting: cannot reach the IKE daemon: .*generation 7, 0 of 1 pairs")
        yield found


def test_every_command_that_is_offered_is_documented(host: Host) -> None:
    """And the other way round, with its words."""
    documented = {one.name: one.usage for one in (*commands.OFFERS, *service.OFFERS)}
    if not hasattr(ovs.unixctl.server, "_unixctl_set_options"):
        del documented["set-options"]
    lines = host.appctl("list-commands").splitlines()[1:]
    found = {line.split()[0]: line.strip().partition(" ")[2].strip() for line in lines}
    assert found == documented


def test_no_answer_is_of_python_s_making(host: Host) -> None:
    """Text ends with one end of a line; what says `json` is JSON."""
    for offer in commands.OFFERS:
        text = host.appctl(offer.name)
        if offer.name != "tunnels/show":  # it has None where ovs-monitor-ipsec has it
            assert REPR.search(text) is None, text
        assert text == "" or (text.endswith("\n") and not text.endswith("\n\n")), offer.name
        if offer.usage == "[json]":
            json.loads(host.appctl(offer.name, "json"))
    for name in ("guard/show", "ipsec/status"):
        json.loads(host.appctl(name))


def test_status_says_what_systemd_is_shown(host: Host) -> None:
    """Line by line, and as an object."""
    found = json.loads(host.appctl("status", "json"))
    lines = host.appctl("status").splitlines()
    assert lines[0] == f"Status: {found['doing']}"
    assert {"Chassis: hv1", "Southbound: connected", "Pairs: 1 blocked"} <= set(lines)
    assert {"Wanted: enforce generation 7", "IKE daemon: not reached"} <= set(lines)


def test_scripts_for_ovs_monitor_ipsec_find_their_lines(host: Host) -> None:
    """The tunnel under the name of its port."""
    text = host.appctl("tunnels/show")
    assert text.startswith(f"Interface name: {PORT} v1 (CONFIGURED)\n")
    for line in ("  Tunnel Type:    geneve", "  Remote IP:      10.0.0.2", "  Remote name:    hv2"):
        assert line in text.splitlines()
    assert "IPsec connections that are active:" in text
    assert json.loads(host.appctl("ipsec/status")) == {}
    host.publish(8, Phase.OFF)
    host.hears("STATUS=off generation 8")
    assert host.appctl("tunnels/show") == "No tunnels configured with IPsec\n"


@pytest.mark.skipif(bool(live.MISSING), reason=f"needs {', '.join(live.MISSING)}")
def test_sas_of_a_real_ike_daemon_are_found_by_both_commands(lab: live.Lab) -> None:
    """One line for an IKE_SA, under the connection's name where there is no port."""
    lab.secrets(live.SECRETS[0])
    lab.start()
    until(lambda: answers(lab.folder / "chA.appctl"), "the controller answers")
    lab.publish(Phase.ESTABLISH, Auth.PSK)
    name = "ovn-chB@10.9.0.2%10.9.0.1"

    def asked(command: str) -> str:
        return lab.run("ovs-appctl", "-t", str(lab.folder / "chA.appctl"), command)

    def lines() -> list[str]:
        found = json.loads(asked("ipsec/status"))
        return [line for key in found if key == name for line in found[key].values()]

    until(lambda: any("ESTABLISHED, 10.9.0.1[chA]...10.9.0.2[chB]" in one for one in lines()), "up")
    shown = asked("tunnels/show")
    assert f"Interface name: {name} v1 (CONFIGURED)" in shown
    assert re.search(r"are active:\n  \S+: ESTABLISHED, ", shown) is not None
    assert all(secret not in shown for secret in live.SECRETS)


def test_another_ike_daemon_is_waited_for_behind_the_guard(host: Host) -> None:
    """As soon as the key says so, and by its name; a word that is none changes nothing."""
    key = "other_config:ovn-ipsec-ike"
    before = json.loads(host.appctl("guard/show"))["in_force"]
    assert before
    host.vsctl("set", "Open_vSwitch", ".", f"{key}=pluto")

    def problems() -> str:
        return " ".join(json.loads(host.appctl("status", "json"))["problems"])

    until(lambda: key in problems(), "the word is refused")
    assert json.loads(host.appctl("status", "json"))["ike_kind"] == "strongSwan"
    host.vsctl("set", "Open_vSwitch", ".", f"{key}=libreswan")
    host.hears("STATUS=waiting: IKE daemon not reached: .*pluto does not run")
    found = json.loads(host.appctl("status", "json"))
    assert (found["ike_kind"], found["ike_daemon"]) == ("Libreswan", None)
    assert json.loads(host.appctl("guard/show"))["in_force"]
    host.vsctl("remove", "Open_vSwitch", ".", "other_config", "ovn-ipsec-ike")
    host.hears("STATUS=waiting: cannot reach the IKE daemon: ")
