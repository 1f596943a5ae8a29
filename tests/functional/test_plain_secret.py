# SPDX-License-Identifier: Apache-2.0
"""A secret as it is, for a stock chassis: who is given it, and who is not whatever was asked."""

from __future__ import annotations

import pytest

from ovn_ipsec.model.policy import Auth, Phase
from tests.functional.live import MISSING, SECRETS, Lab, until

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")


def test_the_controller_uses_the_secret_as_it_is_only_where_no_other_reports(lab: Lab):
    """Towards a chassis that is named; once that has a controller, with a derived key again."""

    def held(owner: str) -> bool:
        found = "".join(lab.held("chA")[1])
        return found.startswith(f"ovn-psk-{owner}-")

    lab.secrets(SECRETS[0])
    lab.publish(Phase.ENFORCE, Auth.PSK)
    lab.start("chA")
    until(lambda: held("chB"), "a derived key")
    lab.vsctl("chA", "set", "Open_vSwitch", ".", "other_config:ovn-ipsec-psk-plain=chB")
    until(lambda: held("10.9.0.2"), "the secret itself")
    lab.start("chB")
    until(lambda: held("chB"), "a derived key again")
    lab.all_by(Auth.PSK)
    until(lambda: "ovn-ipsec-psk-plain names chB" in lab.problem("chA"), "named in vain")
    assert SECRETS[0] not in lab.shown()
    assert "Traceback" not in lab.shown()
