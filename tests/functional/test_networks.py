# SPDX-License-Identifier: Apache-2.0
"""northd_ext.observe.networks on real databases and a real ovn-northd; we play ovn-controller."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ovs.poller
import pytest
from ovsdb import Central, central, missing_programs

from northd_ext.observe.networks import Networks, Switches
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.ovsdb.schemas import NORTHBOUND, SOUTHBOUND, SOUTHBOUND_NETWORKS
from ovn_ipsec.ovsdb.session import Session
from ovn_ipsec.policy.topology import Membership

pytestmark = pytest.mark.skipif(
    bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"
)

PAYMENTS = frozenset(["payments"])
BOTH = PAYMENTS | {"web"}
HOST = Membership(hosts=PAYMENTS, reaches=PAYMENTS)
REACHED = Membership(reaches=PAYMENTS)


@pytest.fixture
def ovn(tmp_path: Path) -> Iterator[Central]:
    """Two switches with a port each, payments on hv1 and hv2, web on hv3; nothing joins them."""
    with central(tmp_path) as made:
        for number in range(1, 6):
            made.sbctl("chassis-add", f"hv{number}", "geneve", f"10.0.0.{number}")
            made.sbctl("set", "Chassis", f"hv{number}", f"hostname=host{number}.example")
        made.nbctl("ls-add", "payments", "--", "ls-add", "web")
        for port, switch in (("p1", "payments"), ("p2", "payments"), ("w1", "web")):
            made.nbctl("lsp-add", switch, port)
        made.nbctl("--wait=sb", "sync")
        for port, chassis in (("p1", "hv1"), ("p2", "hv2"), ("w1", "hv3")):
            made.sbctl("lsp-bind", port, chassis)
        yield made


@pytest.fixture
def networks(ovn: Central) -> Iterator[Networks]:
    """Those of the southbound, wanted and known."""
    made = Networks(Session(ovn.remote("sb"), SOUTHBOUND_NETWORKS, leader_only=True))
    made.want(True)
    drive(made, made.known)
    yield made
    made.want(False)


def drive(networks: Networks, fact: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Run as the daemon does, until a fact holds."""
    end = time.monotonic() + stretched(timeout_s)
    while not fact():
        assert time.monotonic() < end, networks.topology().memberships(BOTH)
        networks.receive()
        poller = ovs.poller.Poller()
        networks.wait(poller)
        poller.timer_wait(100)
        poller.block()


def see(networks: Networks, **expected: Membership) -> None:
    """Wait until exactly these chassis have to do with payments."""
    drive(networks, lambda: networks.topology().memberships(PAYMENTS) == expected)


def join(ovn: Central, switch: str, router: str = "r", *, number: int = 1) -> None:
    """Connect a switch with a router."""
    near, far = f"{switch}-{router}", f"{router}-{switch}"
    mac, net = f"00:00:00:00:01:{number:02}", f"10.1.{number}.1/24"
    ovn.nbctl(
        *("--", "lrp-add", router, far, mac, net),
        *("--", "lsp-add", switch, near),
        *("--", "lsp-set-type", near, "router"),
        *("--", "lsp-set-options", near, f"router-port={far}"),
    )


def test_chassis_come_and_go_with_ports_and_routers(ovn: Central, networks: Networks) -> None:
    """Bound ports make hosts, a router reaches, and each goes with its row."""
    see(networks, hv1=HOST, hv2=HOST)
    assert networks.topology().exists("payments")
    assert not networks.topology().exists("pay")
    ovn.nbctl("lr-add", "r")
    join(ovn, "payments")
    join(ovn, "web", number=2)
    see(networks, hv1=HOST, hv2=HOST, hv3=REACHED)
    key = ovn.sbctl("--bare", "--columns=tunnel_key", "find", "Datapath", "external_ids:name=web")
    assert networks.topology().vnis(frozenset(["web"])) == {int(key)}
    ovn.sbctl("lsp-unbind", "p2")
    see(networks, hv1=HOST, hv3=REACHED)
    ovn.nbctl("lrp-del", "r-web")
    see(networks, hv1=HOST)
    ovn.nbctl("ls-del", "payments")
    see(networks)
    drive(networks, lambda: not networks.topology().exists("payments"))


