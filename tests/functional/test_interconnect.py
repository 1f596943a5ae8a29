# SPDX-License-Identifier: Apache-2.0
"""OVN-IC: two availability zones with a real ovn-ic, ovn-northd and ovn-ipsec-northd each.

ovn-ic copies the Chassis and Encap rows of gateways from zone to zone, Encap.options and so our
keys included. What it has copied belongs to the other zone and is never written here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.policy import Auth, Phase
from ovn_ipsec.schema import report
from tests.functional import charon, interconnect
from tests.functional.interconnect import Zone
from tests.functional.live import MISSING, NAMES, OVS_SCHEMA, SECRETS, Lab, until
from tests.functional.ovsdb import wait_until

pytestmark = pytest.mark.skipif(
    bool(interconnect.missing()), reason=f"needs {interconnect.missing()}"
)

Pair = tuple[Zone, Zone]
UP = "encrypted=1"
DOWN = {Phase.PREPARE: "pending=1", Phase.ESTABLISH: "pending=1", Phase.ENFORCE: "blocked=1"}
APART = "across zones: pairs 1 encrypted 0 pending 0 blocked 1, not waited for"
COPY = ["ovn-ic"]
"""Comments of the transactions that write rows of the other zone's chassis."""


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Pair]:
    """Two zones with ovn-ipsec-northd; the test plays the controllers of their gateways."""
    with interconnect.zones(tmp_path) as made:
        for zone in made:
            zone.watch()
            zone.follow(zone.gateway)
            zone.start_northd()
        yield made


def switch(zone: Zone, *, on: bool) -> None:
    """Set the switch that the operator has."""
    zone.nbctl("set", "NB_Global", ".", f"ipsec={str(on).lower()}")


def roll_out(zone: Zone, pairs: dict[Phase, str]) -> None:
    """Let the gateway follow, whose only pair is with the other zone's, to the end."""
    for phase, counts in pairs.items():
        wait_until(lambda at=phase: zone.keys("sb").get("phase") == at, what=phase)
        zone.follow(zone.gateway, counts, **{"pairs-across": counts})


def switch_off(zone: Zone) -> None:
    """Switch off, and wait until that is through."""
    switch(zone, on=False)
    roll_out(zone, {Phase.RELAX: "", Phase.OFF: ""})
    state(zone, "off")


def state(zone: Zone, expected: str) -> None:
    """Wait until the operator reads a state."""
    wait_until(lambda: zone.keys("nb").get("state") == expected, what=f"{zone.name} {expected}")


def mode(zone: Zone, chassis: str) -> tuple[str | None, str | None]:
    """What the Encap row of a chassis says in a zone: its mode and its class."""
    found = zone.options(chassis)
    return found.get("ovn-ipsec"), found.get("ovn-ipsec-class")


