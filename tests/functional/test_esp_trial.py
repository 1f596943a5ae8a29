# SPDX-License-Identifier: Apache-2.0
"""Whether the kernel can do ESP, as the controller tries it and as iproute2 finds it."""

from __future__ import annotations

import os
import subprocess

import pytest

from controller.xfrm.socket import XfrmEventSocket, XfrmSocket
from controller.xfrm.values import NO_EVENTS
from ovn_ipsec.model.observation import Known
from tests.functional.netns import Net, namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_NET_ADMIN")

ENDS = {4: ("10.9.0.1", "10.9.0.2"), 6: ("fd00:9::1", "fd00:9::2")}


def add(net: Net, version: int) -> bool:
    """Whether iproute2 can add an SA."""
    src, dst = ENDS[version]
    key = "0x" + "11" * 36
    command = f"ip xfrm state add src {src} dst {dst} proto esp spi 0x1234 mode transport aead"
    try:
        net.run(*command.split(), "rfc4106(gcm(aes))", key, "128")
    except subprocess.CalledProcessError:
        return False
    return True


def test_the_trial_finds_what_iproute2_finds_and_leaves_no_trace() -> None:
    """On a kernel with ESP and on one without; others' SAs stay as they are."""
    with namespace() as net:
        able = frozenset(version for version in ENDS if add(net, version))
        with net.entered():
            tried, events = XfrmSocket().open(), XfrmEventSocket().open()
        before = tried.dump_states()
        found = tried.esp_support()
        assert found == Known(able)
        assert tried.esp_available(ENDS) == Known(able == frozenset(ENDS))
        assert tried.dump_states() == before
        assert len(before) == len(able)
        assert events.drain(own_ports=frozenset({tried.port_id})) == NO_EVENTS
        events.close()
        tried.close()
