# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec policy` and `explain` with real databases, a real ovn-northd and our northd."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ovsdb import Central, central, missing_programs, wait_until

from ovn_ipsec.cli.policy.change import Decided, change_rules
from ovn_ipsec.cli.policy.editing import Changes, decide_to_add
from ovn_ipsec.cli.settings import Settings
from ovn_ipsec.cli.view import Snapshot
from ovn_ipsec.errors import OvsdbConflict
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.ovsdb.commands import SetKeys
from tests.functional.answering import controller

pytestmark = pytest.mark.skipif(
    bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"
)

ZONES = {"hv1": "dc1", "hv2": "dc1", "hv3": "dc2"}
UP = "encrypted=2"


@pytest.fixture
def ovn(tmp_path: Path) -> Iterator[Central]:
    """Databases, ovn-northd and three chassis in two zones."""
    with central(tmp_path) as made:
        for number, (name, zone) in enumerate(ZONES.items(), start=1):
            made.sbctl("chassis-add", name, "geneve", f"10.0.0.{number}")
            made.sbctl("set", "Chassis", name, f"transport_zones=[{zone},all]")
            made.follow(name)
        yield made


def test_status_says_what_will_be_a_problem(ovn: Central) -> None:
    """The chassis is named in NB and by the program; nothing is degraded, and the exit is 0."""
    ovn.start_northd()
    ovn.nbctl("set", "NB_Global", ".", "ipsec=true")
    for phase in ("prepare", "establish", "enforce"):
        wait_until(lambda at=phase: ovn.keys("sb").get("phase") == at, what=phase)
        for name in ZONES:
            ovn.follow(name, UP)
    wait_until(lambda: ovn.keys("nb").get("state") == "enforced", what="enforced")
    ovn.follow("hv2", UP, warning="the certificate expires at 2099-01-01T00:00:00Z",
               expires="2099-01-01T00:00:00Z")  # fmt: skip
    words = " | soon: hv2: the certificate expires at 2099-01-01T00:00:00Z"
    wait_until(lambda: words in ovn.keys("nb")["summary"], what="summary")
    assert ovn.keys("nb")["state"] == "enforced"
    code, out, _ = run(ovn, "status")
    assert (code, "hv2: the certificate expires" in out) == (0, True)
    code, out, _ = run(ovn, "--json", "status")
    (finding,) = json.loads(out)["findings"]
    assert (code, finding["subject"], finding["level"]) == (0, "hv2", "warning")
    ovn.follow("hv2", UP, warning="")
    wait_until(lambda: "soon" not in ovn.keys("nb")["summary"], what="no warning")


def run(ovn: Central, *argv: str, text: str = "") -> tuple[int, str, str]:
    """Run the program: exit status, standard output and error."""
    done = subprocess.run(
        [sys.executable, "-m", "ovn_ipsec.cli", *argv],
        env={**os.environ, **ovn.env},
        input=text,
        capture_output=True,
        text=True,
        timeout=stretched(60),
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def answer(ovn: Central, *argv: str, text: str = "") -> tuple[int, Any]:
    """Run the program with --json."""
    code, output, errors = run(ovn, "--json", *argv, text=text)
    assert output, errors
    return code, json.loads(output)


def rules(ovn: Central) -> dict[str, str]:
    """The rules in NB by priority."""
    options = ovn.rows("nb", "NB_Global")[0]["options"]
    assert isinstance(options, dict)
    prefix = "ovn-ipsec-rule-"
    return {k.removeprefix(prefix): v for k, v in options.items() if k.startswith(prefix)}


def bind(ovn: Central, **ports: str) -> None:
    """Bind ports to chassis, as ovn-controller does."""
    for port, chassis in ports.items():
        wait_until(lambda port=port: bound(ovn, port) is not None, what=port)
        ovn.sbctl("lsp-bind", port, chassis)


def bound(ovn: Central, port: str) -> object | None:
    """The row of a port."""
    rows = ovn.rows("sb", "Port_Binding")
    return next((row for row in rows if row["logical_port"] == port), None)


def test_rules_are_added_and_deleted(ovn: Central) -> None:
    """Each with what it changes, in one transaction; a dry run writes nothing."""
    rule = ("zone:dc1", "zone:dc2", "require")
    assert answer(ovn, "policy", "add", "any", "any", "off", "--dry-run")[0] == 0
    assert rules(ovn) == {}
    code, found = answer(ovn, "policy", "add", "any", "any", "off")
    assert (code, found["written"], found["weakened"]) == (0, True, 3)
    code, found = answer(ovn, "policy", "add", *rule)
    assert (code, [c["pairs"] for c in found["changes"]], found["same"]) == (0, [2], 1)
    assert rules(ovn) == {"100": "any any off", "200": " ".join(rule)}
    code, found = answer(ovn, "policy", "delete", "100")
    assert (code, found["changes"][0]["new"]["mode"]) == (0, "require")
    assert rules(ovn) == {"200": " ".join(rule)}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("add", "any", "any", "requir"), "did you mean require?"),
        (("add", "any", "network:nil", "off"), "expected the name of a Logical_Switch"),
        (("add", "any", "any", "off", "--priority", "7"), "priority 7 is in use"),
        (("add", "any", "any", "require", "profile=pq"), "cannot do it"),
        (("delete", "8"), "there is no rule with priority 8"),
    ],
)
def test_what_is_refused_is_not_written(ovn: Central, argv: tuple[str, ...], said: str) -> None:
    """It says why, and ends with 1."""
    ovn.nbctl("set", "NB_Global", ".", 'options:ovn-ipsec-rule-7="any any prefer"')
    code, output, _ = run(ovn, "policy", *argv)
    assert (code, said in output, rules(ovn)) == (1, True, {"7": "any any prefer"})