def explained(zone: Zone) -> dict[str, Any]:
    """What `ovn-ipsec explain` says in a zone of the pair of both gateways."""
    argv = [sys.executable, "-m", "ovn_ipsec.cli", "--json", "explain", *NAMES]
    env = {**os.environ, **zone.env}
    done = subprocess.run(
        argv, env=env, capture_output=True, text=True, timeout=stretched(60), check=False
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    (pair,) = found["pairs"]
    assert isinstance(pair, dict)
    return {**pair, "findings": found["findings"]}


def test_a_zone_alone_goes_all_the_way_and_writes_no_row_of_the_other(both: Pair) -> None:
    """On, through a change of the rules, and off again, while the other zone is off."""
    first, second = both
    switch(first, on=True)
    roll_out(first, DOWN)
    state(first, "enforced (degraded)")
    wait_until(lambda: APART in first.keys("nb")["summary"], what="summary")
    assert mode(first, first.far) == (None, None)
    wait_until(lambda: mode(second, first.gateway) == ("require", None), what="ovn-ic copies")
    option = 'options:ovn-ipsec-rule-100="chassis:ch* any prefer"'
    first.nbctl("set", "NB_Global", ".", option)
    wait_until(lambda: mode(first, first.gateway)[1] is not None, what="a class")
    label = mode(first, first.gateway)
    wait_until(lambda: mode(second, first.gateway) == label, what="ovn-ic copies")
    switch_off(first)
    wait_until(lambda: mode(second, first.gateway) == (None, None), what="ovn-ic copies")
    assert [] == first.changes(first.far) == second.changes(second.gateway)
    assert first.writers(first.far) == COPY
    assert set(second.writers(second.far)) == set(COPY)
    assert second.keys("nb").get("state", "off") == "off"


def test_each_zone_goes_by_its_own_rules_and_copies_count_only_upwards(both: Pair) -> None:
    """The same rules give the same names of classes, and a class of the other zone is none here."""
    for zone in both:
        rule = 'options:ovn-ipsec-rule-100="chassis:ch* chassis:ch* off"'
        zone.nbctl("set", "NB_Global", ".", rule, "options:ovn-ipsec-mode=prefer")
        switch(zone, on=True)
        roll_out(zone, {Phase.PREPARE: "pending=1", Phase.ESTABLISH: UP})
        state(zone, "established")
    first, second = both
    label = mode(first, first.gateway)
    assert label[1] is not None
    for zone in both:
        wait_until(lambda zone=zone: mode(zone, zone.far) == label, what="ovn-ic copies")
        found = explained(zone)
        assert (found["wanted"]["mode"], found["carried"]["mode"]) == ("prefer", "prefer")
        assert "no rule with remote: matches" in found["decided_by"]
        assert found["findings"] == []
    second.nbctl("remove", "NB_Global", ".", "options", "ovn-ipsec-mode")
    wait_until(lambda: mode(first, first.far)[0] == "require", what="ovn-ic copies")
    found = explained(first)
    assert (found["wanted"]["mode"], found["carried"]["mode"]) == ("require", "require")
    assert "the other availability zone" in found["decided_by"]
    for zone in both:
        switch_off(zone)
    for zone in both:
        wait_until(lambda zone=zone: mode(zone, zone.far) == (None, None), what="ovn-ic copies")
        assert set(zone.writers(zone.far)) == set(COPY)
        assert any("ovn-ipsec-northd" in writer for writer in zone.writers(zone.gateway))


def rule(zone: Zone, number: int, text: str) -> None:
    """Set a rule in one zone, or remove it if the text is empty, and wait until SB has it."""
    key = f"ovn-ipsec-rule-{number}"
    if text:
        zone.nbctl("set", "NB_Global", ".", f'options:{key}="{text}"')
    else:
        zone.nbctl("remove", "NB_Global", ".", "options", key)

    def carries() -> bool:
        lines = zone.keys("sb").get("rules", "").splitlines()
        found = [line for line in lines if line.startswith(f"{number} ")]
        return found == ([f"{number} {text}"] if text else [])

    wait_until(carries, what=f"rule {number} of {zone.name}: {text}")


def decided(zone: Zone) -> tuple[str, str]:
    """How the pair of both gateways is treated in a zone, and by what: rules and SB agree."""
    found = explained(zone)
    assert found["wanted"] == found["carried"]
    assert found["findings"] == []
    return f"{found['wanted']['mode']} {found['wanted']['profile']}", found["decided_by"]


def test_rules_for_other_zones_decide_and_are_no_classes(both: Pair) -> None:
    """Encrypted across and clear within, with a suite of their own; off in one zone; removed.

    The gateways of both zones do what they are told, as far as a test can play that.
    """
    first, second = both
    for zone in both:
        zone.nbctl("set", "NB_Global", ".", "options:ovn-ipsec-mode=prefer")
        zone.nbctl("set", "NB_Global", ".", 'options:ovn-ipsec-rule-50="any any off"')
        text = f"any remote:chassis:{zone.far} require profile=cnsa"
        zone.nbctl("set", "NB_Global", ".", f'options:ovn-ipsec-rule-100="{text}"')
        switch(zone, on=True)
        for phase, counts in {**DOWN, Phase.ENFORCE: UP}.items():
            wait_until(lambda zone=zone, at=phase: zone.keys("sb").get("phase") == at, what=phase)
            zone.follow(zone.gateway, counts, profiles="default cnsa", **{"pairs-across": counts})
        state(zone, "enforced")
    labels = [mode(zone, zone.gateway) for zone in both]
    assert labels == [("prefer", "rest")] * 2
    for zone in both:
        wait_until(lambda zone=zone: mode(zone, zone.far) == labels[0], what="ovn-ic copies")
        by = f"rule 100: any remote:chassis:{zone.far} require profile=cnsa"
        assert decided(zone) == ("require cnsa", by)
    before = first.keys("sb")
    text = f"remote:cidr:{interconnect.ADDRESSES[first.far]}/32 chassis:{first.gateway} off"
    rule(first, 100, text)
    after = first.keys("sb")
    assert int(after["generation"]) > int(before["generation"])
    assert (before["pairs"], before["floor"]) == (after["pairs"], after["floor"])
    roll_out(first, {Phase(after["phase"]): "clear=1"})
    assert decided(first) == ("off default", f"rule 100: {text}")
    assert decided(second)[0] == "require cnsa"
    rule(first, 100, "")
    roll_out(first, {Phase.ESTABLISH: UP})
    assert decided(first)[0] == "prefer default"
    assert "no rule with remote: matches" in decided(first)[1]
    assert labels == [mode(zone, zone.gateway) for zone in both]
    for zone in both:
        assert set(zone.writers(zone.far)) == set(COPY)


class Hosts(Lab):
    """The gateways of both zones, with their controllers and IKE daemons."""

    def __init__(
        self, folder: Path, daemons: tuple[charon.Charon, charon.Charon], zones: Pair
    ) -> None:
        super().__init__(folder, daemons)
        self.zones = dict(zip(NAMES, zones, strict=True))

    def build(self) -> None:
        """Make a local database for each, which names the southbound of its zone."""
        for name, zone in self.zones.items():
            self.run("ovsdb-tool", "create", str(self.folder / f"{name}.db"), str(OVS_SCHEMA))
            file = self.folder / name
            argv = ["ovsdb-server", f"--remote=punix:{file}.sock", "--no-chdir", f"{file}.db"]
            self.spawn(f"db-{name}", [*argv, f"--pidfile={file}.pid", f"--unixctl={file}.ctl"])
            until(Path(f"{file}.sock").exists, f"{name} listens")
            self.vsctl(name, "init")
            words = [
                f"external_ids:system-id={name}",
                f"external_ids:ovn-remote={zone.remote('sb')}",
            ]
            self.vsctl(name, "set", "Open_vSwitch", ".", *words)

    def key(self, table: str, name: str, key: str) -> str:
        """One of the external_ids of a chassis' row, in its own zone."""
        for row in self.zones[name].rows("sb", table):
            external_ids = row["external_ids"]
            if row["name"] == name and isinstance(external_ids, dict):
                return str(external_ids.get(key, ""))
        return ""

    def runs(self, name: str, script: str) -> subprocess.Popen[str]:
        """Start a Python program on a host."""
        argv = ["ip", "netns", "exec", self.daemons[name].netns, sys.executable, "-c", script]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def sends_in_clear(self, name: str) -> bool:
        """Whether a Geneve packet may leave towards the other host: a guard refuses the call."""
        sender = self.runs(name, SEND.format(to=self._address(name, other=True), ports=[6081]))
        error = sender.communicate(timeout=stretched(30))[1]
        assert sender.returncode == 0 or "PermissionError" in error or "OSError" in error, error
        return sender.returncode == 0

    def takes_in_clear(self, name: str) -> bool:
        """Whether a Geneve packet that the other host has sent comes in.

        A packet to a port that no guard concerns follows it on the same path.
        """
        receiver = self.runs(name, RECEIVE.format(at=self._address(name)))
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "ready\n"
        (other,) = set(NAMES) - {name}
        sender = self.runs(other, SEND.format(to=self._address(name), ports=[6081, BESIDE]))
        assert (sender.communicate(timeout=stretched(30))[1], sender.returncode) == ("", 0)
        return receiver.communicate(timeout=stretched(30))[0] == "came\n"

    @staticmethod
    def _address(name: str, *, other: bool = False) -> str:
        return next(
            ip for host, ip in interconnect.ADDRESSES.items() if (host == name) is not other
        )


BESIDE = 7000
SEND = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
    for port in {ports}:
        out.sendto(b"x", ("{to}", port))
"""
RECEIVE = f"""
import select, socket
tunnel, beside = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
tunnel.bind(("{{at}}", 6081))
beside.bind(("{{at}}", {BESIDE}))
print("ready", flush=True)
beside.recv(9)
print("came" if select.select([tunnel], [], [], 0)[0] else "did not")
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Two zones with ovn-ipsec-northd; the controllers are started by the test."""
    with interconnect.zones(tmp_path) as zones, charon.two_charons() as daemons:
        made = Hosts(tmp_path, daemons, zones)
        try:
            made.build()
            made.secrets(SECRETS[0])
            for zone in zones:
                words = ("options:ovn-ipsec-auth=psk", "options:ovn-ipsec-rollout=immediate")
                zone.nbctl("set", "NB_Global", ".", *words)
                zone.start_northd()
            yield made
        finally:
            made.stop()


@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
def test_gateways_authenticate_each_other_once_both_zones_want_it(hosts: Hosts) -> None:
    """Until then the first zone is closed towards the other, and says so.

    No ESP in this kernel: no pair comes up, and a controller acknowledges no phase of preparation,
    so it is started after that.
    """
    first, second = hosts.zones.values()
    switch(first, on=True)
    wait_until(lambda: first.keys("sb").get("phase") == Phase.ENFORCE, what="enforce")
    hosts.start()
    wait_until(lambda: APART in first.keys("nb")["summary"], what="summary")
    state(first, "enforced (degraded)")
    assert "blocked=1" in hosts.key("Chassis_Private", first.gateway, report.ACROSS)
    until(lambda: "clear=1" in hosts.key("Chassis_Private", second.gateway, report.ACROSS), "clear")
    assert hosts.auths(first.gateway) == []
    switch(second, on=True)
    hosts.all_by(Auth.PSK)
    for zone in (first, second):
        assert set(zone.writers(zone.far)) == set(COPY)


@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
def test_each_guard_goes_by_the_rules_of_its_own_zone(hosts: Hosts) -> None:
    """Required here and off there: nothing passes. Off by both: in clear.

    No ESP in this kernel: see above.
    """
    first, second = hosts.zones.values()
    first.nbctl("set", "NB_Global", ".", "options:ovn-ipsec-mode=prefer")
    ours = ("any any off", "any remote:any require")
    theirs = ("any any prefer", f"remote:chassis:{second.far} any off")
    for zone, texts in ((first, ours), (second, theirs)):
        for number, text in zip((50, 100), texts, strict=True):
            zone.nbctl("set", "NB_Global", ".", f'options:ovn-ipsec-rule-{number}="{text}"')
        switch(zone, on=True)
        wait_until(lambda zone=zone: zone.keys("sb").get("phase") == Phase.ENFORCE, what="enforce")
    hosts.start()

    def across(zone: Zone, words: str) -> None:
        key = ("Chassis_Private", zone.gateway, report.ACROSS)
        until(lambda: words in hosts.key(*key), f"{words} in {zone.name}")

    across(first, "blocked=1")
    across(second, "clear=1")
    assert not hosts.sends_in_clear(first.gateway)
    until(lambda: hosts.sends_in_clear(second.gateway), "clear text leaves")
    assert not hosts.takes_in_clear(first.gateway)
    assert hosts.auths(first.gateway) == hosts.auths(second.gateway) == []
    rule(second, 100, "")
    across(second, "blocked=1")
    hosts.all_by(Auth.PSK)
    assert not hosts.sends_in_clear(second.gateway)
    for zone in (first, second):
        rule(zone, 100, f"any remote:chassis:{zone.far} off")
    for zone in (first, second):
        across(zone, "clear=1")
        until(lambda zone=zone: hosts.auths(zone.gateway) == [], "no SA is kept")
        until(lambda zone=zone: hosts.sends_in_clear(zone.gateway), "clear text leaves")
    for zone in (first, second):
        assert hosts.takes_in_clear(zone.gateway)
        assert set(zone.writers(zone.far)) == set(COPY)
