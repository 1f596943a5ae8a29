# SPDX-License-Identifier: Apache-2.0
"""Two real controllers with real charons in namespaces: what rows and files make of who they are.

Everything here is told by the IKE_SAs; whether the kernel has ESP, so that CHILD_SAs come up too,
does not matter.
"""

from __future__ import annotations

import re
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
)

from controller.credentials.keeper import SLOW_S
from ovn_ipsec.clock import utc_now
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Auth, Phase
from ovn_ipsec.schema import report
from tests.contracts.ike_backend import Authority, der
from tests.functional.live import MISSING, NAMES, SECRETS, Lab, until

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")

LOOKS_S = 0.8 * SLOW_S
"""Sooner than the next look at files of which no event is heard."""


def test_the_three_ways_and_from_one_to_another(lab: Lab) -> None:
    """PSK from a file, pins from rows, a certificate on request; nothing secret is shown."""
    authority = Authority("enrolment")
    bundle = authority.certificate.public_bytes(Encoding.PEM).decode()
    lab.start()
    lab.publish(Phase.PREPARE, Auth.PSK)
    until(lambda: "ovn-ipsec-psk-file" in lab.problem("chA"), "a missing secret is named")
    lab.secrets(SECRETS[0])
    until(lambda: all(lab.able(name) == {"psk"} for name in NAMES), "psk can be used")
    lab.publish(Phase.ENFORCE, Auth.PSK)
    lab.all_by(Auth.PSK)
    assert lab.problem("chA") == ""

    lab.publish(Phase.ENFORCE, Auth.PSK, Auth.PINNED)
    until(lambda: all(lab.able(name) == {"psk", "pinned"} for name in NAMES), "pins are out")
    assert "use ssl: with RBAC" in lab.problem("chB")
    for name in NAMES:
        pem = lab.key("Chassis", name, "ovn-ipsec-cert")
        assert x509.load_pem_x509_certificate(pem.encode()).public_key()
        mode = (lab.folder / f"state-{name}" / "pinned.pem").stat().st_mode & 0o777
        assert mode == 0o600
    lab.publish(Phase.ENFORCE, Auth.PINNED, Auth.PSK)
    until(lambda: all("pinned" in lab.auths(name) for name in NAMES), "pins are used")
    lab.publish(Phase.ENFORCE, Auth.PINNED)
    until(lambda: all(not lab.held(name)[1] for name in NAMES), "the secret is unloaded")

    lab.publish(Phase.ENFORCE, Auth.PINNED, Auth.CA, authorities=bundle)
    until(lambda: "waiting for a certificate" in lab.problem("chA"), "it waits for its answer")
    for name in NAMES:
        lab.sign(name, authority)
    until(lambda: all("ca" in lab.able(name) for name in NAMES), "certificates are in use")
    until(lambda: not lab.key("Chassis_Private", "chA", report.REQUEST), "nothing is asked for")
    lab.publish(Phase.ENFORCE, Auth.CA, Auth.PINNED)
    until(lambda: all("ca" in lab.auths(name) for name in NAMES), "they are used")
    lab.publish(Phase.ENFORCE, Auth.CA)
    until(lambda: not lab.key("Chassis", "chA", "ovn-ipsec-cert"), "the pin is taken back")
    until(lambda: all(len(lab.held(name)[0]) == 1 for name in NAMES), "its key is unloaded")
    shown = lab.shown()
    for private in (*SECRETS, "PRIVATE KEY"):
        assert private not in shown
    limits = Path(f"/proc/{lab.processes['chA'].pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)
    assert "Traceback" not in shown


def test_a_secret_and_a_certificate_are_replaced(lab: Lab) -> None:
    """At the same path: noticed, checked, used; the old is unloaded, and a bad one is refused."""
    lab.secrets(SECRETS[0])
    lab.start()
    lab.publish(Phase.ENFORCE, Auth.PSK)
    lab.all_by(Auth.PSK)
    (before,) = lab.held("chA")[1]
    lab.secrets("short", names=("chA",))
    until(lambda: "too short" in lab.problem("chA"), "a bad secret is named")
    assert lab.held("chA")[1] == {before}
    lab.secrets(*SECRETS)
    until(lambda: all(len(lab.held(name)[1]) == 2 for name in NAMES), "both are accepted")
    lab.secrets(*reversed(SECRETS))
    lab.secrets(SECRETS[1])
    until(lambda: all(len(lab.held(name)[1]) == 1 for name in NAMES), "the old one is unloaded")
    assert before not in lab.held("chA")[1]
    authority = Authority("files")
    keys = {name: lab.files(name, authority) for name in NAMES}
    lab.publish(Phase.ENFORCE, Auth.PSK, Auth.CA)
    until(lambda: all(lab.able(name) == {"psk", "ca"} for name in NAMES), "both can be used")
    lab.publish(Phase.ENFORCE, Auth.CA)
    until(lambda: all("ca" in lab.auths(name) for name in NAMES), "ca is used")
    (lab.folder / "chA-private_key.pem").write_text("junk")
    until(lambda: "holds no private key" in lab.problem("chA"), "a bad key is named")
    assert keys["chA"] in lab.held("chA")[0]
    newer = lab.files("chA", authority)
    until(lambda: lab.held("chA")[0] == {newer}, "the new key is in, the old one out")
    until(lambda: lab.problem("chA") == "", "nothing is wrong any more")
    lab.stop("chA")
    newest = lab.files("chA", authority)
    lab.start("chA")
    until(lambda: lab.held("chA")[0] == {newest}, "so it is after a restart")


def test_an_idle_controller_sleeps_until_a_file_changes(lab: Lab) -> None:
    """Of what wakes it the look for an ovs-monitor-ipsec, every 5 s, comes most often."""
    for name in NAMES:
        lab.vsctl(name, "add-br", "br-int")
    lab.secrets(SECRETS[0])
    lab.start()
    lab.publish(Phase.PREPARE, Auth.PSK)
    until(lambda: lab.able("chA") == {"psk"}, "psk can be used")
    time.sleep(stretched(5))
    before = lab.wakes("chA")
    time.sleep(10)
    assert lab.wakes("chA") - before < 10
    begun = time.monotonic()
    (lab.folder / "psk-chA").write_text("short")
    until(lambda: "too short" in lab.problem("chA"), "it is looked at")
    assert time.monotonic() - begun < stretched(LOOKS_S)
    begun = time.monotonic()
    (lab.folder / "fresh").touch(mode=0o600)
    (lab.folder / "fresh").write_text(SECRETS[1])
    (lab.folder / "fresh").rename(lab.folder / "psk-chA")
    until(lambda: lab.problem("chA") == "", "so is what is put in its place")
    assert time.monotonic() - begun < stretched(LOOKS_S)


def test_the_end_of_a_certificate_is_near(lab: Lab) -> None:
    """It is said in the log and in the digest, and is no problem; then another one is brought."""
    authority = Authority("files")
    lab.files("chA", authority, now=utc_now() - timedelta(days=360), days=365)
    lab.start("chA")
    lab.publish(Phase.PREPARE, Auth.CA)
    until(lambda: "expires at" in lab.key("Chassis_Private", "chA", report.WARNING), "it warns")
    assert (lab.problem("chA"), lab.able("chA")) == ("", {"ca"})
    assert lab.log("chA").count("certificate_ends") == 1
    assert "how=urgent" in lab.log("chA")
    lab.files("chA", authority)
    until(lambda: not lab.key("Chassis_Private", "chA", report.WARNING), "all is well")


def test_a_controller_that_can_do_nothing_sleeps(lab: Lab) -> None:
    """Without a name, and while an ovs-monitor-ipsec lives; then it goes on."""
    lab.secrets(SECRETS[0])
    lab.vsctl("chA", "remove", "Open_vSwitch", ".", "external_ids", "system-id")
    lab.start("chA")
    until((lab.folder / "chA.controller.pid").exists, "it runs")
    time.sleep(stretched(1))
    assert lab.busy("chA") < min(0.9, stretched(0.2))
    lab.publish(Phase.PREPARE, Auth.PSK)
    lab.vsctl("chA", "set", "Open_vSwitch", ".", "external_ids:system-id=chA")
    until(lambda: lab.able("chA") == {"psk"}, "it has its name")
    stock = lab.folder / "ovs-monitor-ipsec"
    stock.write_text("import time; time.sleep(3600)")
    netns = lab.daemons["chA"].netns
    lab.spawn("stock", ["ip", "netns", "exec", netns, sys.executable, str(stock)])
    until(lambda: "ovs-monitor-ipsec runs here" in lab.problem("chA"), "it stands back")
    assert lab.busy("chA") < min(0.9, stretched(0.2))
    lab.stop("stock")
    until(lambda: lab.problem("chA") == "", "it goes on")


def test_a_controller_sleeps_until_the_southbound_has_said_something(lab: Lab) -> None:
    """Though its daemon holds connections of its earlier life, which stay as they are."""
    lab.secrets(SECRETS[0])
    lab.start()
    lab.publish(Phase.ENFORCE, Auth.PSK)
    lab.all_by(Auth.PSK)
    lab.stop("chA", "db-sb")
    lab.start("chA")
    until(
        lambda: "ike_daemon_connected" in lab.log("chA").rpartition("chassis_named")[2], "it runs"
    )
    time.sleep(stretched(3))
    assert lab.busy("chA") < min(0.9, stretched(0.2))
    assert lab.auths("chA") == ["psk"]


def test_what_must_be_known_of_a_peer_is_set_on_each_chassis(lab: Lab) -> None:
    """Live: what is up stays, the next handshake is judged, and a list or a revocation counts."""
    authority = Authority("files")
    for name in NAMES:
        lab.files(name, authority)
    lab.start()
    lab.publish(Phase.ENFORCE, Auth.CA)
    lab.all_by(Auth.CA)
    lab.set("chB", "ovn-ipsec-revocation", "strict")
    time.sleep(stretched(2))
    assert lab.auths("chB") == ["ca"]
    lab.end("chB")
    until(lambda: "CRL_VALIDATION is SKIPPED" in lab.log("chB"), "chB says what it lacks")
    assert not lab.auths("chB")
    crl = lab.folder / "crl.pem"
    crl.write_bytes(crl_pem(authority.revoked()))
    lab.set("chB", "ovn-ipsec-crl-file", str(crl))
    lab.all_by(Auth.CA)
    lab.set("chB", "ovn-ipsec-revocation", "strickt")
    until(lambda: "expected one of relaxed, ifuri, strict" in lab.log("chB"), "junk is named")
    until(lambda: "='strickt'" in lab.problem("chB"), "it is the chassis' problem")
    certificate = (lab.folder / "chA-certificate.pem").read_bytes()
    crl.write_bytes(crl_pem(authority.revoked(x509.load_pem_x509_certificate(certificate))))
    until(lambda: lab.log("chB").count("crls_given") == 2, "the list is the daemon's")
    assert lab.auths("chB") == ["ca"], "a list ends nothing"
    lab.end("chB")
    until(lambda: "certificate was revoked" in lab.log("chB"), "chB says why")
    assert not lab.auths("chB")
    lab.files("chA", authority)
    lab.all_by(Auth.CA)


def crl_pem(der: bytes) -> bytes:
    """Encode a list as operators have it."""
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)


