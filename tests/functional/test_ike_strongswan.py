# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D101, D102 - test scaffolding: names and the protocol say it
"""The contract of IkeBackend and more, on real charons in namespaces of their own."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from controller.ike.strongswan import StrongSwan
from controller.plan.connection import SUITES, ConnConfig, IkeSa, profile_of
from controller.plan.credentials.credential import Secret
from ovn_ipsec.errors import IkeError
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.observation import Unknown
from ovn_ipsec.model.policy import Profile
from tests.contracts.ike_backend import (
    Authority,
    IkeBackendContract,
    config,
    der,
    identity,
    key_id,
    lab,
    peer_config,
    secret,
    seen,
)
from tests.functional import charon
from tests.functional.ends import WAIT_S, eventually

pytestmark = pytest.mark.skipif(bool(charon.missing()), reason=f"needs {charon.missing()}")


def clean(backend: StrongSwan) -> None:
    """Take everything away that a test left."""
    backend.open()
    held = seen(backend.observe())
    for conn, child in held.traps:
        backend.uninstall(conn, child)
    for conn in held.conns:
        backend.unload(conn)
    for sas in held.sas.values():
        for sa in sas:
            backend.terminate_ike(sa.id, force=True)
    for key in seen(backend.keys()):
        backend.unload_key(key)
    for key in seen(backend.shared_keys()):
        backend.unload_shared(key)
    eventually(lambda: not seen(backend.observe()).sas)
    backend.close()


@pytest.fixture
def ike(both: tuple[charon.Charon, charon.Charon]) -> Iterator[StrongSwan]:
    backend = StrongSwan(both[0].uri)
    yield backend
    clean(backend)


@pytest.fixture
def peer(both: tuple[charon.Charon, charon.Charon]) -> Iterator[StrongSwan]:
    backend = StrongSwan(both[1].uri)
    backend.open()
    yield backend
    clean(backend)


class TestStrongSwan(IkeBackendContract):
    @pytest.fixture
    def ike(self, ike: StrongSwan) -> StrongSwan:
        return ike

    def wait_for_sa(self, ike, name) -> IkeSa:
        eventually(lambda: seen(ike.observe_sas(name)))
        return super().wait_for_sa(ike, name)

    def wait_until_gone(self, ike, name) -> None:
        eventually(lambda: not seen(ike.observe_sas(name)))

    @pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
    @pytest.mark.parametrize(
        "make",
        [
            lambda: rsa.generate_private_key(65537, 2048),
            lambda: ec.generate_private_key(ec.SECP384R1()),
            ed25519.Ed25519PrivateKey.generate,
        ],
        ids=["rsa", "ecdsa", "ed25519"],
    )
    def test_every_kind_of_key_is_taken(self, opened: StrongSwan, make, encoding: Encoding):
        """Under the id that Credential.key_id has."""
        key = make()
        assert opened.load_key(secret(key, encoding)) == key_id(key)

    def test_a_refused_key_is_not_in_the_error(self, opened: StrongSwan):
        """Neither its text nor its representation."""
        with pytest.raises(IkeError) as caught:
            opened.load_key(Secret(b"not a key at all"))
        assert "not a key" not in repr(caught.value)
        assert opened.connected


def keys_for(one: StrongSwan, other: StrongSwan) -> None:
    one.load_key(secret(identity("chA")[1]))
    other.load_key(secret(identity("chB")[1]))


@pytest.mark.parametrize("kind", ["ecdsa", "rsa", "ed25519"])
def test_two_chassis_authenticate_each_other(ike: StrongSwan, peer: StrongSwan, kind: str):
    """Both ends list the IKE_SA, with the same initiator SPI and the modern group."""
    ike.open()
    made = {
        "ecdsa": lambda: None,
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }
    ends = {}
    for backend, name in ((ike, "chA"), (peer, "chB")):
        certificate, key = lab().issue(name, key=made[kind]())
        backend.load_key(secret(key))
        ends[name] = der(certificate)
    here = replace(config(), proofs=(replace(config().proofs[0], certificate_der=ends["chA"]),))
    there = peer_config(proofs=(replace(peer_config().proofs[0], certificate_der=ends["chB"]),))
    ike.load(here)
    peer.load(there)
    ike.initiate(here.name, "out")
    eventually(lambda: [sa.state for sa in seen(ike.observe_sas(here.name))] == ["ESTABLISHED"])
    (mine,) = seen(ike.observe_sas(here.name))
    (theirs,) = seen(peer.observe_sas(there.name))
    assert (mine.initiator, theirs.initiator) == (True, False)
    # What another test's peer of this name has shown is still there as well.
    assert ends["chB"] in seen(ike.certificates("chB"))
    assert ends["chA"] in seen(peer.certificates("chA"))
    assert mine.initiator_spi == theirs.initiator_spi != 0
    assert (mine.remote_id, theirs.remote_id) == ("chB", "chA")
    assert (mine.local_spi, mine.remote_spi) == (theirs.remote_spi, theirs.local_spi)
    assert mine.suite == "AES_GCM_16-256/PRF_HMAC_SHA2_256/CURVE_25519"
    assert select.select([ike.fileno()], [], [], WAIT_S)[0]
    eventually(lambda: here.name in ike.drain().conns)


def collected(ike: StrongSwan, conn: ConnConfig, words: str) -> bool:
    return any(name == conn.name and words in text for name, text in ike.drain().messages)


def test_a_peer_that_knows_nothing_of_us_is_a_reason(ike: StrongSwan, peer: StrongSwan):
    """It answers that no proposal suits."""
    ike.open()
    keys_for(ike, peer)
    ike.load(config())
    ike.initiate(config().name, "out")
    eventually(lambda: collected(ike, config(), "NO_PROPOSAL_CHOSEN"))


def test_a_peer_of_another_authority_is_a_reason(ike: StrongSwan, peer: StrongSwan):
    """Our end says that it found no issuer."""
    ike.open()
    keys_for(ike, peer)
    certificate, key = Authority("other CA").issue("chB")
    peer.load_key(secret(key))
    proof = replace(peer_config().proofs[0], certificate_der=der(certificate))
    peer.load(peer_config(proofs=(proof,)))
    ike.load(config())
    ike.initiate(config().name, "out")
    eventually(lambda: collected(ike, config(), "no issuer certificate found"))


def test_a_key_that_is_not_loaded_is_a_reason(ike: StrongSwan, peer: StrongSwan):
    """The daemon says so."""
    ike.open()
    peer.load_key(secret(identity("chB")[1]))
    peer.load(peer_config())
    ike.load(config())
    ike.initiate(config().name, "out")
    eventually(lambda: collected(ike, config(), "no private key found"))


def test_a_hung_daemon_is_left_in_time(both: tuple[charon.Charon, charon.Charon]):
    """The deadline holds, and the session is over."""
    backend = StrongSwan(both[0].uri, deadline_s=0.3)
    backend.open()
    both[0].freeze()
    try:
        began = time.monotonic()
        assert isinstance(backend.observe(), Unknown)
        assert time.monotonic() - began < stretched(2)
        assert not backend.connected
    finally:
        both[0].thaw()
    backend.open()
    backend.close()


def test_a_killed_daemon_is_noticed_and_its_successor_told_apart(
    both: tuple[charon.Charon, charon.Charon], ike: StrongSwan
):
    """Events and commands both say so; what was loaded is gone."""
    ike.open()
    ike.load(config())
    ike.drain()
    before = seen(ike.observe()).since
    both[0].kill()
    assert select.select([ike.fileno()], [], [], WAIT_S)[0]
    assert ike.drain().lost
    assert not ike.connected
    with pytest.raises(IkeError):
        ike.open()
    both[0].start()
    ike.open()
    after = seen(ike.observe())
    assert after.since != before
    assert after.conns == frozenset()


def of_profile(conn: ConnConfig, profile: Profile) -> ConnConfig:
    suite = SUITES[profile]
    return replace(conn, ike_proposals=suite.ike, esp_proposals=suite.esp)


def established(ike: StrongSwan, conn: ConnConfig) -> list[IkeSa]:
    return [sa for sa in seen(ike.observe_sas(conn.name)) if sa.state == "ESTABLISHED"]


def profiles(ike: StrongSwan, conn: ConnConfig) -> list[Profile | None]:
    return [profile_of(sa) for sa in established(ike, conn)]


DOABLE = [profile for profile in Profile if profile is not Profile.PQ]


def test_the_daemon_says_what_it_can_do(ike: StrongSwan):
    """All but the post-quantum suite, which takes strongSwan 6; and that it refuses to load."""
    ike.open()
    found = seen(ike.observe())
    assert found.profiles >= set(DOABLE)
    if Profile.PQ not in found.profiles and found.version.startswith("5."):
        with pytest.raises(IkeError):
            ike.load(of_profile(config(), Profile.PQ))


@pytest.mark.parametrize("profile", DOABLE)
def test_each_profile_is_negotiated_and_known_by_its_suite(
    ike: StrongSwan, peer: StrongSwan, profile: Profile
):
    """Neither end takes another for it."""
    ike.open()
    keys_for(ike, peer)
    here, there = of_profile(config(), profile), of_profile(peer_config(), profile)
    ike.load(here)
    peer.load(there)
    ike.initiate(here.name, "out")
    eventually(lambda: profiles(ike, here) == profiles(peer, there) == [profile])


@pytest.mark.parametrize("profile", DOABLE[1:])
def test_another_profile_makes_another_ike_sa_beside_the_old_one(
    ike: StrongSwan, peer: StrongSwan, profile: Profile
):
    """Refused while the peer has not changed, and at no cost; then taken, and the old one ends."""
    ike.open()
    keys_for(ike, peer)
    ike.load(config())
    peer.load(peer_config())
    ike.initiate(config().name, "out")
    eventually(lambda: profiles(ike, config()) == [Profile.DEFAULT])
    (old,) = established(ike, config())
    ike.load(of_profile(config(), profile))
    ike.drain()
    ike.initiate(config().name, "out")
    eventually(lambda: collected(ike, config(), "NO_PROPOSAL_CHOSEN"))
    assert established(ike, config()) == [old]
    peer.load(of_profile(peer_config(), profile))
    ike.initiate(config().name, "out")
    eventually(lambda: profiles(ike, config()) == [Profile.DEFAULT, profile])
    eventually(lambda: profiles(peer, peer_config()) == [Profile.DEFAULT, profile])
    ike.terminate_ike(old.id)
    eventually(lambda: profiles(ike, config()) == profiles(peer, peer_config()) == [profile])


def test_a_profile_that_comes_back_finds_its_own_ike_sa(ike: StrongSwan, peer: StrongSwan):
    """The daemon compares configurations: it makes no third one."""
    ike.open()
    keys_for(ike, peer)
    for number, profile in enumerate((Profile.DEFAULT, Profile.CNSA, Profile.DEFAULT)):
        ike.load(of_profile(config(), profile))
        peer.load(of_profile(peer_config(), profile))
        ike.initiate(config().name, "out")
        count = min(number + 1, 2)
        eventually(lambda count=count: len(established(ike, config())) == count)
    time.sleep(stretched(0.3))
    assert profiles(ike, config()) == [Profile.DEFAULT, Profile.CNSA]
