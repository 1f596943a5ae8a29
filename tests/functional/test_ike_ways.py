# SPDX-License-Identifier: Apache-2.0
"""Every way to authenticate between two real charons, and the ways from one to another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from controller.ike.strongswan import StrongSwan
from controller.plan.connection import ConnConfig, IkeSa
from controller.plan.credentials.certificate import describe, judge
from controller.plan.credentials.chain import Places
from controller.plan.credentials.credential import Credential, Secret
from controller.plan.credentials.proof import Proof
from controller.plan.credentials.suitability import spki
from ovn_ipsec.clock import utc_now
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Auth
from tests.contracts.ike_backend import (
    LOCAL_IP,
    OTHER_SECRET,
    PEER_IP,
    SECRET,
    Authority,
    config,
    der,
    identity,
    lab,
    pin,
    secret,
    seen,
    ways,
)
from tests.functional import charon
from tests.functional.test_ike_strongswan import clean, eventually

pytestmark = pytest.mark.skipif(bool(charon.missing()), reason=f"needs {charon.missing()}")


class End:
    """One chassis, by its daemon."""

    def __init__(self, uri: str, local: str, peer: str, addresses: tuple[str, str]) -> None:
        self.ike = StrongSwan(uri)
        self.local, self.peer = local, peer
        self.conn = config(local, peer, addresses)
        self.said: list[str] = []
        self.own: Credential | None = None

    def keys(self) -> None:
        """Load both private keys."""
        self.ike.open()
        for _, key in (identity(self.local), pin(self.local)):
            self.ike.load_key(secret(key))

    def use(self, *auths: Auth, **credentials: object) -> ConnConfig:
        """Load the connection with these ways."""
        return self.prove(*ways(self.local, self.peer, *auths, **credentials))  # type: ignore[arg-type]

    def prove(self, *proofs: Proof) -> ConnConfig:
        """Load the connection with these proofs."""
        self.conn = replace(self.conn, proofs=proofs)
        self.ike.load(self.conn)
        return self.conn

    def start(self) -> None:
        """Initiate."""
        self.ike.drain()
        self.said.clear()
        self.ike.initiate(self.conn.name, "out")

    def sas(self) -> list[IkeSa]:
        """IKE_SAs that are authenticated."""
        found = seen(self.ike.observe_sas(self.conn.name))
        return [sa for sa in found if sa.state == "ESTABLISHED"]

    def auths(self) -> list[Auth]:
        """In what ways they are."""
        return [sa.auth for sa in self.sas()]

    def says(self, words: str) -> bool:
        """Whether it has given such a reason."""
        self.said += [text for _, text in self.ike.drain().messages]
        return any(words in text for text in self.said)


@pytest.fixture
def ends(both: tuple[charon.Charon, charon.Charon]) -> Iterator[tuple[End, End]]:
    a = End(both[0].uri, "chA", "chB", (LOCAL_IP, PEER_IP))
    b = End(both[1].uri, "chB", "chA", (PEER_IP, LOCAL_IP))
    for end in (a, b):
        end.keys()
    yield a, b
    for end in (a, b):
        clean(end.ike)


@pytest.mark.parametrize("auth", Auth)
def test_each_way_authenticates_both_ends(ends: tuple[End, End], auth: Auth):
    """And the SA says by which it came."""
    a, b = ends
    a.use(auth)
    b.use(auth)
    a.start()
    eventually(lambda: a.auths() == b.auths() == [auth])
    assert [sa.remote_id for sa in (*a.sas(), *b.sas())] == ["chB", "chA"]


REFUSED = {
    Auth.CA: "no issuer certificate found",
    Auth.PINNED: "no issuer certificate found",
    Auth.PSK: "MAC mismatched",
}


@pytest.mark.parametrize("first", ["wrong", "good"])
@pytest.mark.parametrize("auth", Auth)
def test_a_wrong_credential_is_refused_with_a_reason_at_both_ends(
    ends: tuple[End, End], auth: Auth, first: str
):
    """What is wrong, by the end that finds it, and by the other that it was refused.

    A wrong certificate of the responder is found when that has authenticated both already.
    """
    a, b = ends
    certificate, key = Authority("stranger").issue("chA")
    a.ike.load_key(secret(key))
    (good,) = ways("chA", "chB", auth)
    wrong = replace(good, certificate_der=der(certificate))
    if auth is Auth.PSK:
        (wrong,) = ways("chA", "chB", auth, secrets=(OTHER_SECRET,))
    b.use(auth)
    a.prove(wrong)
    for end in ends:
        end.ike.drain()
        end.said.clear()
    starter = a if first == "wrong" else b
    starter.start()
    # Of a key both know only half: whoever answers finds that they differ.
    finder, other = (a, b) if auth is Auth.PSK and starter is b else (b, a)
    eventually(lambda: other.says("AUTHENTICATION_FAILED"))
    eventually(lambda: finder.says(REFUSED[auth]))
    eventually(lambda: a.auths() == b.auths() == [])


KEYS: dict[str, Callable[[], PrivateKeyTypes]] = {
    "rsa-3072": lambda: rsa.generate_private_key(65537, 3072),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_of_any_type_is_taken(ends: tuple[End, End], kind: str):
    """By either end of the other; the certificate is of an authority with a key of another type."""
    a, b = ends
    key = KEYS[kind]()
    certificate, _ = lab().issue("chA", key=key)
    a.ike.load_key(secret(key))
    a.use(Auth.CA, ca=describe("lab", certificate, [lab().certificate]))
    b.use(Auth.CA)
    for end in ends:
        end.start()
        eventually(lambda: a.auths() == b.auths() == [Auth.CA])
        for sa in end.sas():
            end.ike.terminate_ike(sa.id, force=True)
        eventually(lambda: not a.sas() and not b.sas())


def chained(name: str, above: Authority) -> tuple[Credential, PrivateKeyTypes]:
    """A certificate of an authority of its own below another one, judged as one from files is."""
    issuing = Authority(f"issuing {name}")
    issuing.certificate = above._sign(issuing.name, issuing.key, None, 900, None, ca=True)
    certificate, key = issuing.issue(name)
    places = Places(certificate="c", private_key="k", ca_cert="ca")
    parts = ([certificate, issuing.certificate], [above.certificate], spki(key.public_key()))
    return judge(places, parts, ChassisName(name), utc_now()), key


@pytest.mark.parametrize("chains", ["a", "b", "both"])
def test_a_chain_is_shown_to_a_peer_that_has_only_the_root(ends: tuple[End, End], chains: str):
    """As cert-manager and others write it; whoever begins. Without it the peer finds no issuer."""
    root = Authority("root")
    for end, sign in zip(ends, "ab", strict=True):
        if chains in (sign, "both"):
            own, key = chained(end.local, root)
            assert own.chain_der
        else:
            certificate, key = root.issue(end.local)
            own = describe("lab", certificate, [root.certificate])
        end.ike.load_key(secret(key))
        end.own = own
        end.use(Auth.CA, ca=replace(own, chain_der=()))
    a, b = ends
    a.start()
    eventually(lambda: any(end.says("no issuer certificate found") for end in ends))
    eventually(lambda: a.auths() == b.auths() == [])
    for end in ends:
        end.use(Auth.CA, ca=end.own)
    for end in ends:
        end.start()
        eventually(lambda: a.auths() == b.auths() == [Auth.CA])
        for sa in end.sas():
            end.ike.terminate_ike(sa.id, force=True)
        eventually(lambda: not a.sas() and not b.sas())


def test_each_way_is_refused_where_only_another_is_accepted(ends: tuple[End, End]):
    """However good the credential."""
    a, b = ends
    for mine in Auth:
        for theirs in set(Auth) - {mine}:
            a.use(mine)
            b.use(theirs)
            a.start()
            eventually(lambda: a.says("AUTHENTICATION_FAILED"))
            assert b.auths() == []


def test_a_pin_vouches_for_nobody_else(ends: tuple[End, End]):
    """Neither for another name with the same key, nor as an authority."""
    a, b = ends
    b.use(Auth.PINNED, Auth.CA)
    signer = Authority("chC")
    signer.key = pin("chA")[1]
    signer.name = pin("chA")[0].subject
    certificate, key = signer.issue("chA")
    a.ike.load_key(secret(key))
    for auth in (Auth.PINNED, Auth.CA):
        (good,) = ways("chA", "chB", auth)
        a.prove(replace(good, certificate_der=der(certificate)))
        a.start()
        eventually(lambda: a.says("AUTHENTICATION_FAILED"))
        assert b.auths() == []


def test_a_key_of_one_pair_opens_no_other(ends: tuple[End, End]):
    """Who has chA-chC's cannot be chA to chB, nor chB to chA."""
    a, b = ends
    for end in ends:
        end.use(Auth.PSK)
    third = ways("chB", "chC", Auth.PSK)[0].keys[0]
    b.prove(Proof(auth=Auth.PSK, keys=(third,)))
    for key_id in seen(b.ike.shared_keys()) - {third.id}:
        b.ike.unload_shared(key_id)
    a.start()
    eventually(lambda: a.says("AUTHENTICATION_FAILED"))
    eventually(lambda: b.says("no shared key found"))


