# SPDX-License-Identifier: Apache-2.0
"""What doctor and report see of a real kernel: SAs without their keys, the guard in both layers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from controller.guard.nft import NftGuardLayer
from controller.guard.xfrm import XfrmGuardLayer
from ovn_ipsec.cli.machine import nft, ports, xfrm
from ovn_ipsec.cli.machine.values import Block, Holder, Way
from ovn_ipsec.model.observation import Known
from tests.contracts.guard_layer import CLOSED
from tests.functional.netns import Net, namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_NET_ADMIN")


@pytest.fixture
def net() -> Iterator[Net]:
    """A namespace."""
    with namespace() as found:
        yield found


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv here")
def test_who_may_not_see_the_guard_is_told_so_once() -> None:
    """By an error, and not by libnftables on standard error besides."""
    script = (
        "from ovn_ipsec.cli.machine import nft\n"
        "try:\n    nft.listing()\nexcept nft.NftError as error:\n    print(error)"
    )
    dropped = ("setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin")
    done = subprocess.run(
        [*dropped, sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "cannot list table inet ovn_ipsec: Operation not permitted\n"
    assert done.stderr == ""


def test_the_guard_is_seen_in_both_layers(net: Net) -> None:
    """Neither is there before; then each for what the controller has put up."""
    with net.entered():
        assert nft.guarded_ports() is None
        assert nft.listing() == ""
        assert xfrm.policies() == []
        layers = (NftGuardLayer(), XfrmGuardLayer())
        for layer in layers:
            assert layer.available() == Known(value=True)
            layer.apply(None, CLOSED)
        guarded, listed, policies = nft.guarded_ports(), nft.listing(), xfrm.policies()
        for layer in layers:
            layer.apply(CLOSED, None)
            layer.close()
        assert nft.guarded_ports() is None
    assert guarded == CLOSED.ports
    assert listed.startswith("table inet ovn_ipsec {")
    wanted = {
        Block(way=way, local=denial.local, port=denial.port)
        for way in Way
        for denial in CLOSED.denials()
    }
    assert {policy.block() for policy in policies} == wanted


def test_who_has_a_port_is_named(net: Net) -> None:
    """Of either version of IP, in this namespace alone."""
    opened = [net.receiver(address, port) for address, port in (("0.0.0.0", 500), ("::", 4500))]
    try:
        with net.entered():
            found = ports.holders((500, 4500))
        assert {(one.port, one.pid) for one in found} == {(500, os.getpid()), (4500, os.getpid())}
        assert all(one.program for one in found)
        assert Holder(port=500, program=found[0].program, pid=os.getpid()) in found
        with namespace() as other, other.entered():
            assert ports.holders((500, 4500)) == ()
    finally:
        for one in opened:
            one.close()
