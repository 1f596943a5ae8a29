# SPDX-License-Identifier: Apache-2.0
"""controller.stock: the lines that scripts for ovs-monitor-ipsec look for."""

from __future__ import annotations

import ast
import json
import re
from ipaddress import ip_address, ip_network

import pytest

from controller import stock
from controller.plan.agent import Agent
from controller.plan.connection import ChildSa, ConnName, IkeSa, conn_name
from controller.plan.pair.facts import Context
from controller.plan.ports.tunnels import TunnelPort
from controller.stock import NONE, kernel
from controller.xfrm.values import (
    Action,
    Mode,
    PolicyDirection,
    Selector,
    Template,
    XfrmPolicy,
    XfrmState,
)
from ovn_ipsec.model.policy import Phase
from ovn_ipsec.schema.open_vswitch import CredentialFiles
from tests import worlds
from tests.worlds import A, policy

FILES = CredentialFiles(certificate="/etc/cert.pem", private_key="/etc/key.pem", ca_cert="/etc/ca")
HEAD = re.compile(r"Interface name: (\S+) v(\d+) \((CONFIGURED|INVALID.*|REMOVED)\)")
STOCK = (
    "Tunnel Type",
    "Local IP",
    "Remote IP",
    "Address Family",
    "SKB mark",
    "Local cert",
    "Local name",
    "Local key",
    "Remote cert",
    "Remote name",
    "CA cert",
    "PSK",
    "Custom Options",
    "Ofport",
    "CFM state",
)
"""In the order of IPsecTunnel.unixctl_config_tmpl and unixctl_status_tmpl."""


def agent(rows: worlds.Rows, phase: Phase = Phase.ENFORCE) -> Agent:
    """One that has decided every pair."""
    made = Agent(A)
    made.put(policy(phase), rows.items())
    for name in made.unnumbered():
        made.put_reqids(name, (1, 2))  # type: ignore[arg-type]
    for name in made.due(100.0, 99):
        made.decide(name, Context(phase=phase, now=100.0, this_chassis=A))
    return made


def port(name: str, remote: str, local: str = "", kind: str = "geneve") -> TunnelPort:
    """A tunnel port as ovn-controller makes it."""
    options = {"remote_ip": remote, "csum": "true"} | ({"local_ip": local} if local else {})
    return TunnelPort(
        row=name,
        name=name,
        chassis_id=f"{worlds.B}@{remote}",
        type=kind,
        options=tuple(sorted(options.items())),
        mark=None,
    )


def selector(src: str, dst: str, **more: int) -> Selector:
    return Selector(src=ip_network(src), dst=ip_network(dst), **more)


def protecting(found: Selector) -> XfrmPolicy:
    """A policy that asks for ESP."""
    template = Template(
        src=ip_address("10.0.0.1"),
        dst=ip_address("10.0.0.2"),
        proto=50,
        spi=0,
        reqid=1,
        mode=Mode.TRANSPORT,
    )
    return XfrmPolicy(
        direction=PolicyDirection.OUT,
        selector=found,
        priority=1,
        action=Action.ALLOW,
        templates=(template,),
    )


NOTHING = kernel((), ())


def up(made: Agent, state: str = "ESTABLISHED") -> ConnName:
    """Let the pair with 10.0.0.2 have an IKE_SA with one child."""
    (name,) = made.records
    child = ChildSa(name="out", id=7, state="INSTALLED", reqid=1, spi_in=0xC0FFEE, spi_out=2)
    sa = IkeSa(
        conn=name,
        id=3,
        state=state,
        initiator=True,
        initiator_spi=1,
        children=(child,),
        remote_id="chB",
    )
    made.put_sas(name, (sa,))
    return name


def test_a_tunnel_is_shown_with_every_line_of_ovs_monitor_ipsec():
    """In its order and columns; what has no counterpart says so."""
    text = stock.tunnels(
        agent(worlds.two_chassis()), [port("ovn-chB-0", "10.0.0.2")], FILES, NOTHING
    )
    head, *lines = text.splitlines()
    found = HEAD.fullmatch(head)
    assert found is not None
    assert found.groups() == ("ovn-chB-0", "1", "CONFIGURED")
    settings = {line[2:18].strip().removesuffix(":"): line[18:] for line in lines[: len(STOCK)]}
    assert tuple(settings) == STOCK
    assert [settings[key] for key in ("Tunnel Type", "Local IP", "Remote IP")] == [
        "geneve",
        "10.0.0.1",
        "10.0.0.2",
    ]
    assert (settings["Local cert"], settings["Remote name"]) == ("/etc/cert.pem", "chB")
    assert (settings["PSK"], settings["Custom Options"]) == ("None", "{}")
    assert lines[len(STOCK) :] == [
        "  Pair state:     blocked",
        "Kernel policies installed:",
        "Kernel security associations installed:",
        "IPsec connections that are active:",
    ]


