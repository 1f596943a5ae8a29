# SPDX-License-Identifier: Apache-2.0
"""The controller on a host that lacks something: what it says, and whom it keeps waiting."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alone import MISSING, OVS_SCHEMA, SB_SCHEMA, Host, alone
from ovsdb import wait_until

from controller.plan.boot import BootGuard
from controller.plan.guard import DENY_ALL
from controller.state_dir import StateDir
from ovn_ipsec.model.policy import Phase

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_SYS_ADMIN and CAP_NET_ADMIN"),
]

WAKES_MAX = 40
"""In two seconds; attempts to connect and looks at what is lacking are a few a second at most."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host on which nothing runs."""
    with alone(tmp_path) as found:
        yield found


def keep_guard(host: Host) -> None:
    """Leave a guard that an earlier boot has kept."""
    state = StateDir(host.folder / "state")
    state.open()
    assert state.keep_boot_guard(BootGuard(guard=DENY_ALL, latched=frozenset(), boot="another"))


@pytest.mark.parametrize(
    ("lacking", "shown"),
    [
        ("database", "no local database: unix:.*/ovs.sock: No such file or directory"),
        ("row", "the local database has no row in table Open_vSwitch"),
        ("system-id", "no system-id: set external_ids:system-id"),
        ("ovn-remote", "ovn-remote is not set: set external_ids:ovn-remote"),
        ("remote that is one", "Open_vSwitch . external_ids:ovn-remote='junk': expected"),
    ],
    ids=lambda value: value.partition(":")[0].replace(" ", "-"),
)
@pytest.mark.parametrize("guarded", [False, True], ids=["no guard", "guard kept"])
def test_a_host_without_anybody_to_ask_keeps_nobody_waiting(
    host: Host, lacking: str, shown: str, guarded: bool
) -> None:
    """READY=1 at once, and where a guard is kept once it stands; what is lacking is said.

    And it sleeps until something comes.
    """
    if guarded:
        keep_guard(host)
    if lacking != "database":
        host.serve("ovs", OVS_SCHEMA)
    if lacking not in ("database", "row"):
        host.vsctl("init")
        found = {
            "system-id": {"ovn_remote": "tcp:192.0.2.1:6642"},
            "ovn-remote": {"system_id": "hv1"},
            "remote that is one": {"system_id": "hv1", "ovn_remote": "junk"},
        }
        host.set(**found[lacking])
    host.start()
    host.hears("READY=1")
    if guarded:
        assert "table inet ovn_ipsec" in host.net.run("nft", "list", "ruleset")
    host.hears(f"STATUS=waiting: {shown}")
    said = shown.removeprefix("no local database: ").replace("'", ".")
    wait_until(lambda: re.search(said, host.log()) is not None, what="the log says so")
    before = host.wakes()
    time.sleep(2)
    assert host.wakes() - before < WAKES_MAX


def test_a_host_that_can_ask_waits_for_the_policy(host: Host) -> None:
    """No tunnel is made before it is known what may be clear."""
    host.serve("ovs", OVS_SCHEMA)
    host.vsctl("init")
    host.set(system_id="hv1", ovn_remote=f"unix:{host.folder}/sb.sock")
    host.start()
    host.hears("STATUS=waiting: southbound not reached: .*/sb.sock: No such file or directory")
    assert "READY=1" not in host.heard
    host.serve("sb", SB_SCHEMA)
    host.sbctl("init")
    host.hears("READY=1")
    host.hears("STATUS=waiting: a policy: the southbound has none of ovn-ipsec-northd")


def test_each_thing_that_is_waited_for_is_said_in_turn(host: Host) -> None:
    """By STATUS= and in the log, once each, while a host is set up step by step."""
    host.start()
    host.hears("STATUS=waiting: no local database")
    host.serve("ovs", OVS_SCHEMA)
    host.hears("STATUS=waiting: the local database has no row")
    host.vsctl("init")
    host.hears("STATUS=waiting: no system-id")
    host.set(system_id="hv1")
    host.hears("STATUS=waiting: ovn-remote is not set")
    host.set(ovn_remote=f"unix:{host.folder}/sb.sock")
    host.hears("STATUS=waiting: southbound not reached")
    host.serve("sb", SB_SCHEMA)
    host.sbctl("init")
    host.hears("STATUS=waiting: a policy")
    host.sbctl("chassis-add", "hv1", "geneve", "10.0.0.1")
    host.publish(5, Phase.PREPARE)
    host.hears(
        "STATUS=waiting: cannot reach the IKE daemon: .*; preparing generation 5, 0 of 0 pairs"
    )
    host.publish(6, Phase.OFF)
    host.hears("STATUS=off generation 6")
    said = re.findall(r"\|waiting reason='?([a-z -]+)", host.log())
    assert said == [
        "the local database has no row in table ",
        "no system-id",
        "ovn-remote is not set",
        "a policy",
    ]
    assert "|waiting_over " in host.log()
