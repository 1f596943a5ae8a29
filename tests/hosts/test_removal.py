# SPDX-License-Identifier: Apache-2.0
"""The packages go; the last tests of a pair of hosts."""

from __future__ import annotations

from operator_words import APT_S, Operator, documented, is_active, say

from ovn_ipsec.lab.hosts.pair import Pair
from ovn_ipsec.lab.waiting import wait_until
from ovn_ipsec.lab.witness.wire import Kind

TABLE = "nft list table inet ovn_ipsec"


def test_removal_keeps_what_is_in_force_and_says_so(enforced: Pair) -> None:
    """Guard and SAs stay, traffic goes on encrypted, and ovn-controller needs nothing of ours."""
    host, mark = enforced.h2, enforced.underlay.mark()
    output = host.check(f"{documented('apt remove ovn-ipsec-host')} --yes", timeout=APT_S)
    assert "the guard of this chassis stays in force until it is purged or rebooted" in output
    host.check(TABLE)
    host.check("systemctl restart ovn-controller", timeout=240)
    assert is_active(host, "ovn-controller")
    enforced.wait_answers()
    counts = enforced.underlay.counts(mark)
    say("removal", esp=counts[Kind.ESP], clear=counts[Kind.CLEAR])
    assert counts[Kind.CLEAR] == 0
    assert counts[Kind.ESP] > 0


def test_a_purge_flushes_and_says_so(clear_pair: Pair, operator: Operator) -> None:
    """After encryption was turned off; then nothing of ours is in the kernel or in our folders."""
    host = clear_pair.h2
    clear_pair.h1.check("ovn-nbctl set NB_Global . ipsec=false")
    output = host.check(f"{documented('apt purge ovn-ipsec-host')} --yes", timeout=APT_S)
    assert "flushed: guard, connections, SAs and keys" in output
    assert host.run(TABLE).status != 0
    assert host.check("ip xfrm state; ip xfrm policy").strip() == ""
    assert host.run("ls -d /var/lib/ovn-ipsec /var/log/ovn-ipsec").status != 0
    mark = clear_pair.underlay.mark()
    operator.pair.wait_answers()
    wait_until(
        lambda: clear_pair.underlay.counts(mark)[Kind.CLEAR] > 0, 60, "Geneve between them again"
    )
