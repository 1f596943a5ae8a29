# SPDX-License-Identifier: Apache-2.0
"""A controller that starts where a stock ovs-monitor-ipsec has left its policies in the kernel."""

from __future__ import annotations

import pytest

from ovn_ipsec.model.policy import Auth, Phase
from ovn_ipsec.schema import report
from tests.functional.live import MISSING, NAMES, SECRETS, Lab, until

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")


def test_what_the_stock_daemon_has_encrypted_is_not_opened(lab: Lab):
    """While pairs come up clear text may pass, but for a pair that was encrypted before."""
    netns = lab.daemons["chA"].netns
    selector = "src 10.9.0.1/32 dst 10.9.0.2/32 proto udp dport 6081"
    how = "dir out priority 366911 tmpl proto esp reqid 4 mode transport"
    lab.run("ip", "-n", netns, "xfrm", "policy", "add", *selector.split(), *how.split())
    lab.secrets(SECRETS[0])
    lab.publish(Phase.ESTABLISH, Auth.PSK)
    lab.start()

    def counts(name: str) -> set[str]:
        return set(lab.key("Chassis_Private", name, report.PAIRS).split())

    until(lambda: all(counts(name) for name in NAMES), "both report")
    assert {"blocked=1", "pending=0"} <= counts("chA")
    assert {"blocked=0", "pending=1"} <= counts("chB")
