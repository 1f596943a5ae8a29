# SPDX-License-Identifier: Apache-2.0
"""ovn-ipsec-northd on real databases: rules, classes, logical networks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ovsdb import Central, central, missing_programs, wait_until

from ovn_ipsec.lab.waiting import stretched

pytestmark = pytest.mark.skipif(
    bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"
)

ZONES = {"hv1": "dc1", "hv2": "dc1", "hv3": "dc2"}


@pytest.fixture
def ovn(tmp_path: Path) -> Iterator[Central]:
    """Central with three chassis in two zones, whose controllers run."""
    with central(tmp_path) as made:
        for number, (name, zone) in enumerate(ZONES.items(), 1):
            made.sbctl("chassis-add", name, "geneve", f"10.0.0.{number}")
            made.sbctl("set", "Chassis", name, f"transport_zones={zone}")
            made.report(name, generation=0, phase="off", pairs="", agent="fake")
        yield made


def ask(ovn: Central, **options: str) -> None:
    """Set NB options `ovn-ipsec-...` and turn the switch on."""
    pairs = [f'options:ovn-ipsec-{key.replace("_", "-")}="{text}"' for key, text in options.items()]
    ovn.nbctl("set", "NB_Global", ".", "ipsec=true", *pairs)


def settle(ovn: Central, phase: str = "enforce") -> None:
    """Follow until SB is at a phase and the chassis are, too."""

    def there() -> bool:
        for name in ZONES:
            ovn.follow(name, "encrypted=2")
        return ovn.keys("sb").get("phase") == phase

    wait_until(there, what=phase, timeout_s=20)
    for name in ZONES:
        ovn.follow(name, "encrypted=2")


def classes(ovn: Central) -> dict[str, str | None]:
    """options:ovn-ipsec-class of every encap, by chassis."""
    found: dict[str, str | None] = {}
    for row in ovn.rows("sb", "Encap"):
        options = row["options"]
        assert isinstance(options, dict)
        found[str(row["chassis_name"])] = options.get("ovn-ipsec-class")
    return found


def treats(ovn: Central, one: str, other: str) -> str:
    """What SB says of the pair of two chassis, as a controller reads it."""
    keys, named = ovn.keys("sb"), classes(ovn)
    pairs = dict(word.split("=") for word in keys.get("pairs", "").split())
    ends = ":".join(sorted(str(named[name]) for name in (one, other)))
    return pairs.get(ends, keys["default"])


def test_rules_are_published_and_turned_round(ovn: Central) -> None:
    """Two zones, then the other way round: one transaction each, and a new generation."""
    ovn.start_northd()
    ask(ovn, rule_100="zone:dc1 zone:dc2 require", rule_1="any any off")
    settle(ovn)
    assert treats(ovn, "hv1", "hv3") == "require"
    assert treats(ovn, "hv1", "hv2") == "off"
    keys = ovn.keys("sb")
    assert keys["floor"] == "off"
    assert keys["rules"] == "100 zone:dc1 zone:dc2 require\n1 any any off"
    before, names = int(keys["generation"]), classes(ovn)
    written = len(ovn.transactions("sb"))
    ask(ovn, rule_100="zone:dc1 zone:dc2 off", rule_1="any any require")
    wait_until(lambda: int(ovn.keys("sb")["generation"]) > before, what="generation")
    assert ovn.keys("sb")["phase"] == "establish"
    assert treats(ovn, "hv1", "hv3") == "off"
    assert treats(ovn, "hv1", "hv2") == "require"
    assert classes(ovn) == names
    assert len(ovn.transactions("sb")) == written + 1
    settle(ovn)


def test_bad_rule_is_named_and_the_last_good_policy_stays_over_a_restart(ovn: Central) -> None:
    """The error names key, text and what was expected; a new process keeps the old rules too."""
    northd = ovn.start_northd()
    ask(ovn, rule_100="zone:dc1 zone:dc2 off")
    settle(ovn)
    before = ovn.keys("sb")
    ask(ovn, rule_100="zone:dc1 zone:dc2 requre")
    wait_until(lambda: "ovn-ipsec-rule-100" in ovn.keys("nb").get("error", ""), what="error")
    assert "requre" in ovn.keys("nb")["error"]
    assert ovn.keys("nb")["state"] == "enforced (degraded)"
    northd.stop()
    ovn.start_northd()
    wait_until(lambda: "active" in ovn.appctl("northd", "status"), what="active again")
    time.sleep(stretched(1.0))
    assert ovn.keys("sb") == before
    ovn.sbctl("remove", "Encap", _encap(ovn, "hv1"), "options", "ovn-ipsec-class")
    wait_until(lambda: treats(ovn, "hv1", "hv3") == "off", what="class put back")
    ask(ovn, rule_100="network:nowhere any off")
    wait_until(lambda: "nowhere" in ovn.keys("nb").get("error", ""), what="unknown network")
    assert ovn.keys("sb") == before
    ovn.nbctl("remove", "NB_Global", ".", "options", "ovn-ipsec-rule-100")
    wait_until(lambda: ovn.keys("sb")["rules"] == "", what="no rules")
    wait_until(lambda: set(classes(ovn).values()) == {None}, what="no classes")
    wait_until(lambda: "error" not in ovn.keys("nb"), what="no error")


def _encap(ovn: Central, chassis: str) -> str:
    (uuid,) = ovn.sbctl(
        "--bare", "--columns=_uuid", "find", "Encap", f"chassis_name={chassis}"
    ).split()
    return uuid


def test_profile_that_many_chassis_cannot_do_changes_nothing(ovn: Central) -> None:
    """They are named; once all but one can, the policy is taken, and that one is named."""
    ovn.start_northd()
    ask(ovn)
    settle(ovn)
    ovn.report("hv1", profiles="default cnsa")
    before = ovn.keys("sb")
    ask(ovn, profile="cnsa")
    wait_until(lambda: "hv2, hv3 cannot" in ovn.keys("nb").get("error", ""), what="who cannot")
    assert ovn.keys("sb") == before
    ovn.report("hv2", profiles="default cnsa")
    wait_until(lambda: ovn.keys("sb")["default"] == "require/cnsa", what="policy")
    wait_until(lambda: "of hv3 cannot" in ovn.keys("nb").get("error", ""), what="who cannot")
    ovn.report("hv3", profiles="default cnsa")
    wait_until(lambda: "error" not in ovn.keys("nb"), what="no error")


def test_networks_are_followed_as_ports_come_and_go(ovn: Central) -> None:
    """A port that appears changes its chassis' class at once; one that goes, after the hold."""
    ovn.start_northd()
    for switch in ("payments", "public"):
        ovn.nbctl("ls-add", switch)
        for name in ZONES:
            ovn.nbctl("lsp-add", switch, f"{switch}-{name}")
    ovn.nbctl("--wait=sb", "sync")
    for port in ("payments-hv1", "payments-hv2", "public-hv1", "public-hv3"):
        ovn.sbctl("lsp-bind", port, port.partition("-")[2])
    ask(ovn, rule_50="network:payments any require", rule_1="any any off", hold="2s")
    settle(ovn)
    assert treats(ovn, "hv1", "hv2") == "require"
    assert treats(ovn, "hv1", "hv3") == "off"
    key = ovn.sbctl(
        "--bare", "--columns=tunnel_key", "find", "Datapath_Binding", "external_ids:name=payments"
    )
    wait_until(lambda: ovn.keys("sb")["vnis"] == key, what="VNI of payments")
    generation = ovn.keys("sb")["generation"]
    begin = time.monotonic()
    ovn.sbctl("lsp-bind", "payments-hv3", "hv3")
    wait_until(lambda: treats(ovn, "hv1", "hv3") == "require", what="hv3 joins")
    print(f"MEASURED join seen in SB after {time.monotonic() - begin:.2f} s")
    assert ovn.keys("sb")["generation"] == generation
    ovn.sbctl("lsp-unbind", "payments-hv3")
    wait_until(lambda: treats(ovn, "hv1", "hv3") == "off", what="hv3 left")
    assert int(ovn.keys("sb")["generation"]) > int(generation)
    assert treats(ovn, "hv1", "hv2") == "require"
    ask(ovn, rule_50="any any off")
    ovn.nbctl("set", "Logical_Switch", "payments", "other_config:ovn-ipsec=require")
    wait_until(lambda: ovn.keys("sb")["rules"].startswith("switch network:payments"), what="sugar")
    assert treats(ovn, "hv1", "hv2") == "require"
    assert treats(ovn, "hv1", "hv3") == "off"


def test_chassis_that_labels_itself_is_refused(ovn: Central) -> None:
    """A class that is not its own is named in the log and put right."""
    ovn.start_northd()
    ask(ovn, rule_100="zone:dc2 any off")
    settle(ovn)
    lab, other = classes(ovn)["hv3"], classes(ovn)["hv1"]
    ovn.sbctl("set", "Encap", _encap(ovn, "hv1"), f"options:ovn-ipsec-class={lab}")
    wait_until(lambda: classes(ovn)["hv1"] == other, what="put right")
    (line,) = ovn.log_events("northd", "refused")
    assert (line["table"], line["key"], line["text"]) == ("Encap", "options:ovn-ipsec-class", lab)
    assert line["row"].startswith("hv1/")
