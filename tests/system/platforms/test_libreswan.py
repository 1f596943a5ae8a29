# SPDX-License-Identifier: Apache-2.0
"""Two Libreswans on a kernel with ESP: what the backend makes of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from controller.ike.libreswan.daemon import Libreswan
from controller.plan.connection import ChildSa, ConnConfig, installed
from ovn_ipsec.model.policy import Auth
from tests.contracts.ike_backend import LOCAL_IP, PEER_IP, config, seen
from tests.functional import pluto
from tests.functional.ends import eventually

pytestmark = pytest.mark.skipif(bool(pluto.missing()), reason=f"needs {pluto.missing()}")
HERE = config(auth=Auth.PSK)
THERE = config("chB", "chA", (PEER_IP, LOCAL_IP), auth=Auth.PSK)
_SEND = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
    for _ in range(7):
        out.sendto(b"x" * 100, ("{}", 6081))
"""


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[pluto.Pluto, pluto.Pluto]]:
    with pluto.two_plutos() as pair:
        yield pair


def children(ike: Libreswan, conn: ConnConfig) -> dict[str, ChildSa]:
    found = [child for sa in seen(ike.observe_sas(conn.name)) for child in sa.children]
    return {child.name: child for child in found if installed(child)}


def reqids(one: pluto.Pluto) -> set[str]:
    words = ["ip", "-n", one.netns, "xfrm", "policy"]
    shown = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    return {shown[n + 1] for n, word in enumerate(shown) if word == "reqid"}


def connect(ike: Libreswan, conn: ConnConfig, peer: Libreswan, far: ConnConfig) -> None:
    for child in ("out", "in"):
        ike.initiate(conn.name, child)
        assert ike.flush() == {}
        eventually(lambda child=child: child in children(ike, conn))
    eventually(lambda: children(peer, far).keys() == {"out", "in"})


def test_a_pair_comes_up_carries_esp_survives_a_kill_and_ends(
    both: tuple[pluto.Pluto, pluto.Pluto],
) -> None:
    """Both children under one IKE_SA, with our reqids; a restarted pluto leaves the kernel's."""
    here, there = (Libreswan(one.places) for one in both)
    for ike, conn in ((here, HERE), (there, THERE)):
        ike.open()
        ike.load(conn)
        assert ike.flush() == {}
    connect(here, HERE, there, THERE)
    (sa,) = seen(here.observe_sas(HERE.name))
    assert {child.name for child in sa.children} == {"out", "in"}
    mine, theirs = children(here, HERE), children(there, THERE)
    assert (mine["out"].spi_out, mine["in"].spi_in) == (theirs["in"].spi_in, theirs["out"].spi_out)
    assert [reqids(one) for one in both] == [{"1", "2"}] * 2

    assert theirs["in"].packets_in == 0
    send = ["ip", "netns", "exec", both[0].netns, "python3", "-c", _SEND.format(PEER_IP)]
    subprocess.run(send, check=True)
    eventually(lambda: children(there, THERE)["in"].packets_in)
    assert children(there, THERE)["out"].packets_in == 0

    # An unchanged connection keeps its SAs, whoever loads it.
    here.close()
    here.open()
    here.load(HERE)
    assert here.flush() == {}
    assert children(here, HERE) == mine

    here.rekey_child(mine["out"].id)
    assert here.flush() == {}
    eventually(lambda: children(here, HERE)["out"].id not in (mine["out"].id, 0))

    both[1].kill()
    assert there.drain().lost
    assert reqids(both[1]) == {"1", "2"}
    both[1].start()
    there.open()
    there.load(THERE)
    assert there.flush() == {}
    assert reqids(both[1]) == {"1", "2"}, "what a killed pluto has left goes on"
    connect(there, THERE, here, HERE)
    old = sa.id
    here.terminate_ike(old)
    assert here.flush() == {}
    eventually(lambda: old not in {one.id for one in seen(here.observe_sas(HERE.name))})
    eventually(lambda: children(here, HERE).keys() == {"out", "in"})

    for ike, conn in ((here, HERE), (there, THERE)):
        ike.unload(conn.name)
        for one in seen(ike.observe_sas(conn.name)):
            ike.terminate_ike(one.id)
        assert ike.flush() == {}
    for ike, conn in ((here, HERE), (there, THERE)):
        eventually(lambda ike=ike, conn=conn: not seen(ike.observe_sas(conn.name)))
        assert seen(ike.observe()).conns == frozenset()
        ike.close()
    assert reqids(both[0]) == set()
