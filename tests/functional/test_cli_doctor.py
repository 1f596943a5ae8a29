# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec doctor` beside a real controller and a real charon."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from controller.kernel.watch import NO_ESP
from ovn_ipsec.model.policy import Auth, Phase
from tests.functional.live import MISSING, ROOT, SECRETS, Lab, until

OF_THE_MACHINE = {"ESP", "modules", "module esp4", "module esp6", "settings", "clock", "units"}
"""Where these tests run it may have no ESP, no modules, no installed package and no clock set."""

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")


def examined(lab: Lab, *words: str, local: bool = True) -> tuple[int, str]:
    """Run it on chA, beside whatever has the pid of its ovs-vswitchd: this process.

    Args:
        lab: Where chA is.
        words: Before the command.
        local: Whether to name its database, which is not beside its control socket.
    """
    (lab.folder / "ovs-vswitchd.pid").write_text(str(os.getpid()), encoding="ascii")
    argv = ["ip", "netns", "exec", lab.daemons["chA"].netns, sys.executable, "-m", "ovn_ipsec.cli"]
    argv += [*words, "doctor", "--target", str(lab.folder / "chA.appctl")]
    argv += ["--vici", lab.daemons["chA"].uri, "--state-dir", str(lab.folder / "state-chA")]
    argv += ["--ovs-db", f"unix:{lab.folder}/chA.sock"] if local else []
    done = subprocess.run(
        argv, check=False, env=lab.env, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def parts(lab: Lab) -> dict[str, dict[str, object]]:
    """What it says of each part; nothing while the controller does not answer."""
    _, output = examined(lab, "--json")
    return {one["part"]: one for one in json.loads(output)} if output.startswith("[") else {}


def not_well(lab: Lab) -> set[str]:
    """Parts that are not well; the machine itself is not what these tests are about."""
    found = parts(lab)
    other = {name for name, one in found.items() if one["said"] != NO_ESP and not one["is_well"]}
    return other - OF_THE_MACHINE if found else {"?"}


def test_every_part_of_a_chassis_is_looked_at(lab: Lab) -> None:
    """Off all is well; then pins without TLS, an absent peer, and a daemon that is gone."""
    status, output = examined(lab)
    assert status == 1
    assert "next: start ovn-ipsec-controller" in output
    lab.secrets(SECRETS[0])
    lab.start("chA")
    until(lambda: not not_well(lab), "all is well")
    found = parts(lab)
    assert found["name"]["said"] == "chA"
    assert found["Chassis row"]["said"] == "geneve 10.9.0.1"
    assert found["ovs-vswitchd"]["said"] == "no datapath yet"
    lab.publish(Phase.ENFORCE, Auth.PINNED)

    def applied() -> bool:
        found = parts(lab)
        return bool(found) and not found["pairs"]["is_well"] and bool(found["policy"]["is_well"])

    until(applied, "the policy is applied, and a pair is missed")
    found = parts(lab)
    assert str(found["IKE daemon"]["said"]).startswith("strongSwan ")
    assert str(found["guard"]["said"]).startswith("in force")
    for part in ("guard, nftables", "guard, XFRM", "UDP port 500", "UDP port 4500", "plugins"):
        assert found[part]["is_well"], found[part]
    assert found["guard, XFRM"]["said"] == "4 block policies"
    assert found["UDP port 500"]["said"] == "held by charon-systemd"
    assert "1 of 1 not up: chB blocked" in str(found["pairs"]["said"])
    assert found["pairs"]["next_step"] == "ovn-ipsec explain chA chB"
    assert "pins are no more trustworthy" in str(found["problem"]["said"])
    assert "ssl:" in str(found["problem"]["next_step"])
    lab.daemons["chA"].kill()
    until(lambda: not parts(lab)["IKE daemon"]["is_well"], "its daemon is missed")
    status, output = examined(lab)
    assert status == 1
    for word in ("BAD   IKE daemon", "BAD   vici", "next: start strongSwan", "ok    southbound"):
        assert word in output
    assert output.index("BAD ") < output.index("ok  ")
    assert SECRETS[0] not in output


def test_before_anything_runs_it_says_what_is_missing(lab: Lab) -> None:
    """A guard that does not stand, a port of IKE that another has, a file that is not there."""
    lab.daemons["chA"].kill()
    lab.set("chA", "certificate", "/nonexistent/cert.pem")
    state = lab.folder / "state-chA"
    state.mkdir()
    (state / "boot-guard.json").write_text('{"ports": [6081], "local": ["10.9.0.1"]}')
    netns = ["ip", "netns", "exec", lab.daemons["chA"].netns]
    hold = "import socket as s; h = s.socket(type=s.SOCK_DGRAM); h.bind(('', 500)); open(0).read()"
    with subprocess.Popen([*netns, sys.executable, "-c", hold], stdin=subprocess.PIPE) as other:
        until(lambda: parts(lab)["UDP port 500"]["said"] != "free", "the port is held")
        found = parts(lab)
        assert other.stdin is not None
        other.stdin.close()
    said = {name: one["said"] for name, one in found.items() if one["is_well"] is False}
    assert said["vici"] == f"{lab.daemons['chA'].uri}: Connection refused"
    assert said["guard, nftables"] == "the table inet ovn_ipsec is missing"
    assert said["guard, XFRM"] == "2 of 2 block policies are missing"
    assert re.fullmatch(rf"held by python\S* \(pid {other.pid}\)", str(said["UDP port 500"]))
    assert said["certificate"] == "/nonexistent/cert.pem: cannot read: No such file or directory"
    assert "does not answer" in said["controller"]
    assert found["boot guard"]["is_well"]
    assert found["UDP port 4500"]["said"] == "free"
    assert found["Chassis row"]["said"] == "geneve 10.9.0.1"
    assert not [name for name, one in found.items() if not one["is_well"] and not one["next_step"]]


def test_what_no_controller_misses_is_seen(lab: Lab) -> None:
    """Addresses that do not meet or are not there, and a row that another one has taken."""
    lab.secrets(SECRETS[0])
    lab.start("chA")
    until(lambda: not not_well(lab), "all is well")
    lab.sbctl("chassis-add", "far", "geneve", "fd00::9")
    assert not_well(lab) == {"peers"}
    assert "far has geneve IPv6" in str(parts(lab)["peers"]["said"])
    lab.sbctl("chassis-del", "far")
    lab.vsctl("chA", "set", "Open_vSwitch", ".", "external_ids:ovn-encap-ip=10.9.0.1,10.9.7.7")
    assert not_well(lab) == {"address"}
    lab.vsctl("chA", "set", "Open_vSwitch", ".", "external_ids:ovn-encap-ip=10.9.0.1")
    lab.sbctl("chassis-del", "chA")
    lab.sbctl("chassis-add", "rogue", "geneve", "10.9.0.1")
    until(lambda: "Chassis row" in not_well(lab), "its row is missed")
    row = parts(lab)["Chassis row"]
    assert row["said"] == "none in the southbound; rogue has 10.9.0.1"
    assert "chassis-del" in str(row["next_step"])
    assert examined(lab)[0] == 1


def test_what_cannot_be_seen_is_no_good_news(lab: Lab) -> None:
    """Without the local database, which is sought beside the control socket, nobody can tell."""
    lab.secrets(SECRETS[0])
    lab.start("chA")
    until(lambda: not not_well(lab), "all is well")
    status, output = examined(lab, "--json", local=False)
    found = {one["part"]: one for one in json.loads(output)}
    assert status == (2 if found.get("ESP", {}).get("is_well") is not False else 1)
    assert found["Chassis row"]["is_well"] is None
    assert f"unix:{lab.folder}/db.sock" in found["Chassis row"]["said"]
    assert "no answer within" in found["Chassis row"]["said"]
    assert "???   Chassis row" in examined(lab, local=False)[1]
