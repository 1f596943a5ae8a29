# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec check-wire` on a real interface: in the clear, denied by either layer, and as ESP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.guard.layer import GuardLayer
from controller.guard.nft import NftGuardLayer
from controller.guard.xfrm import XfrmGuardLayer
from ovn_ipsec.model.observation import Known
from tests.contracts.guard_layer import CLOSED
from tests.functional.netns import LOCAL, PEER, PORT, Wire, joined

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_NET_RAW and CAP_NET_ADMIN")

ROOT = Path(__file__).parents[2]
VERSIONS = pytest.mark.parametrize("version", [4, 6])
TRY = """
import json, sys
from ipaddress import ip_address
from ovn_ipsec.cli.check_wire.probes import Ends
from ovn_ipsec.cli.check_wire.verdict import judge_wire
from ovn_ipsec.cli.check_wire.wire import try_pair
from ovn_ipsec.errors import EdgeError
from ovn_ipsec.model.chassis import EncapType
local, remote, port = sys.argv[1:]
local, remote = ip_address(local), ip_address(remote)
ends = Ends(type=EncapType.GENEVE, local=local, remote=remote, port=int(port))
try:
    found = judge_wire(try_pair(ends), "explain")
    print(json.dumps([found.outcome, found.said]))
except EdgeError as error:
    print(json.dumps(["error", error.diagnostics()]))
"""


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Join two namespaces."""
    with joined() as found:
        yield found


def tried(wire: Wire, remote: str, *, version: int) -> tuple[str, str]:
    """Try a pair from here."""
    command = [sys.executable, "-c", TRY, LOCAL[version], remote, str(PORT)]
    with wire.here.entered():
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    outcome, said = json.loads(done.stdout)
    return outcome, said


@VERSIONS
def test_clear_packets_are_seen(wire: Wire, version: int) -> None:
    """Each of the ten, and by which interface."""
    outcome, said = tried(wire, PEER[version], version=version)
    assert outcome == "clear"
    assert said == "10 packets with the mark of 10 probes left v0 in the clear"


@VERSIONS
@pytest.mark.parametrize("kind", [NftGuardLayer, XfrmGuardLayer])
def test_what_the_guard_denies_does_not_leave(
    wire: Wire, kind: type[GuardLayer], version: int
) -> None:
    """Either layer alone."""
    with wire.here.entered():
        layer = kind()
        assert layer.available() == Known(value=True)
        layer.apply(None, CLOSED)
    try:
        outcome, said = tried(wire, PEER[version], version=version)
    finally:
        layer.close()
    assert outcome == "denied"
    assert said.startswith("none of 10 probes left v0, as ESP or in the clear")
    assert said.endswith("(Operation not permitted)")


def test_where_there_is_no_way_there_is_no_verdict(wire: Wire) -> None:
    """Nor where the peer is this host."""
    outcome, said = tried(wire, "192.0.2.9", version=4)
    assert outcome == "error"
    assert said.startswith("no way from 10.9.0.1 to 192.0.2.9")
    outcome, said = tried(wire, LOCAL[4], version=4)
    assert (outcome, said) == (
        "error",
        "10.9.0.1 is an address of this host: nothing leaves for it",
    )
