# SPDX-License-Identifier: Apache-2.0
"""What a host and the rows about it say, beside its controller."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

import pytest

from ovn_ipsec.cli.doctor.checkup import Check
from ovn_ipsec.cli.doctor.hostcheck import (
    HAVE_ADDRESS,
    HELD_BACK,
    LOOK,
    MAKE_ROW,
    MANAGED,
    MEET,
    NAMED,
    NEWER_OVN,
    RESTART,
    TAKE_BACK,
    WAIT,
    Host,
    examine_host,
    holds_back,
)
from ovn_ipsec.cli.view import RawSouthbound, Southbound, parse_southbound
from ovn_ipsec.schema.encap import RawChassis
from tests.unit.cli.policy_world import chassis, hosts

HERE = ip_address("10.0.0.1")


def rows(*found: RawChassis) -> Southbound:
    return parse_southbound(RawSouthbound(external_ids={}, chassis=found))


def bad(checks: Iterable[Check]) -> list[tuple[str, str, str]]:
    return [(c.part, c.said, c.next_step) for c in checks if not c.is_well]


def test_a_host_that_is_as_its_rows_say_is_well():
    """Each part is told."""
    threads = {"handler": 4, "revalidator": 2}
    host = Host(wanted=frozenset({HERE}), threads=threads, southbound=rows(*hosts(3)))
    checks = examine_host("hv1", host)
    assert [] == bad(checks)
    assert [("Chassis row", "geneve 10.0.0.1"), ("ovs-vswitchd", "4 handler threads")] == [
        (check.part, check.said) for check in checks
    ]
    assert {""} == {check.next_step for check in checks}


@pytest.mark.parametrize(
    ("marks", "config", "held"),
    [
        ({MANAGED: "true"}, {WAIT: "true"}, True),
        # As ovs-ctl sets it while it restarts ovs-vswitchd.
        ({}, {WAIT: "true"}, False),
        ({MANAGED: "true"}, {}, False),
        ({MANAGED: "true"}, {WAIT: "false"}, False),
        ({MANAGED: "false"}, {WAIT: "false"}, False),
        ({}, {}, False),
    ],
)
def test_an_ovn_that_holds_ovs_vswitchd_back_is_named(
    marks: dict[str, str], config: dict[str, str], held: bool
):
    """It forwards until Open vSwitch is restarted, and then nothing."""
    host = Host(held_back=holds_back(marks, config))
    expected = [("ovn-controller", HELD_BACK, NEWER_OVN)] if held else []
    assert expected == bad(examine_host("hv1", host))


def test_a_chassis_without_a_row_is_not_well():
    """Nobody can be its peer, so no pair is missing."""
    found = bad(examine_host("hv9", Host(southbound=rows(*hosts(2)))))
    assert [("Chassis row", "none in the southbound", MAKE_ROW)] == found


def test_who_has_its_address_instead_is_named():
    """Its own row cannot be made beside that one."""
    host = Host(wanted=frozenset({HERE}), southbound=rows(*hosts(2)))
    said = "none in the southbound; hv1 has 10.0.0.1"
    assert [("Chassis row", said, TAKE_BACK)] == bad(examine_host("hv9", host))


def test_an_address_that_another_one_claims_is_not_well():
    """Under whatever tunnel type."""
    host = Host(southbound=rows(*hosts(1), chassis("rogue", "10.0.0.1", types=("vxlan",))))
    found = bad(examine_host("hv1", host))
    assert ("Chassis row", "rogue claims 10.0.0.1 too", TAKE_BACK) in found


@pytest.mark.parametrize("kinds", [(), ("stt",)])
def test_a_row_without_an_encap_that_ipsec_covers_is_not_well(kinds: tuple[str, ...]):
    """Whatever tunnels it has go clear."""
    host = Host(southbound=rows(chassis("hv1", "10.0.0.1", types=kinds)))
    found = bad(examine_host("hv1", host))
    assert [("Chassis row", "no encap that IPsec covers", MEET)] == found


@pytest.mark.parametrize(
    ("number", "more"), [(1, ""), (NAMED, ""), (NAMED + 2, " and 2 more")], ids=str
)
def test_peers_whose_addresses_do_not_meet_ours_are_named(number: int, more: str):
    """The first few, and how many more."""
    others = [chassis(f"p{n}", f"fd00::{n}") for n in range(1, number + 1)]
    ((part, said, step),) = bad(examine_host("hv1", Host(southbound=rows(*hosts(2), *others))))
    assert (part, step) == ("peers", MEET)
    assert said.startswith(
        "no tunnel is possible: this chassis has geneve IPv4; p1 has geneve IPv6"
    )
    assert said.count(" has ") == 1 + min(number, NAMED)
    assert said.endswith(more)


def test_an_encap_address_that_the_host_does_not_have_is_not_well():
    """Nothing can be sent from it."""
    (found,) = bad(examine_host(None, Host(absent=frozenset({HERE}))))
    said = "10.0.0.1 is an encap address of this chassis, but this host does not have it"
    assert ("address", said, HAVE_ADDRESS) == found


@pytest.mark.parametrize(
    ("threads", "started_s", "is_well", "said"),
    [
        ({"handler": 2, "revalidator": 1}, 10.0, True, "2 handler threads"),
        ({"handler": 2, "revalidator": 1}, None, True, "2 handler threads"),
        ({"handler": 2, "revalidator": 1}, 9.9, False, "started when this machine had been up"),
        ({"revalidator": 1}, 10.0, False, "no handler thread: "),
        ({}, 9.9, True, "no datapath yet"),
    ],
)
def test_a_datapath_without_handler_threads_is_not_well(
    threads: dict[str, int], started_s: float | None, is_well: bool, said: str
):
    """Every packet that needs one is lost, for ever."""
    (check,) = examine_host("hv1", Host(threads=threads, started_s=started_s))
    assert (check.part, check.is_well) == ("ovs-vswitchd", is_well)
    assert check.said.startswith(said)
    assert check.next_step == ("" if is_well else RESTART)


def test_what_cannot_be_seen_is_neither_well_nor_bad():
    """It is named with its reason."""
    (check,) = examine_host("hv1", Host(unseen={"Chassis row": "no answer\x1b"}))
    assert (check.part, check.is_well, check.next_step) == ("Chassis row", None, LOOK)
    assert check.said == "no answer?"


def test_without_a_name_no_row_is_missed():
    """Nobody knows which it would be."""
    assert () == examine_host(None, Host(southbound=rows(*hosts(2))))