def test_authentication_turns_in_steps(ends: tuple[End, End]):
    """The one that is behind answers in the way that the other has chosen."""
    a, b = ends
    for end in ends:
        end.use(Auth.PSK)
    a.start()
    eventually(lambda: a.auths() == b.auths() == [Auth.PSK])
    for old, new in ((Auth.PSK, Auth.CA), (Auth.CA, Auth.PINNED), (Auth.PINNED, Auth.PSK)):
        (before,) = a.sas()
        for end in ends:
            end.use(old, new)
        a.start()
        time.sleep(stretched(0.2))
        assert a.sas() == [before], "what is only accepted makes nothing anew"
        a.use(new, old)
        time.sleep(stretched(0.2))
        b.ike.drain()
        b.said.clear()
        a.start()
        eventually(lambda new=new: new in a.auths() and new in b.auths())
        time.sleep(stretched(0.2))
        assert not b.says("unacceptable"), "no reason was given for what came up"
        b.use(new, old)
        a.ike.terminate_ike(before.id)
        eventually(lambda new=new: a.auths() == b.auths() == [new])
        for end in ends:
            end.use(new)
        b.use(new)
        b.start()
        time.sleep(stretched(0.2))
        assert a.auths() == b.auths() == [new], "b found the IKE_SA that a has made"


