# SPDX-License-Identifier: Apache-2.0
"""Two Libreswans on a kernel with ESP: what the backend makes of them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from controller.ike.backend import IkeBackend
from controller.ike.libreswan.daemon import Libreswan
from controller.plan.connection import ChildSa, ConnConfig, installed
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.policy import Auth
from tests.contracts.ike_backend import LOCAL_IP, PEER_IP, config, identity, secret, seen
from tests.functional import pluto, test_ike_mixed
from tests.functional.ends import eventually

_SEND = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
    for _ in range({}):
        out.sendto(b"x" * 100, ("{}", 6081))
"""
# What leaves by the wire: ESP's packets and Geneve's, until it is told to end.
_WATCH = """
import select, socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("e0", 0))
print("ready", flush=True)
esp = clear = 0
while True:
    ready = select.select([wire, sys.stdin], [], [])[0]
    if wire in ready:
        frame, where = wire.recvfrom(65536)
        if where[2] == socket.PACKET_OUTGOING and frame[12:14] == b"\\x08\\x00":
            esp += frame[23] == 50
            clear += frame[23] == 17 and frame[36:38] == (6081).to_bytes(2, "big")
    elif sys.stdin in ready:
        break
print(esp, clear)
"""


@pytest.fixture(scope="module", params=pluto.BUILDS, ids=lambda build: build.version)
def both(request: pytest.FixtureRequest) -> Iterator[tuple[pluto.Pluto, pluto.Pluto]]:
    pluto.demand(request.param)
    with pluto.two_plutos(request.param) as pair:
        yield pair


def children(ike: IkeBackend, conn: ConnConfig) -> dict[str, ChildSa]:
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


def on_the_wire(one: pluto.Pluto, packets: int) -> tuple[int, int]:
    """Send packets of Geneve to the peer; returns how many left as ESP, and how many in clear."""
    inside = ["ip", "netns", "exec", one.netns, "python3", "-c"]
    with subprocess.Popen(
        [*inside, _WATCH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline() == "ready\n"
        subprocess.run([*inside, _SEND.format(packets, PEER_IP)], check=True)
        said, _ = watch.communicate("")
    esp, clear = said.split()
    return int(esp), int(clear)


Ends = tuple[tuple[Libreswan, ConnConfig], tuple[Libreswan, ConnConfig]]


@pytest.fixture(params=[Auth.PSK, Auth.CA])
def ends(both: tuple[pluto.Pluto, pluto.Pluto], request: pytest.FixtureRequest) -> Iterator[Ends]:
    """Both ends with a connection that is up; after the test nothing is left of it."""
    auth: Auth = request.param
    here, there = (Libreswan(one.places, deadline_s=pluto.PATIENCE_S) for one in both)
    found = (
        (here, config(auth=auth)),
        (there, config("chB", "chA", (PEER_IP, LOCAL_IP), auth=auth)),
    )
    for (ike, conn), name in zip(found, ("chA", "chB"), strict=True):
        ike.open()
        ike.load_key(secret(identity(name)[1]))
        ike.load(conn)
        assert ike.flush() == {}
    connect(*found[0], *found[1])
    yield found
    for ike, conn in found:
        ike.unload(conn.name)
        for one in seen(ike.observe_sas(conn.name)):
            ike.terminate_ike(one.id)
        assert ike.flush() == {}
    for ike, conn in found:
        eventually(lambda ike=ike, conn=conn: not seen(ike.observe_sas(conn.name)))
        assert seen(ike.observe()).conns == frozenset()
        ike.close()
    eventually(lambda: [reqids(one) for one in both] == [set(), set()])


def test_a_pair_carries_esp_and_is_rekeyed(
    both: tuple[pluto.Pluto, pluto.Pluto], ends: Ends
) -> None:
    """Both children under one IKE_SA, with our reqids; the next run of the controller adopts it."""
    (here, conn), (there, far) = ends
    (sa,) = seen(here.observe_sas(conn.name))
    assert {child.name for child in sa.children} == {"out", "in"}
    mine, theirs = children(here, conn), children(there, far)
    assert (mine["out"].spi_out, mine["in"].spi_in) == (theirs["in"].spi_in, theirs["out"].spi_out)
    assert [reqids(one) for one in both] == [{"1", "2"}] * 2

    assert theirs["in"].packets_in == 0
    assert on_the_wire(both[0], 7) == (7, 0)
    eventually(lambda: children(there, far)["in"].packets_in)
    assert children(there, far)["out"].packets_in == 0

    # An unchanged connection keeps its SAs, whoever loads it.
    here.close()
    here.open()
    here.load(conn)
    assert here.flush() == {}
    assert children(here, conn) == mine

    here.rekey_child(mine["out"].id)
    assert here.flush() == {}
    eventually(lambda: children(here, conn)["out"].id not in (mine["out"].id, 0))
    assert on_the_wire(both[0], 7) == (7, 0)


def test_a_killed_pluto_leaves_the_kernel_its_own(
    both: tuple[pluto.Pluto, pluto.Pluto], ends: Ends
) -> None:
    """What it has left carries on until the next one runs; then the old IKE_SA is ended."""
    (here, conn), (there, far) = ends
    (old,) = seen(here.observe_sas(conn.name))
    both[1].kill()
    assert there.drain().lost
    assert reqids(both[1]) == {"1", "2"}
    assert on_the_wire(both[0], 7) == (7, 0)
    both[1].start()
    there.open()
    there.load(far)
    assert there.flush() == {}
    # 5.2 flushes all policies and SAs of the kernel when it starts.
    assert reqids(both[1]) == (set() if both[1].build.version == "5.2" else {"1", "2"})
    connect(there, far, here, conn)
    here.terminate_ike(old.id)
    assert here.flush() == {}
    # Its peer knows nothing of it any more, and answers nothing.
    states = {sa.id: sa.state for sa in seen(here.observe_sas(conn.name))}
    assert states.get(old.id, "DELETING") == "DELETING"
    assert "ESTABLISHED" in states.values()
    assert children(here, conn).keys() == {"out", "in"}
    assert on_the_wire(both[0], 7) == (7, 0)


def test_a_silent_peer_holds_nobody_up(both: tuple[pluto.Pluto, pluto.Pluto], ends: Ends) -> None:
    """What is ended does not wait for its answer; unloaded, it is gone before that."""
    (here, conn), _ = ends
    both[1].freeze()
    try:
        began = time.monotonic()
        (sa,) = seen(here.observe_sas(conn.name))
        here.terminate_ike(sa.id)
        assert here.flush() == {}
        assert here.connected
        assert [one.state for one in seen(here.observe_sas(conn.name))] in ([], ["DELETING"])
        here.unload(conn.name)
        eventually(lambda: not seen(here.observe_sas(conn.name)))
        assert here.flush() == {}
        assert seen(here.observe()).conns == frozenset()
        assert time.monotonic() - began < stretched(20), "an exchange is repeated for 60 s"
    finally:
        both[1].thaw()


@pytest.mark.parametrize("auth", list(Auth))
@pytest.mark.parametrize("build", pluto.BUILDS, ids=lambda build: build.version)
def test_strongswan_accepts_a_libreswan_that_responds(build: pluto.Build, auth: Auth) -> None:
    """And both have the child that it has asked for."""
    pluto.demand(build)
    with test_ike_mixed.two(build) as both:
        ends_of = test_ike_mixed.begin(both, auth, "strongSwan")
        for backend, conn in ends_of:
            eventually(lambda backend=backend, conn=conn: children(backend, conn))
