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
        assert "rules do not apply across availability zones" in found["decided_by"]
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
