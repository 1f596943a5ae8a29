# SPDX-License-Identifier: Apache-2.0
"""Two real controllers, one with a wrong credential: both say of each other what is wrong."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from controller.ike.strongswan import StrongSwan
from ovn_ipsec.clock import utc_now
from ovn_ipsec.lab.cluster import jsonrpc
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Auth, Phase
from ovn_ipsec.pki.profile import self_signed
from tests.contracts.ike_backend import Authority, seen
from tests.functional.live import LIFE, MISSING, SECRETS, Lab, until

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
PIN = "ovn-ipsec-cert"


def refused(lab: Lab, cause: str, of: str) -> None:
    """End what is up, and wait until both ends say of the other what is in the way of more.

    Args:
        lab: With a wrong credential on chB.
        cause: What is wrong with it.
        of: Who finds that.
    """
    ike = StrongSwan(lab.daemons["chB"].uri)
    ike.open()
    for sas in seen(ike.observe()).sas.values():
        for sa in sas:
            ike.terminate_ike(sa.id)
    ike.close()
    other = {"chA": "chB", "chB": "chA"}[of]
    until(lambda: cause in said(lab, of)[other], f"{of} names the cause")
    until(lambda: "AUTHENTICATION_FAILED" in said(lab, other)[of], f"{other} was refused")
    assert not lab.auths("chA")


def said(lab: Lab, name: str) -> dict[str, str]:
    """Return what a chassis says of its pairs, by peer; nothing while it does not run."""
    try:
        rows = json.loads(jsonrpc.call(lab.folder / f"{name}.appctl", "peers/show", ["json"]))
    except ConnectionRefusedError:
        return {}
    return {row["peer"]: row["last_error"] for row in rows}


def test_another_secret(lab: Lab) -> None:
    """Whoever answers finds that they differ."""
    lab.secrets(SECRETS[0])
    lab.start()
    lab.publish(Phase.ENFORCE, Auth.PSK)
    lab.all_by(Auth.PSK)
    before = lab.held("chB")[1]
    lab.secrets(SECRETS[1], names=("chB",))
    until(lambda: not lab.held("chB")[1] & before, "the right one is gone")
    refused(lab, "MAC mismatched", "chB")
    lab.secrets(SECRETS[0], names=("chB",))
    lab.all_by(Auth.PSK)


def test_a_certificate_of_another_authority(lab: Lab) -> None:
    """It trusts both, and is in order as far as it can tell."""
    good, stranger = Authority("good"), Authority("stranger")
    for name in ("chA", "chB"):
        lab.files(name, good)
    lab.start()
    lab.publish(Phase.ENFORCE, Auth.CA)
    lab.all_by(Auth.CA)
    key = lab.files("chB", stranger, good)
    until(lambda: key in lab.held("chB")[0], "it is loaded")
    assert lab.problem("chB") == ""
    refused(lab, "no issuer certificate found", "chA")
    lab.files("chB", good)
    lab.all_by(Auth.CA)


def test_a_pin_that_somebody_has_replaced(lab: Lab) -> None:
    """The one that it is of does not see its row; when it does, it puts that right."""
    lab.start()
    lab.publish(Phase.ENFORCE, Auth.PINNED)
    lab.all_by(Auth.PINNED)
    remote = "external_ids:ovn-remote=unix:"
    lab.vsctl("chB", "set", "Open_vSwitch", ".", f"{remote}/nonexistent")
    status = lab.folder / "chB.appctl"
    until(
        lambda: not json.loads(jsonrpc.call(status, "status", ["json"]))["southbound_connected"],
        "it does not see it",
    )
    key = ec.generate_private_key(ec.SECP256R1())
    text = self_signed(key, ChassisName("chB"), LIFE, utc_now())
    lab.sbctl("set", "Chassis", "chB", f"external_ids:{PIN}={json.dumps(text)}")
    # Who knows the one before accepts it for two minutes.
    lab.stop("chA")
    lab.start("chA")
    until(lambda: said(lab, "chA"), "chA is back")
    refused(lab, "constraint check failed", "chA")
    lab.vsctl("chB", "set", "Open_vSwitch", ".", f"{remote}{lab.folder}/sb.sock")
    until(lambda: lab.key("Chassis", "chB", PIN) != text, "put right")
    lab.all_by(Auth.PINNED)
