# SPDX-License-Identifier: Apache-2.0
"""One chassis is worth one chassis: h4 was taken over, and h1, h2 and h3 carry traffic.

Over TLS and with RBAC. Whatever h4 writes costs its own pairs and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import helpers
import hostile
import pytest
from helpers import say
from hostile import Cost, Rogue

from ovn_ipsec.lab.cluster.chassis import CONTROLLER, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.settings import ClusterSettings
from ovn_ipsec.lab.waiting import wait_until

SETTINGS = ClusterSettings(chassis=4, tls=True, rbac=True)
HONEST = ("h1", "h2", "h3")
SEIZED = "h4"
TAKEN_IN_S = 3.0
"""What a trick may take to be read, refused and said once."""
GATE_S = 400
LOOKED_AT_S = 6.0
CORES = 0.5
"""More of a processor than this is work for all: what was seen of 4000 silent encaps was 3.8."""
LOG_LINES = 60
"""More lines than this for one trick are a log that one chassis can fill."""

pytestmark = pytest.mark.parametrize("cluster", [SETTINGS], ids=["tls-rbac-hostile"], indirect=True)


@pytest.fixture
def besieged(product: Cluster) -> Iterator[tuple[Cluster, Rogue]]:
    """Everything is encrypted, h4 obeys somebody else from now on, and its rows are as before."""
    cluster, seized = product, product.chassis[SEIZED]
    honest = [host for name, host in cluster.chassis.items() if name != SEIZED]
    for host in (cluster.central, *honest):
        for daemon in host.daemons.values():
            if not daemon.is_alive:
                daemon.start()
    if seized.daemons[CONTROLLER].is_alive:
        helpers.revive(cluster)
        helpers.enforce(cluster)
        helpers.wait_all_encrypted(cluster)
        seized.daemons[CONTROLLER].kill()
        leave_ports(seized)
    rogue = Rogue(cluster, seized)
    try:
        rogue.undo()
        hostile.wait_honest(cluster, HONEST)
        hostile.wait_flows(cluster, HONEST)
        yield cluster, rogue
    finally:
        rogue.close()
    # The server hangs up on who says nothing for long, so this is another connection.
    after = Rogue(cluster, seized)
    try:
        after.undo()
    finally:
        after.close()


def leave_ports(chassis: Chassis) -> None:
    """End ovn-controller as for an upgrade: its rows, ports and flows stay."""
    chassis.appctl("ovn-controller", "exit", "--restart")
    daemon = chassis.daemons["ovn-controller"]
    wait_until(lambda: not daemon.is_alive, 60, f"ovn-controller of {chassis.name} gone")


@contextlib.contextmanager
def without_ovn_controllers(hosts: list[Chassis]) -> Iterator[None]:
    """Only our own programs read what comes: ovn-controller would make a port for each encap."""
    for host in hosts:
        leave_ports(host)
    try:
        yield
    finally:
        for host in hosts:
            host.daemons["ovn-controller"].start()


@pytest.mark.parametrize("trick", hostile.TRICKS)
def test_what_one_chassis_writes_costs_the_others_nothing(
    besieged: tuple[Cluster, Rogue], trick: str
) -> None:
    """No clear packet, none lost, SAs and state of the others as they were, and little work."""
    cluster, rogue = besieged
    honest = [cluster.chassis[name] for name in HONEST]
    before = _of_honest(cluster)
    lines = {one.name: _lines(one) for one in honest}
    with contextlib.ExitStack() as stack:
        if trick == "1500-ports":
            stack.enter_context(without_ovn_controllers(honest))
            stack.callback(rogue.undo)
        pings = [
            stack.enter_context(helpers.traffic(cluster, *ends))
            for ends in (("w1", "w2"), ("w2", "w3"))
        ]
        start = Cost.now(honest)
        hostile.TRICKS[trick](rogue)
        pings[0].run(TAKEN_IN_S)
        taken_in = Cost.now(honest)
        pings[0].run(LOOKED_AT_S)
        end = Cost.now(honest)
        lost = [ping.lost for ping in pings]
        first, later = taken_in.cores_since(start), end.cores_since(taken_in)
        figures = {name: f"{first[name]:.2f}/{later[name]:.2f}" for name in HONEST}
        said = {one.name: _lines(one) - lines[one.name] for one in honest}
        say("hostile", trick=trick, lost=lost, cores=figures, lines=said)
        for ping in pings:
            ping.assert_encrypted()
        assert lost == [0, 0]
        # SAs that are up say nothing of whether new ones could be made.
        assert hostile.rekeys(cluster.chassis["h1"], cluster.chassis["h2"])
    # Three ovn-controllers have just started: an answer may take its time, SPIs do not come back.
    wait_until(lambda: _of_honest(cluster) == before, helpers.PATIENCE_S, "the SAs as they were")
    assert max(later.values()) < CORES
    if trick in hostile.GOES_ON:
        assert max(first.values()) < CORES
    assert max(said.values()) < LOG_LINES
    for one in honest:
        assert not {"\x1b", "\x9b", "\x07", "\r"} & set(_log(one))
        assert not any(line.startswith(hostile.FORGED) for line in _log(one).split("\n"))
    if trick in hostile.IS_WAITED_FOR:
        rogue.undo()
        cluster.chassis[SEIZED].daemons[CONTROLLER].start()
    wait_until(lambda: helpers.state(cluster).startswith("enforced"), GATE_S, "enforced again")


def _of_honest(cluster: Cluster) -> dict[tuple[str, str], tuple[str, ...]]:
    return {
        (name, str(pair["peer"])): tuple(pair["spis"])
        for name in HONEST
        for pair in helpers.peers(cluster.chassis[name])
        if pair["peer"] in HONEST
    }


def _log(chassis: Chassis) -> str:
    """As its bytes say: reading it as text would make one line end of all kinds."""
    return (chassis.logs / f"{CONTROLLER}.log").read_bytes().decode(errors="replace")


def _lines(chassis: Chassis) -> int:
    return _log(chassis).count("\n")
