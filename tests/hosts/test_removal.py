# SPDX-License-Identifier: Apache-2.0
"""The packages go; the last tests of a pair of hosts."""

from __future__ import annotations

import pytest
from operator_words import (
    APT_S,
    CHAPTERS,
    NEXT,
    Operator,
    documented,
    is_active,
    nothing_clear,
    shown_on_wire,
)

from ovn_ipsec.lab.hosts.machine import Machine
from ovn_ipsec.lab.hosts.pair import DEBS, Pair, Typed
from ovn_ipsec.lab.waiting import wait_until
from ovn_ipsec.lab.witness.wire import Kind

TABLE = "nft list table inet ovn_ipsec"


def test_removal_keeps_what_is_in_force_and_says_so(enforced: Pair, operator: Operator) -> None:
    """Guard and SAs stay, ovn-controller needs nothing of ours; installed again, it goes on."""
    host = enforced.h2
    folder = NEXT if host.run(f"test -d {NEXT}").status == 0 else DEBS
    with nothing_clear(enforced, "removal"):
        output = host.check(f"{documented('apt remove ovn-ipsec-host')} --yes", timeout=APT_S)
        assert "the guard of this chassis stays in force until it is purged or rebooted" in output
        host.check(TABLE)
        host.check("systemctl restart ovn-controller", timeout=240)
        assert is_active(host, "ovn-controller")
    with nothing_clear(enforced, "installed again"):
        host.check(f"apt install -y ./{folder}/ovn-ipsec-host_*.deb", timeout=APT_S)
        operator.wait_enforced()


@pytest.fixture(scope="module")
def off(operator: Operator) -> list[Typed]:
    """What came out while the tutorial turned encryption off and purged the packages."""
    operator.read_to(CHAPTERS["reboot"])
    return operator.read_to(CHAPTERS["off"])


def test_turned_off_traffic_is_in_clear(clear_pair: Pair, off: list[Typed]) -> None:
    """Both ways, as tcpdump on a host says, and the witness outside."""
    [shown] = shown_on_wire(off)
    assert "Geneve" in shown
    mark = clear_pair.underlay.mark()
    clear_pair.wait_answers()

    def senders() -> set[str]:
        seen = clear_pair.underlay.seen(mark)
        return {one.sender for one in seen if one.kind is Kind.CLEAR}

    wait_until(lambda: senders() == {"h1", "h2"}, 60, "Geneve from both hosts")


def xfrm(host: Machine) -> list[str]:
    """Return the kernel's SAs and policies, but for the policies of charon's own sockets."""
    lines = host.check("ip -o xfrm state; ip -o xfrm policy").splitlines()
    return [line for line in lines if line.strip() and "socket" not in line]


@pytest.mark.parametrize("number", [1, 2])
def test_a_purge_flushes_and_says_so(clear_pair: Pair, off: list[Typed], number: int) -> None:
    """Nothing of ours is in the kernel or in our folders, but the authority."""
    host = clear_pair.hosts[number - 1]
    [purge] = [one for one in off if one.step.host == host.name and "apt purge" in one.step.command]
    assert "flushed: guard, connections, SAs and keys" in purge.output
    assert host.run(TABLE).status != 0
    assert xfrm(host) == []
    assert host.run("ls -d /var/log/ovn-ipsec").status != 0
    left = host.run("ls /var/lib/ovn-ipsec").output.split() if number == 1 else []
    assert left == (["ca"] if number == 1 else [])
    assert number == 1 or host.run("ls -d /var/lib/ovn-ipsec").status != 0
    assert is_active(host, "ovn-controller")
