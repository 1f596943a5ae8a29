# SPDX-License-Identifier: Apache-2.0
"""The real kernel passes on that an SA is wanted, as if a packet had asked for it."""

from __future__ import annotations

import os
from ipaddress import ip_address, ip_network

import pytest

from controller.xfrm import messages, netlink
from controller.xfrm.socket import XfrmSocket
from controller.xfrm.values import (
    Action,
    Mode,
    PolicyDirection,
    Selector,
    Template,
    XfrmPolicy,
)
from tests.functional.netns import namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_NET_ADMIN")

ACQUIRES = 1 << 0
"""XFRMNLGRP_ACQUIRE, as a mask."""


@pytest.mark.parametrize(
    ("local", "remote", "anywhere"),
    [("10.9.0.1", "10.9.0.2", "0.0.0.0"), ("fd00::1", "fd00::2", "::")],
)
def test_an_ike_daemon_hears_that_an_sa_is_wanted(local: str, remote: str, anywhere: str) -> None:
    """With the policy and the ends that were named; nothing of it stays in the kernel."""
    ends = ip_address(local), ip_address(remote)
    trap = XfrmPolicy(
        direction=PolicyDirection.OUT,
        selector=Selector(
            src=ip_network(local), dst=ip_network(remote), proto=17, dport=6081, dport_mask=0xFFFF
        ),
        priority=366_912,
        action=Action.ALLOW,
        templates=(
            Template(
                src=ip_address(anywhere),
                dst=ip_address(anywhere),
                proto=50,
                spi=0,
                reqid=77,
                mode=Mode.TRANSPORT,
            ),
        ),
    )
    with namespace() as net, net.entered():
        daemon = netlink.connect(netlink.Protocol.XFRM, groups=ACQUIRES)
        kernel = XfrmSocket().open()
        try:
            kernel.send([messages.acquire(trap, ends)])
            (heard,) = netlink.split(daemon.recv(netlink.RECEIVE_BYTES))
            assert (kernel.dump_states(), kernel.dump_policies()) == ((), ())
        finally:
            daemon.close()
            kernel.close()
    head, size = messages.ACQUIRE_ID.size, messages.SELECTOR.size
    policy = head + size
    end = policy + size + messages.POLICY.size
    assert heard.kind == messages.Kind.ACQUIRE
    saddr = heard.payload[head - 16 : head]
    assert saddr.startswith(ends[0].packed)
    assert messages.parse_selector(heard.payload[head:]) == trap.selector
    told = heard.payload[policy:end] + heard.payload[end + messages.ACQUIRE_END.size :]
    assert messages.parse_policy(told) == trap