def test_requested_chassis_count_by_name_and_by_hostname(ovn: Central, networks: Networks) -> None:
    """Before a port is bound, all of them; a chassis that learns its hostname later, too."""
    ovn.nbctl("lsp-set-options", "p1", "requested-chassis=hv4, host5.example,late.example")
    see(
        networks,
        **{"late.example": HOST, "host5.example": HOST},
        hv1=HOST,
        hv2=HOST,
        hv4=HOST,
        hv5=HOST,
    )
    ovn.sbctl("set", "Chassis", "hv3", "hostname=late.example")
    drive(networks, lambda: "hv3" in networks.topology().memberships(PAYMENTS))
    ovn.sbctl("set", "Chassis", "hv3", "hostname=other.example")
    drive(networks, lambda: "hv3" not in networks.topology().memberships(PAYMENTS))
    ovn.sbctl("chassis-del", "hv5")
    drive(networks, lambda: "hv5" not in networks.topology().memberships(PAYMENTS))


def test_every_gateway_of_a_distributed_router_is_reached(ovn: Central, networks: Networks) -> None:
    """And hosts what it may send on; the standby one, too; it goes with its row in HA_Chassis."""
    ovn.nbctl("lr-add", "r")
    join(ovn, "payments")
    ovn.nbctl("lrp-add", "r", "r-out", "00:00:00:00:02:01", "192.0.2.1/24")
    ovn.nbctl("lrp-set-gateway-chassis", "r-out", "hv4", "20")
    see(networks, hv1=HOST, hv2=HOST, hv4=HOST)
    ovn.nbctl("lrp-set-gateway-chassis", "r-out", "hv5", "10")
    see(networks, hv1=HOST, hv2=HOST, hv4=HOST, hv5=HOST)
    ovn.nbctl("lrp-del-gateway-chassis", "r-out", "hv4")
    see(networks, hv1=HOST, hv2=HOST, hv5=HOST)


def test_a_gateway_router_is_where_it_is_to_be(ovn: Central, networks: Networks) -> None:
    """Its ports and their peers are l3gateway ports, and name its chassis before they are bound."""
    ovn.nbctl("create", "Logical_Router", "name=gw", "options:chassis=hv4")
    join(ovn, "web", "gw")
    join(ovn, "payments", "gw", number=2)
    see(networks, hv1=HOST, hv2=HOST, hv3=REACHED, hv4=HOST)


def test_odd_ports(ovn: Central, networks: Networks) -> None:
    """A nested port is where its parent is, a localport nowhere, a localnet port joins nothing."""
    ovn.nbctl("lsp-add", "payments", "nested", "w1", "7")
    see(networks, hv1=HOST, hv2=HOST, hv3=HOST)
    ovn.nbctl("lsp-del", "nested")
    for switch in ("payments", "web"):
        ovn.nbctl(
            "lsp-add", switch, f"{switch}-net", "--", "lsp-set-type", f"{switch}-net", "localnet"
        )
        ovn.nbctl("lsp-set-options", f"{switch}-net", "network_name=physnet")
    ovn.nbctl("lsp-add", "payments", "meta", "--", "lsp-set-type", "meta", "localport")
    ovn.nbctl("lsp-set-options", "meta", "requested-chassis=hv5")
    ovn.nbctl("--wait=sb", "sync")
    see(networks, hv1=HOST, hv2=HOST)


def test_nothing_is_monitored_unless_wanted(ovn: Central) -> None:
    """No connection, no rows, nothing known; wanted again it is known anew."""
    networks = Networks(Session(ovn.remote("sb"), SOUTHBOUND_NETWORKS, leader_only=True))
    assert not any(networks.receive() for _ in range(3))
    networks.wait(ovs.poller.Poller())
    networks.want(False)
    assert not networks.known()
    networks.want(True)
    networks.want(True)
    assert not networks.known()
    drive(networks, networks.known)
    assert set(networks.topology().memberships(PAYMENTS)) == {"hv1", "hv2"}
    networks.want(False)
    assert not networks.known()
    assert networks.topology().memberships(PAYMENTS) == {}
    ovn.sbctl("lsp-unbind", "p2")
    networks.want(True)
    drive(networks, networks.known)
    assert set(networks.topology().memberships(PAYMENTS)) == {"hv1"}
    networks.want(False)
    assert "Port_Binding" not in SOUTHBOUND["tables"]