def test_a_secret_is_replaced_in_steps(ends: tuple[End, End]):
    """The first is used and both are taken; the old one is worth nothing in the end."""
    a, b = ends
    old, new, turned, last = (SECRET,), (SECRET, OTHER_SECRET), (OTHER_SECRET, SECRET), None
    for end in ends:
        end.use(Auth.PSK, secrets=old)
    a.start()
    eventually(lambda: len(a.sas()) == len(b.sas()) == 1)
    for end in ends:
        end.use(Auth.PSK, secrets=new)
    a.start()
    time.sleep(stretched(0.2))
    assert len(a.sas()) == 1
    (first,) = a.sas()
    a.use(Auth.PSK, secrets=turned)
    a.start()
    eventually(lambda: len(a.sas()) == len(b.sas()) == 2)
    a.ike.terminate_ike(first.id)
    b.use(Auth.PSK, secrets=turned)
    eventually(lambda: len(a.sas()) == len(b.sas()) == 1)
    b.start()
    eventually(lambda: len(a.sas()) == len(b.sas()) == 2)
    for end in ends:
        last = end.use(Auth.PSK, secrets=(OTHER_SECRET,))
        for key_id in seen(end.ike.shared_keys()) - {last.proofs[0].keys[0].id}:
            end.ike.unload_shared(key_id)
        for sa in end.sas():
            end.ike.terminate_ike(sa.id, force=True)
    eventually(lambda: not a.sas() and not b.sas())
    a.use(Auth.PSK, secrets=old)
    a.ike.unload_shared(last.proofs[0].keys[0].id)
    a.start()
    eventually(lambda: a.says("AUTHENTICATION_FAILED"))
    eventually(lambda: b.says("MAC mismatched"))
    a.use(Auth.PSK, secrets=(OTHER_SECRET,))
    a.start()
    eventually(lambda: len(a.sas()) == len(b.sas()) == 1)


def test_the_first_of_two_secrets_is_used(ends: tuple[End, End]):
    """In whatever order they were loaded: a peer that has only that one takes it."""
    a, b = ends
    for secrets in ((SECRET, OTHER_SECRET), (OTHER_SECRET, SECRET), (SECRET, OTHER_SECRET)):
        a.use(Auth.PSK, secrets=secrets)
        conn = b.use(Auth.PSK, secrets=secrets[:1])
        for key_id in seen(b.ike.shared_keys()) - {conn.proofs[0].keys[0].id}:
            b.ike.unload_shared(key_id)
        before = len(a.sas())
        a.start()
        eventually(lambda before=before: len(a.sas()) == before + 1)
        for sa in a.sas():
            a.ike.terminate_ike(sa.id)
        eventually(lambda: not a.sas() and not b.sas())