def test_no_hundred_is_left(ovn: Central) -> None:
    """Then the operator chooses."""
    ovn.nbctl("set", "NB_Global", ".", 'options:ovn-ipsec-rule-32767="any any prefer"')
    code, output, _ = run(ovn, "policy", "add", "any", "any", "off")
    assert (code, "choose one with --priority" in output) == (1, True)
    argv = ("policy", "add", "any", "any", "off", "--priority", "32767", "--replace")
    assert (run(ovn, *argv)[0], rules(ovn)) == (0, {"32767": "any any off"})


def test_nothing_is_written_over_what_somebody_else_wrote_meanwhile(ovn: Central) -> None:
    """The decision was made on other rules, so it is made anew."""
    settings = Settings(ovnnb_db=ovn.remote("nb"), ovnsb_db=ovn.remote("sb"))
    seen: list[Snapshot] = []

    def decide(snapshot: Snapshot) -> Changes | str:
        seen.append(snapshot)
        if len(seen) == 1:
            ovn.nbctl("set", "NB_Global", ".", 'options:ovn-ipsec-rule-100="any any prefer"')
        return decide_to_add(snapshot, text="any any off", priority=None, replace=False)

    found = change_rules(settings, decide, dry_run=False)
    assert isinstance(found, Decided)
    assert (dict(found.changes), found.written) == ({"ovn-ipsec-rule-200": "any any off"}, True)
    assert rules(ovn) == {"100": "any any prefer", "200": "any any off"}
    assert 2 <= len(seen)


def test_who_never_finds_the_rules_at_rest_is_told_so(ovn: Central) -> None:
    """After a few seconds; nothing was written."""
    settings = Settings(ovnnb_db=ovn.remote("nb"), ovnsb_db=ovn.remote("sb"))
    turns = itertools.count()

    def decide(snapshot: Snapshot) -> Changes | str:
        ovn.nbctl("set", "NB_Global", ".", f"options:some-key={next(turns)}")
        return decide_to_add(snapshot, text="any any off", priority=1, replace=False)

    with pytest.raises(OvsdbConflict):
        change_rules(settings, decide, dry_run=False)
    assert (rules(ovn), next(turns) > 2) == ({}, True)


def test_a_network_counts_where_its_ports_are_and_where_routers_reach(ovn: Central) -> None:
    """Port_Binding is read only because a rule names a network."""
    for name, port in (("payments", "p1"), ("public", "q3")):
        ovn.nbctl("ls-add", name, "--", "lsp-add", name, port)
    bind(ovn, p1="hv1", q3="hv3")
    ovn.nbctl("set", "Logical_Switch", "payments", "other_config:ovn-ipsec=require")
    run(ovn, "policy", "add", "any", "any", "off")
    found = {pair: answer(ovn, "policy", "test", *pair)[1]["pairs"] for pair in (("hv1", "hv3"),)}
    assert found["hv1", "hv3"][0]["mode"] == "off"
    ovn.nbctl("lr-add", "r")
    for name, number in (("payments", 1), ("public", 2)):
        ovn.nbctl("lrp-add", "r", f"r-{name}", f"00:00:00:00:00:0{number}", f"10.{number}.0.1/24")
        ovn.nbctl("lsp-add", name, f"{name}-r", "--", "lsp-set-type", f"{name}-r", "router")
        ovn.nbctl("lsp-set-options", f"{name}-r", f"router-port=r-{name}")
    wait_until(lambda: bound(ovn, "public-r") is not None, what="router port")
    (pair,) = answer(ovn, "policy", "test", "hv1", "hv3")[1]["pairs"]
    assert (pair["mode"], "the network's own setting" in pair["decided_by"]) == ("require", True)
    code, found = answer(ovn, "policy", "list")
    assert {r["priority"]: r["pairs"] for r in found["rules"]} == {
        100: 2,
        "switch": 1,
        "default": 0,
    }
    assert code == 0