def test_what_the_kernel_holds_stands_under_its_tunnel():
    """Policies as `ip xfrm` prints them; what denies is not of a tunnel."""
    blocking = XfrmPolicy(
        direction=PolicyDirection.OUT,
        selector=selector("10.0.0.1/32", "10.0.0.2/32", proto=17),
        priority=1,
        action=Action.BLOCK,
    )
    found = kernel(
        [
            protecting(selector("10.0.0.1/32", "10.0.0.2/32", proto=17, dport=6081, dport_mask=1)),
            protecting(selector("10.0.0.2/32", "10.0.0.1/32", proto=99, sport=6, sport_mask=1)),
            protecting(selector("10.0.0.1/32", "10.0.0.9/32")),
            blocking,
        ],
        [
            XfrmState(
                src=ip_address("10.0.0.1"),
                dst=ip_address("10.0.0.2"),
                spi=0xC0FFEE,
                proto=50,
                reqid=1,
                mode=Mode.TRANSPORT,
            )
        ],
    )
    text = stock.tunnels(agent(worlds.two_chassis()), (), None, found)
    assert text.partition("Kernel policies")[2].splitlines() == [
        " installed:",
        "  src 10.0.0.1/32 dst 10.0.0.2/32 proto udp dport 6081",
        "  src 10.0.0.2/32 dst 10.0.0.1/32 proto 99 sport 6",
        "Kernel security associations installed:",
        "  sel src 10.0.0.1/32 dst 10.0.0.2/32 spi 0x00c0ffee reqid 1",
        "IPsec connections that are active:",
    ]


def test_active_connections_are_keyed_by_port():
    """As JSON that Python reads, too: that program answers what only Python reads."""
    made = agent(worlds.two_chassis())
    up(made)
    text = stock.connections(made, [port("ovn-chB-0", "10.0.0.2", local="10.0.0.1")])
    assert ast.literal_eval(text) == json.loads(text)
    assert json.loads(text) == {
        "ovn-chB-0": {
            "ovn-chB-0-1[3]": "ovn-chB-0-1[3]: ESTABLISHED, 10.0.0.1[chA]...10.0.0.2[chB]",
            "ovn-chB-0-out-1{7}": "ovn-chB-0-out-1{7}:  INSTALLED, TRANSPORT, reqid 1,"
            " ESP SPIs: 00c0ffee_i 00000002_o, 10.0.0.1/32 === 10.0.0.2/32",
        }
    }
    shown = stock.tunnels(made, [port("ovn-chB-0", "10.0.0.2")], None, NOTHING)
    assert "  ovn-chB-0-1[3]: ESTABLISHED" in shown.partition("are active:\n")[2]


def test_who_has_not_proved_who_it_is_has_no_name():
    """Whatever it says of itself."""
    made = agent(worlds.two_chassis())
    up(made, "CONNECTING")
    assert "CONNECTING, 10.0.0.1[chA]...10.0.0.2[%any]" in stock.connections(made, ())


def test_a_pair_without_a_port_goes_by_its_connection():
    """A port of another type or address is not its own."""
    made = agent(worlds.two_chassis())
    (name,) = made.records
    others = [port("a", "10.0.0.9"), port("b", "10.0.0.2", kind="vxlan"), port("c", "junk")]
    assert f"Interface name: {name} v1" in stock.tunnels(made, others, None, NOTHING)
    assert stock.connections(made, others) == "{}"


def test_tunnels_are_sorted_by_their_ports():
    """Each pair with its own."""
    made = agent(worlds.three_chassis())
    ports = [port("ovn-chC-0", "10.0.0.3"), port("ovn-chB-0", "10.0.0.2")]
    shown = stock.tunnels(made, ports, None, NOTHING)
    assert re.findall(r"name: (\S+)", shown) == ["ovn-chB-0", "ovn-chC-0"]
    assert conn_name(next(iter(made.records.values())).pair) not in shown


@pytest.mark.parametrize("rows", [{}, worlds.two_chassis()])
def test_without_a_tunnel_to_encrypt_it_says_so(rows: worlds.Rows):
    """In the words of that program; a pair that may be clear is none."""
    made = agent(rows, Phase.OFF)
    assert stock.tunnels(made, (), None, NOTHING) == NONE
    assert stock.connections(made, ()) == "{}"
