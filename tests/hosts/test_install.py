# SPDX-License-Identifier: Apache-2.0
"""From two hosts in clear to an encrypted cluster: chapters 1 to 4 of the tutorial."""

from __future__ import annotations

from operator_words import CHAPTERS, Operator, is_active, nothing_clear, shown_on_wire, spis

from ovn_ipsec.lab.hosts.pair import Pair
from ovn_ipsec.lab.waiting import wait_until
from ovn_ipsec.lab.witness.wire import Kind


def test_the_witness_sees_clear_text_from_both_hosts(clear_pair: Pair) -> None:
    """Otherwise it proves nothing later."""
    mark = clear_pair.underlay.mark()

    def senders() -> set[str]:
        seen = clear_pair.underlay.seen(mark)
        return {one.sender for one in seen if one.kind is Kind.CLEAR}

    wait_until(lambda: senders() == {"h1", "h2"}, 60, "Geneve from both hosts")
    assert clear_pair.underlay.counts(mark)[Kind.ESP] == 0


def test_packages_install_without_a_network_and_hold_nobody_back(operator: Operator) -> None:
    """The daemons run, ovn-controller still does, and nothing is encrypted yet."""
    [status] = [
        typed.output
        for typed in operator.read_to(CHAPTERS["install"])
        if typed.step.command == "ovn-ipsec status"
    ]
    assert status.split()[0] == "off", status
    for host in operator.pair.hosts:
        for unit in ("ovn-ipsec-controller", "strongswan", "ovn-controller", "ovs-vswitchd"):
            assert is_active(host, unit), (host.name, unit)
        assert host.check("systemctl --failed --no-legend --plain").strip() == ""
    assert is_active(operator.pair.h1, "ovn-ipsec-northd")
    assert not is_active(operator.pair.h2, "ovn-central")


def test_the_tutorial_encrypts_every_pair(operator: Operator) -> None:
    """Chassis request their certificates; ``status`` agrees; tcpdump on a host shows ESP only."""
    operator.read_to(CHAPTERS["authority"])
    typed = operator.read_to(CHAPTERS["on"])
    [status] = [one.output for one in typed if one.step.command == "ovn-ipsec status"]
    assert status.split()[0] == "enforced", status
    assert shown_on_wire(typed) == [{"ESP"}]
    with nothing_clear(operator.pair, "enforced"):
        assert all(spis(host) for host in operator.pair.hosts)