def test_junk_for_a_pin_and_a_lost_row(lab: Lab) -> None:
    """Junk is refused by name; a row that was made anew is filled again."""
    lab.start()
    lab.publish(Phase.ENFORCE, Auth.PINNED)
    lab.all_by(Auth.PINNED)
    text = lab.key("Chassis", "chA", "ovn-ipsec-cert")
    for name in ("chA", "chB"):
        lab.stop(name)
    stranger = der(Authority("x").certificate)
    assert stranger
    lab.sbctl("set", "Chassis", "chB", "external_ids:ovn-ipsec-cert=junk")
    lab.start("chA")
    words = "Chassis chB external_ids:ovn-ipsec-cert='4 characters': expected one PEM block"
    until(lambda: words in lab.problem("chA"), "the refusal names it all")
    lab.start("chB")
    until(lambda: words not in lab.problem("chA"), "the owner has put it right")
    lab.sbctl("remove", "Chassis", "chA", "external_ids", "ovn-ipsec-cert")
    until(lambda: lab.key("Chassis", "chA", "ovn-ipsec-cert") == text, "it is written again")


def test_an_answer_that_does_not_fit_is_named(lab: Lab) -> None:
    """For another key, of another authority, for another name; then the right one is taken."""
    authority, other = Authority("enrolment"), Authority("other")
    bundle = authority.certificate.public_bytes(Encoding.PEM).decode()
    lab.start("chA")
    lab.publish(Phase.PREPARE, Auth.CA, authorities=bundle)
    until(lambda: lab.key("Chassis_Private", "chA", report.REQUEST), "it asks")
    request = lab.key("Chassis_Private", "chA", report.REQUEST)
    lab.stop("chA")
    lab.start("chA")
    stranger = authority.issue("chA")[0].public_bytes(Encoding.PEM).decode()
    lab.answer("chA", stranger)
    until(lambda: "not for the key" in lab.problem("chA"), "another key")
    assert lab.key("Chassis_Private", "chA", report.REQUEST) == request
    lab.sign("chA", other)
    until(lambda: "not signed by a CA" in lab.problem("chA"), "another authority")
    lab.sign("chA", authority)
    until(lambda: lab.able("chA") == {"ca"}, "the right one")
    until(lambda: lab.problem("chA") == "", "all is well")
    key = (lab.folder / "state-chA" / "enrolled.pem").read_bytes()
    lab.stop("chA")
    lab.start("chA")
    until(lambda: lab.held("chA")[0], "the key is loaded again")
    assert (lab.folder / "state-chA" / "enrolled.pem").read_bytes() == key
    newer = other.certificate.public_bytes(Encoding.PEM).decode()
    lab.publish(Phase.PREPARE, Auth.CA, authorities=newer + bundle)
    lab.sign("chA", other)
    until(lambda: (lab.folder / "state-chA" / "enrolled.pem").read_bytes() != key, "issued anew")
    until(lambda: len(lab.held("chA")[0]) == 1, "the old key is unloaded")


def test_quarantine_ends_what_is_up(lab: Lab) -> None:
    """At both ends, until it is lifted."""
    lab.secrets(SECRETS[0])
    lab.start()
    lab.publish(Phase.ENFORCE, Auth.PSK)
    lab.all_by(Auth.PSK)
    lab.publish(Phase.ENFORCE, Auth.PSK, quarantine=frozenset({ChassisName("chB")}))
    for name in NAMES:
        until(lambda name=name: not lab.auths(name), f"{name} has let go")
        until(lambda name=name: not lab.held(name)[1], f"{name} has no key for it")
        pairs = lab.key("Chassis_Private", name, report.PAIRS)
        assert "quarantined=1" in pairs
    time.sleep(stretched(2))
    assert not lab.auths("chA")
    lab.publish(Phase.ENFORCE, Auth.PSK, quarantine=frozenset())
    lab.all_by(Auth.PSK)