def test_a_file_is_checked_and_compared(ovn: Central) -> None:
    """Without a database, and with one; nothing is written."""
    bad = "100 any any of\n100 zone:a any off\n# x\n0 any any off\n"
    code, found = answer(ovn, "policy", "check", "-", text=bad)
    assert (code, [fault["line"] for fault in found["faults"]]) == (1, [1, 4])
    good = "200 zone:dc1 zone:dc2 require\n100 any any off\n"
    assert run(ovn, "policy", "check", "-", text=good)[0] == 0
    code, found = answer(ovn, "policy", "diff", "-", text=good)
    assert (code, found["weakened"], found["same"]) == (0, 1, 2)
    assert found["examples"][0]["pairs"] == ["hv1 10.0.0.1", "hv2 10.0.0.2"]
    code, found = answer(ovn, "policy", "diff", "-", text="7 any network:nil off\n")
    assert (code, found["refused"][0]["line"], found["refused"][0]["column"]) == (1, 1, 15)
    code, output, _ = run(ovn, "policy", "diff", "-", text="7 any any require profile=cnsa\n")
    assert (code, "would be refused" in output) == (1, True)
    assert rules(ovn) == {}


def test_no_value_of_a_database_acts_on_the_terminal(ovn: Central) -> None:
    """Not a rule, not a name, not a digest."""
    evil = "any \x1b[2J any"
    with ovn.database("nb") as nb:
        found = nb.first("NB_Global")
        assert found is not None
        nb.run(SetKeys(nb, "NB_Global", found.uuid, "options", {"ovn-ipsec-rule-9": evil}))
        other = {"ovn-ipsec": "\x1b[2J"}
        nb.run(nb.db_create("Logical_Switch", name="\x1b[2J", other_config=other))
    ovn.follow("hv1", problem="\x1b[2J")
    for argv in (("policy", "list"), ("explain", "hv1", "hv2"), ("policy", "test", "hv1", "\x1b")):
        _, output, errors = run(ovn, *argv)
        assert ("\x1b[2J" in output, "\x1b" in errors) == (False, False), argv


def test_without_a_database_nothing_can_be_told(ovn: Central) -> None:
    """Exit 2, with the socket named; check needs none."""
    ovn.processes["ovsdb-sb"].stop()
    code, _, errors = run(ovn, "policy", "list")
    assert (code, ovn.remote("sb").removeprefix("unix:") in errors) == (2, True)
    assert run(ovn, "policy", "check", "-", text="1 any any off")[0] == 0
    assert run(ovn, "explain", "hv1", "hv2")[0] == 2


def test_rules_are_listed_as_in_force_once_they_are(ovn: Central) -> None:
    """And a bad one leaves them in force."""
    run(ovn, "policy", "add", "zone:dc1", "zone:dc1", "off")
    ovn.start_northd()
    ovn.nbctl("set", "NB_Global", ".", "ipsec=true")

    def enforced() -> bool:
        before = ovn.keys("sb").get("phase")
        for name in ZONES:
            ovn.follow(name, UP)
        return before == "enforce"

    wait_until(enforced, 30, what="enforce")
    code, found = answer(ovn, "policy", "list")
    assert (code, [rule["in_force"] for rule in found["rules"]]) == (0, [True, True])
    assert found["in_force"]["pairs"] == {"off": 1, "prefer": 0, "require": 2}
    code, found = answer(ovn, "explain", "hv1", "hv2")
    (pair,) = found["pairs"]
    assert (code, pair["state"], pair["carried"]["mode"]) == (0, "clear", "off")
    assert all(end["class_name"] == end["class_wanted"] != "" for end in pair["ends"])
    ovn.nbctl("set", "NB_Global", ".", 'options:ovn-ipsec-rule-100="zone:dc1 zone:dc1 of"')
    wait_until(lambda: "error" in ovn.keys("nb"), 30, what="error")
    code, output, _ = run(ovn, "policy", "list")
    assert (code, "still in force, but no longer asked for: 100 zone:dc1" in output) == (1, True)
    code, found = answer(ovn, "explain", "hv1", "hv2")
    assert (code, found["pairs"][0]["decided_by"]) == (1, "rule 100: zone:dc1 zone:dc1 off")


def test_the_controller_of_this_host_is_asked(ovn: Central) -> None:
    """Its words stand above what digests leave open; one that is named must answer."""
    peer = {"peer": "hv2", "local": "10.0.0.1", "remote": "10.0.0.2", "state": "blocked"}
    socket = ovn.folder / "controller.ctl"
    pairs = json.dumps([{**peer, "last_error": "no answer"}])
    with controller(socket, lambda: pairs):
        code, found = answer(ovn, "explain", "hv1", "hv2", "-t", str(socket))
    (pair,) = found["pairs"]
    assert (code, pair["state"]) == (1, "blocked")
    assert pair["why"] == "says the controller of hv1, last error: no answer"
    assert run(ovn, "explain", "hv1", "hv2", "-t", "/nowhere")[0] == 2
    (ovn.folder / "ovn-ipsec-controller.pid").write_text("1")
    code, output, errors = run(ovn, "explain", "hv1", "hv2")
    assert (code, "encryption is off" in output) == (0, True)
    assert "only the databases are asked" in errors
