# SPDX-License-Identifier: Apache-2.0
"""What a person asks of a chassis: proof of what is on the wire, a report, what is well there."""

from __future__ import annotations

import json
import re
import tarfile
from base64 import b64encode
from typing import Any

import helpers
import proving
import scan
from helpers import say

from ovn_ipsec.lab.cluster.chassis import Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.host import python

FILE = "/run/ovn/report.tar.gz"
_KEY = re.compile(r"0x([0-9a-f]{32,})")


def asked(chassis: Chassis, *words: str) -> tuple[int, Any]:
    """Run the command line on a chassis; gives its status and what it says in JSON."""
    done = chassis.run(python("-m", "ovn_ipsec.cli", "--json", *words), check=False)
    return done.returncode, json.loads(done.stdout)


def test_what_leaves_is_esp_where_that_is_enforced_and_clear_where_it_is_off(
    enforced: Cluster,
) -> None:
    """Each way, also beside other traffic, which loses nothing by it."""
    with helpers.traffic(enforced) as ping:
        for one, other in (("h1", "h2"), ("h2", "h1")):
            status, (found,) = asked(enforced.chassis[one], "check-wire", one, other)
            say("check-wire", one=one, other=other, said=found["said"])
            assert (found["outcome"], status) == ("encrypted", 0), found
        ping.run(2.0)
        ping.assert_encrypted()
        assert ping.lost == 0
    helpers.relax(enforced)
    status, (found,) = asked(enforced.chassis["h1"], "check-wire", "h1", "h2")
    assert (found["outcome"], status) == ("clear", 1), found


def test_a_report_names_the_sas_and_holds_none_of_their_keys(enforced: Cluster) -> None:
    """Nor anything else that is secret on this chassis."""
    h1 = enforced.chassis["h1"]
    shown = h1.run(["ip", "xfrm", "state"]).stdout
    keys = [bytes.fromhex(text) for text in _KEY.findall(shown)]
    assert keys, "ip shows keys"
    looked_for = scan.needles(proving.SECRETS | scan.stored(enforced), enforced.chassis)
    for key in keys:
        spelled = (key, key.hex().encode(), b64encode(key).rstrip(b"="))
        looked_for |= dict.fromkeys(spelled, "the key of an SA")
    h1.path(FILE).unlink(missing_ok=True)
    status, told = asked(h1, "report", "--output", FILE)
    assert status == 0
    say("report", missing=sorted(told["missing"]))
    with tarfile.open(h1.path(FILE)) as archive:
        files = {m.name.partition("/")[2]: archive.extractfile(m) for m in archive.getmembers()}
        members = {name: file.read() for name, file in files.items() if file is not None}
    assert [name for name, text in members.items() if scan.matches(looked_for, text)] == []
    states = members["kernel/xfrm-states.txt"].decode()
    spis = set(re.findall(r"spi (0x[0-9a-f]{8})", shown))
    assert spis
    assert spis & set(re.findall(r"spi (0x[0-9a-f]{8})", states))
    assert any(int(number) for number in re.findall(r"packets (\d+)", states))
    assert b"table inet ovn_ipsec" in members["kernel/nftables.txt"]


def test_doctor_sees_for_itself_that_a_chassis_is_closed(enforced: Cluster) -> None:
    """The daemon, its ports, both layers of the guard, the files, the row."""
    _, checks = asked(enforced.chassis["h1"], "doctor")
    found = {check["part"]: check for check in checks}
    say("doctor", bad=[check["said"] for check in checks if check["is_well"] is False])
    for part in (
        *("vici", "plugins", "UDP port 500", "UDP port 4500", "boot guard"),
        *("guard, nftables", "guard, XFRM", "certificate", "private_key", "ca_cert"),
        *("Chassis row", "IKE daemon", "southbound"),
    ):
        assert found[part]["is_well"], found[part]
    assert found["UDP port 500"]["said"].startswith("held by charon")
    assert found["guard, nftables"]["said"] == "stands"
