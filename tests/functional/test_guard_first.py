# SPDX-License-Identifier: Apache-2.0
"""The program itself: its guard stands whatever else of it cannot, with packets on a wire."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.guard.keeper import GuardKeeper
from controller.guard.nft import NftGuardLayer
from controller.guard.xfrm import XfrmGuardLayer
from controller.plan.guard import DENY_ALL, GuardState, PeerPort
from ovn_ipsec.lab.waiting import stretched
from tests.contracts.guard_layer import guard, pair
from tests.functional.netns import (
    LOCAL,
    OTHER_PORT,
    PEER,
    PORT,
    STRANGER,
    VXLAN_PORT,
    Wire,
    joined,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_SYS_ADMIN and CAP_NET_ADMIN")
ROOT = Path(__file__).parents[2]
OPEN, CLOSED = (True, True), (False, False)
STORED = {"ports": [6081], "local": [LOCAL[4], LOCAL[6]], "boot": "another"}


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Join two namespaces."""
    with joined() as found:
        yield found


def until(fact: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + stretched(60)
    while not fact():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def put_up(wire: Wire, folder: Path) -> str:
    """Run the program as at boot."""
    argv = [sys.executable, "-m", "controller", "unix:/none", "--guard", "--state-dir", str(folder)]
    with wire.here.entered():
        done = subprocess.run(
            argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=stretched(60)
        )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def everything_is_closed(wire: Wire) -> bool:
    return all(
        wire.both_ways(LOCAL[version], remote, port=port) == CLOSED
        for version in (4, 6)
        for remote in (PEER[version], STRANGER[version])
        for port in (PORT, VXLAN_PORT)
    )


@pytest.mark.parametrize(
    "stored",
    [json.dumps(STORED).encode(), b'{"ports": [60', b"", b"\xff\xfe", b"[]"],
    ids=["whole", "torn", "empty", "odd bytes", "of another kind"],
)
def test_at_boot_the_guard_of_before_stands(wire: Wire, tmp_path: Path, stored: bytes) -> None:
    """Or, where it cannot be read, one that denies everything; IKE and the rest pass."""
    (tmp_path / "boot-guard.json").write_bytes(stored)
    assert put_up(wire, tmp_path) == "in force"
    assert everything_is_closed(wire)
    assert wire.both_ways(LOCAL[4], PEER[4], port=OTHER_PORT) == OPEN
    for layer in (NftGuardLayer(), XfrmGuardLayer()):
        with wire.here.entered():
            seen = GuardKeeper([layer]).found()
            layer.close()
        assert seen is not None, layer.name
        assert seen.may_clear == frozenset()


def test_before_the_program_has_started_at_boot_tunnels_are_closed(wire: Wire) -> None:
    """By nft alone, twice without harm, until the unit deletes what it has loaded."""
    for _ in range(2):
        wire.here.run("nft", "-f", str(ROOT / "packaging" / "nftables" / "boot.nft"))
        assert everything_is_closed(wire)
    assert wire.both_ways(LOCAL[4], PEER[4], port=OTHER_PORT) == OPEN
    wire.here.run("nft", "delete", "table", "inet", "ovn_ipsec_boot")
    assert wire.both_ways(LOCAL[4], PEER[4]) == OPEN


def test_at_boot_nothing_is_denied_that_never_was(wire: Wire, tmp_path: Path) -> None:
    """A host without a boot guard is as open as before."""
    assert put_up(wire, tmp_path / "new") == "no guard to restore"
    assert wire.both_ways(LOCAL[4], PEER[4]) == OPEN


def test_a_ruleset_that_a_boot_restored_opens_nothing(wire: Wire, tmp_path: Path) -> None:
    """It is of an earlier boot: what it lets pass is not let pass."""
    with wire.here.entered():
        restored = NftGuardLayer()
        restored.apply(None, guard(pair(PEER[4], local=LOCAL[4])))
        restored.close()
    assert wire.both_ways(LOCAL[4], PEER[4]) == OPEN
    (tmp_path / "boot-guard.json").write_text(json.dumps(STORED))
    put_up(wire, tmp_path)
    assert everything_is_closed(wire)


def test_either_layer_denies_everything_alone(wire: Wire) -> None:
    """Of both families, on every address, and back again."""
    for layer in (NftGuardLayer(), XfrmGuardLayer()):
        with wire.here.entered():
            layer.apply(None, DENY_ALL)
        assert everything_is_closed(wire), layer.name
        with wire.here.entered():
            layer.apply(DENY_ALL, None)
            layer.close()
        assert wire.both_ways(LOCAL[4], PEER[4]) == OPEN


@pytest.mark.parametrize("kind", [NftGuardLayer, XfrmGuardLayer])
@pytest.mark.parametrize("version", [4, 6])
def test_a_port_of_a_peers_is_denied_towards_that_peer_alone(
    wire: Wire, kind: type[NftGuardLayer | XfrmGuardLayer], version: int
) -> None:
    """What one chassis names takes that port from nobody else, and nothing that comes in."""
    local, peer, stranger = LOCAL[version], PEER[version], STRANGER[version]
    closed = guard()
    (one,) = (
        PeerPort(local=flow.local, remote=flow.remote, port=OTHER_PORT)
        for flow in [pair(peer, local=local).flows()[0]]
    )
    state: GuardState = replace(closed, peer_ports=frozenset({one}))
    layer = kind()
    with wire.here.entered():
        layer.apply(None, state)
    assert wire.both_ways(local, peer, port=OTHER_PORT) == (False, True)
    assert wire.both_ways(local, stranger, port=OTHER_PORT) == OPEN
    clear = replace(state, may_clear=frozenset(pair(peer, local=local, out=OTHER_PORT).flows()))
    with wire.here.entered():
        layer.apply(state, clear)
    assert wire.both_ways(local, peer, port=OTHER_PORT) == OPEN
    with wire.here.entered():
        layer.close()


def test_nothing_that_fails_stands_in_front_of_the_guard(wire: Wire, tmp_path: Path) -> None:
    """Torn state, no log, no metrics, no control socket, no database: closed within a moment."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "boot-guard.json").write_bytes(b'{"ports": [60')
    (state / "reqids").write_bytes(b"\xff\xfejunk")
    (state / "policy.json").write_bytes(b"{")
    (state / "made-from").mkdir()
    with wire.here.entered():
        taken = socket.create_server(("127.0.0.1", 9999))
    argv = [sys.executable, "-m", "controller", f"unix:{tmp_path}/none.sock"]
    argv += ["--state-dir", str(state), "--metrics-port=9999"]
    argv += [f"--log-file={tmp_path}/none/log", f"--pidfile={tmp_path}/file/pid"]
    argv += [f"--unixctl={tmp_path}/none/ctl", f"--vici=unix://{tmp_path}/none.vici"]
    (tmp_path / "file").write_text("")
    with wire.here.entered(), (tmp_path / "out").open("wb") as out:
        running = subprocess.Popen(argv, cwd=ROOT, stdout=out, stderr=out)
    try:
        until(lambda: everything_is_closed(wire), "closed")
        wire.here.run("nft", "flush", "ruleset")
        wire.here.run("ip", "xfrm", "policy", "flush")
        until(lambda: everything_is_closed(wire), "put back")
        assert running.poll() is None, (tmp_path / "out").read_text("utf-8")
        text = (tmp_path / "out").read_text("utf-8")
        assert "boot_guard_torn" in text
        assert "Traceback" not in text
        assert len(text.splitlines()) < 60
    finally:
        running.kill()
        running.wait()
        taken.close()