def test_an_authority_is_replaced_in_steps(ends: tuple[End, End]):
    """Trust both, issue anew, drop the old; then a certificate of the old one is refused."""
    a, b = ends
    newer = Authority("newer")
    old = {end.local: identity(end.local)[0] for end in ends}
    new = {}
    for end in ends:
        new[end.local], key = newer.issue(end.local)
        end.ike.load_key(secret(key))

    def use(certificates: dict, *authorities: Authority) -> None:
        trusted = [one.certificate for one in authorities]
        for end in ends:
            end.use(Auth.CA, ca=describe("lab", certificates[end.local], trusted))

    use(old, lab())
    a.start()
    eventually(lambda: len(a.sas()) == len(b.sas()) == 1)
    use(old, lab(), newer)
    use(new, newer, lab())
    a.start()
    eventually(lambda: len(a.sas()) == len(b.sas()) == 2)
    use(new, newer)
    for end in ends:
        for sa in end.sas():
            end.ike.terminate_ike(sa.id, force=True)
    eventually(lambda: not a.sas() and not b.sas())
    a.use(Auth.CA, ca=describe("lab", old["chA"], [newer.certificate]))
    b.ike.drain()
    a.start()
    eventually(lambda: a.says("AUTHENTICATION_FAILED"))
    eventually(lambda: b.says("constraint check failed: peer not authenticated by CA"))
    a.use(Auth.CA, ca=describe("lab", new["chA"], [newer.certificate]))
    a.start()
    eventually(lambda: len(a.sas()) == len(b.sas()) == 1)


def test_a_replaced_pin_is_taken_beside_the_old_one(ends: tuple[End, End]):
    """Both are held; then only the new one is."""
    a, b = ends
    for end in ends:
        end.use(Auth.PINNED)
    (good,) = ways("chB", "chA", Auth.PINNED)
    newer, key = pin("chA")[0], pin("chA")[1]
    pin.cache_clear()
    certificate, other = pin("chA")
    a.ike.load_key(secret(other))
    b.prove(replace(good, trusted_der=(der(certificate), der(newer))))
    a.start()
    eventually(lambda: len(a.sas()) == 1)
    (mine,) = a.conn.proofs
    a.prove(replace(mine, certificate_der=der(certificate)))
    a.start()
    eventually(lambda: len(a.sas()) == len(b.sas()) == 2)
    b.prove(replace(good, trusted_der=(der(certificate),)))
    for sa in a.sas():
        a.ike.terminate_ike(sa.id)
    eventually(lambda: not a.sas() and not b.sas())
    a.prove(mine)
    a.start()
    eventually(lambda: a.says("AUTHENTICATION_FAILED"))
    assert isinstance(secret(key), Secret)


@pytest.mark.parametrize("auth", Auth)
def test_an_epoch_sets_a_connection_apart_from_its_equal(ends: tuple[End, End], auth: Auth):
    """The daemon would take the IKE_SA that there is; the peer notices nothing."""
    a, b = ends
    for end in ends:
        end.use(auth)
    for count, epoch in ((1, 0), (1, 0), (2, 7), (3, 8)):
        a.ike.load(replace(a.conn, epoch=epoch))
        a.start()
        time.sleep(stretched(0.2))
        eventually(lambda count=count: len(a.sas()) == len(b.sas()) == count)


def test_a_revoked_certificate_is_refused(ends: tuple[End, End]):
    """By whoever has the list; what is up stays, and another certificate is taken."""
    a, b = ends
    authority = Authority("revoking")
    issued = {}
    for end in ends:
        issued[end.local], key = authority.issue(end.local)
        end.ike.load_key(secret(key))
        own = describe("lab", issued[end.local], [authority.certificate])
        end.use(Auth.CA, ca=own)
    b.ike.load_crl(authority.revoked())
    a.start()
    eventually(lambda: len(a.sas()) == len(b.sas()) == 1)
    b.ike.load_crl(authority.revoked(issued["chA"]))
    assert len(b.sas()) == 1
    b.said.clear()
    a.ike.load(replace(a.conn, epoch=3))
    a.start()
    eventually(lambda: a.says("AUTHENTICATION_FAILED"))
    eventually(lambda: b.says("certificate was revoked"))
    certificate, key = authority.issue("chA")
    a.ike.load_key(secret(key))
    a.use(Auth.CA, ca=describe("lab", certificate, [authority.certificate]))
    a.start()
    eventually(lambda: len(b.sas()) == 2)
