# SPDX-License-Identifier: Apache-2.0
"""Real charons that judge a certificate by what is known of its revocation."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from controller.plan.credentials.certificate import describe
from ovn_ipsec.clock import utc_now
from ovn_ipsec.model.policy import Auth, Revocation
from tests.contracts.ike_backend import DAY, LOCAL_IP, PEER_IP, Authority, der, secret
from tests.functional import charon
from tests.functional.netns import Net
from tests.functional.ocsp import PORT, URI, Responder, serving
from tests.functional.test_ike_strongswan import clean, eventually
from tests.functional.test_ike_ways import End

pytestmark = pytest.mark.skipif(bool(charon.missing()), reason=f"needs {charon.missing()}")
REFUSED = "AUTHENTICATION_FAILED"


class Lab:
    """An authority of its own, so that no list of another test is about it; chB is the judge."""

    def __init__(self, a: End, b: End) -> None:
        self.a, self.b = a, b
        self.authority = Authority(f"CA {id(self):x}")
        self.issued: dict[str, x509.Certificate] = {}
        for end in (a, b):
            self.issue(end)

    def issue(self, end: End) -> None:
        """Give an end a certificate, another each time."""
        self.issued[end.local], key = self.authority.issue(end.local)
        end.ike.load_key(secret(key))
        self.use(end, Revocation.RELAXED)

    def use(self, end: End, revocation: Revocation) -> None:
        """Let an end judge so."""
        own = describe("lab", self.issued[end.local], [self.authority.certificate])
        end.use(Auth.CA, ca=own, revocation=revocation)

    def revoke(self, *names: str) -> None:
        """Give the judge a list."""
        self.b.ike.load_crl(self.authority.revoked(*(self.issued[name] for name in names)))

    def taken(self) -> None:
        """See an attempt of chA's succeed, and end it."""
        self.a.start()
        eventually(lambda: self.a.auths() == self.b.auths() == [Auth.CA])
        self.end()

    def end(self) -> None:
        """End what is up."""
        for sa in self.a.sas():
            self.a.ike.terminate_ike(sa.id)
        eventually(lambda: not self.a.sas() and not self.b.sas())

    def refused(self, words: str) -> None:
        """See an attempt of chA's fail, with a reason at the end that refuses it."""
        self.b.ike.drain()
        self.b.said.clear()
        self.a.start()
        eventually(lambda: self.a.says(REFUSED))
        eventually(lambda: self.b.says(words))
        assert self.a.auths() == self.b.auths() == []


@pytest.fixture
def lab(both: tuple[charon.Charon, charon.Charon]) -> Iterator[Lab]:
    ends = (
        End(both[0].uri, "chA", "chB", (LOCAL_IP, PEER_IP)),
        End(both[1].uri, "chB", "chA", (PEER_IP, LOCAL_IP)),
    )
    for end in ends:
        end.keys()
    yield Lab(*ends)
    for end in ends:
        end.ike.open()
        end.ike.set_ocsp((), "")
        clean(end.ike)


UNKNOWN = "CRL_VALIDATION is SKIPPED, but requires at least GOOD"
REVOKED = "certificate was revoked"


@pytest.mark.parametrize("revocation", Revocation)
def test_a_revoked_certificate_is_refused_whatever_the_policy(lab: Lab, revocation: Revocation):
    """And one that is not on the list is taken under each."""
    lab.use(lab.b, revocation)
    lab.revoke()
    lab.taken()
    lab.revoke("chA")
    lab.refused(REVOKED)
    lab.issue(lab.a)
    lab.taken()


def test_only_strict_asks_for_a_list(lab: Lab):
    """Without one nothing is known; what is up when it turns strict stays."""
    for revocation in (Revocation.RELAXED, Revocation.IFURI):
        lab.use(lab.b, revocation)
        lab.taken()
    lab.a.start()
    eventually(lambda: lab.b.auths() == [Auth.CA])
    lab.use(lab.b, Revocation.STRICT)
    assert lab.b.auths() == [Auth.CA]
    lab.end()
    lab.refused(UNKNOWN)
    lab.b.ike.load_crl(lab.authority.revoked(now=utc_now() - 2 * DAY, days=1))
    lab.refused("CRL_VALIDATION is STALE, but requires at least GOOD")
    lab.revoke()
    lab.taken()
    lab.use(lab.a, Revocation.STRICT)
    lab.a.start()
    eventually(lambda: lab.a.says(UNKNOWN))
    assert lab.a.auths() == []


@pytest.mark.parametrize("auth", [Auth.PINNED, Auth.PSK])
def test_no_other_way_is_judged_by_it(lab: Lab, auth: Auth):
    """Nobody could revoke a pin or a secret; beside a way that is judged, too."""
    lab.a.use(auth)
    lab.b.use(auth, revocation=Revocation.STRICT)
    lab.a.start()
    eventually(lambda: lab.a.auths() == lab.b.auths() == [auth])
    lab.end()
    lab.b.use(Auth.CA, auth, revocation=Revocation.STRICT)
    lab.a.start()
    eventually(lambda: lab.a.auths() == lab.b.auths() == [auth])


def test_a_responder_is_asked(lab: Lab, both: tuple[charon.Charon, charon.Charon]):
    """What it says holds; while it does not answer, that is all that strict and ifuri need."""
    trusted = (der(lab.authority.certificate),)
    lab.b.ike.set_ocsp(trusted, URI)
    for revocation in (Revocation.STRICT, Revocation.IFURI):
        lab.use(lab.b, revocation)
        lab.refused("CRL_VALIDATION is FAILED")
    lab.use(lab.b, Revocation.RELAXED)
    lab.taken()
    process = both[1].process
    assert process is not None
    with serving(process.pid, Responder(lab.authority, *lab.issued.values())) as responder:
        for revocation in Revocation:
            lab.use(lab.b, revocation)
            lab.taken()
        serial = lab.issued["chA"].serial_number
        assert set(responder.asked) == {serial}
        for revocation in Revocation:
            lab.issue(lab.a)
            certificate = lab.issued["chA"]
            responder.issued[certificate.serial_number] = certificate
            responder.revoked.add(certificate.serial_number)
            lab.use(lab.b, revocation)
            lab.refused(REVOKED)
    lab.b.ike.set_ocsp((), "")
    lab.issue(lab.a)
    lab.use(lab.b, Revocation.IFURI)
    lab.taken()


def test_a_responder_that_says_nothing_holds_nobody_up_for_long(
    lab: Lab, both: tuple[charon.Charon, charon.Charon]
):
    """No longer than the settings that we ship allow; meanwhile nothing can be loaded."""
    shipped = Path(__file__).parents[2] / "packaging/strongswan/ovn-ipsec.conf"
    assert f"timeout = {charon.FETCH_S}s\n" in shipped.read_text()
    process = both[1].process
    assert process is not None
    lab.b.ike.set_ocsp((der(lab.authority.certificate),), URI)
    with Net(pid=process.pid).entered():
        silent = socket.create_server(("127.0.0.1", PORT))
    with silent:
        lab.use(lab.b, Revocation.STRICT)
        begun = time.monotonic()
        lab.refused("CRL_VALIDATION is FAILED")
        assert charon.FETCH_S <= time.monotonic() - begun < 2 * charon.FETCH_S
        lab.use(lab.b, Revocation.RELAXED)
        lab.taken()