def test_known_is_said_even_of_an_empty_database(tmp_path: Path) -> None:
    """A southbound without a single row is known, too: run() says so."""
    with central(tmp_path) as made:
        networks = Networks(Session(made.remote("sb"), SOUTHBOUND_NETWORKS))
        networks.want(True)
        said = False
        end = time.monotonic() + stretched(30)
        while not said:
            assert time.monotonic() < end
            said = networks.receive()
            time.sleep(0.02)
        assert networks.known()
        networks.want(False)


def test_rows_that_went_unseen_are_gone_after_a_reload(ovn: Central, networks: Networks) -> None:
    """A restarted server sends everything anew, without a word of what has gone meanwhile."""
    ovn.nbctl("lsp-set-options", "w1", "requested-chassis=host5.example")
    drive(networks, lambda: "hv5" in networks.topology().memberships(BOTH))
    ovn.processes["ovn-northd"].stop()
    ovn.processes["ovsdb-sb"].stop()
    networks.receive()
    see(networks, hv1=HOST, hv2=HOST)
    ovn.serve("sb")
    ovn.sbctl("lsp-unbind", "p1")
    ovn.sbctl("chassis-del", "hv5")
    where = [["logical_port", "==", "p2"]]
    ovn.query("sb", {"op": "delete", "table": "Port_Binding", "where": where})
    assert networks.known()
    see(networks)
    drive(networks, lambda: "hv5" not in networks.topology().memberships(BOTH))
    ovn.processes["ovsdb-sb"].stop()
    networks.receive()
    ovn.serve("sb")
    tables = ("Logical_Flow", "Logical_DP_Group", "Multicast_Group", "IP_Multicast")
    tables = (*tables, "Port_Binding", "Datapath_Binding")
    ovn.query("sb", *({"op": "delete", "table": table, "where": []} for table in tables))
    assert networks.topology().exists("web")
    drive(networks, lambda: not networks.topology().exists("web"))


def test_a_server_that_lacks_a_column_leaves_networks_unknown(ovn: Central) -> None:
    """It refuses the whole monitor: unknown, never empty, and nothing else is hurt."""
    newer = copy.deepcopy(SOUTHBOUND_NETWORKS)
    newer["tables"]["Port_Binding"]["columns"]["not_there"] = {"type": "string"}
    networks = Networks(Session(ovn.remote("sb"), newer))
    networks.want(True)
    end = time.monotonic() + stretched(0.5)
    while time.monotonic() < end:
        assert not networks.receive()
        time.sleep(0.02)
    assert not networks.known()
    networks.want(False)


def test_switches_say_what_their_networks_want(ovn: Central) -> None:
    """Texts as they are; one name is one network, and a contradiction is no policy."""
    session = Session(ovn.remote("nb"), NORTHBOUND)
    switches = Switches(session)
    session.open()

    def say(**expected: str | None) -> None:
        """Wait until they say exactly this."""
        end = time.monotonic() + stretched(30)
        while switches.switches() != expected:
            assert time.monotonic() < end, switches.switches()
            session.receive()
            switches.take_in(session.changes())
            time.sleep(0.02)

    say(payments=None, web=None)
    ovn.nbctl("set", "Logical_Switch", "web", "other_config:ovn-ipsec=any old text")
    say(payments=None, web="any old text")
    ovn.nbctl("set", "Logical_Switch", "web", "name=payments")
    say(payments="any old text")
    first, second = ovn.nbctl("--bare", "--columns=_uuid", "list", "Logical_Switch").split()
    ovn.nbctl("set", "Logical_Switch", first, "other_config:ovn-ipsec=require")
    ovn.nbctl("set", "Logical_Switch", second, "other_config:ovn-ipsec=prefer")
    say(payments="prefer, require")
    ovn.processes["ovn-northd"].stop()
    ovn.processes["ovsdb-nb"].stop()
    session.receive()
    ovn.serve("nb")
    ovn.nbctl("ls-del", first)
    say(payments="prefer")
    ovn.nbctl("ls-add", "")
    before = switches.switches()
    say(payments="prefer", **{"": None})
    assert before == {"payments": "prefer"}
    switches = Switches(session)
    switches.take_in(session.changes())
    assert switches.switches() == {"payments": "prefer", "": None}
    session.close()
