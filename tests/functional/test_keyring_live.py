# SPDX-License-Identifier: Apache-2.0
"""A keyring and a real charon: a credential is used when charon has taken it, and not before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from controller.ike.keyring import LOOK_S, RETRY_S, Keyring
from controller.ike.strongswan import StrongSwan
from controller.plan.connection import ConnConfig
from controller.plan.credentials.certificate import describe
from controller.plan.credentials.credential import Credential, Secret
from controller.plan.credentials.proof import LocalCredentials
from controller.state_dir import StateDir
from ovn_ipsec.clock import utc_now
from ovn_ipsec.model.policy import Auth
from tests.contracts.ike_backend import DAY, config, identity, lab, new_key, secret, seen, ways
from tests.functional import charon
from tests.functional.test_ike_strongswan import clean, eventually

pytestmark = pytest.mark.skipif(bool(charon.missing()), reason=f"needs {charon.missing()}")


@pytest.fixture
def ike(both: tuple[charon.Charon, charon.Charon]) -> Iterator[StrongSwan]:
    made = StrongSwan(both[0].uri)
    made.open()
    yield made
    clean(made)


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    state = StateDir(tmp_path)
    state.open()
    return Keyring(state)


def good() -> tuple[Credential, Secret]:
    certificate, key = lab().issue("chA")
    return describe("lab", certificate, [lab().certificate]), secret(key)


def refused() -> tuple[Credential, Secret]:
    """One that charon does not take, had anybody missed what is wrong with it."""
    key = new_key()
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    builder = x509.CertificateBuilder().subject_name(lab().name).issuer_name(lab().name)
    builder = builder.public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(utc_now() - DAY).not_valid_after(utc_now() + DAY)
    builder = builder.add_extension(unknown, critical=True)
    certificate = builder.sign(lab().key, SHA256())
    return describe("lab", certificate, [lab().certificate]), secret(key)


def offer(ring: Keyring, own: tuple[Credential, Secret]) -> None:
    ring.offer(LocalCredentials(ca=own[0]), {own[0].key_id: own[1]})


def connection(ring: Keyring) -> ConnConfig:
    """What a pair would be loaded with."""
    return replace(config(), proofs=ways("chA", "chB", Auth.CA, ca=ring.credentials.ca))


def test_what_charon_refuses_changes_nothing(
    both: tuple[charon.Charon, charon.Charon], ring: Keyring, ike: StrongSwan
) -> None:
    """The old credential still brings a pair up, its key is not gone; the next good one is used."""
    peer = StrongSwan(both[1].uri)
    peer.open()
    peer.load_key(secret(identity("chB")[1]))
    peer.load(config("chB", "chA", ("10.9.0.2", "10.9.0.1")))
    old, bad, new = good(), refused(), good()
    offer(ring, old)
    assert ring.load(ike, 0) == ""
    assert (ring.settled, ring.credentials.ca) == (True, old[0])
    offer(ring, bad)
    for now in (1.0, 2.0):
        assert "refuses the certificate" in ring.load(ike, now)
        ring.tidy(ike, frozenset(), frozenset(), now)
    assert (ring.settled, ring.credentials.ca) == (False, old[0])
    for expected in (old, new):
        if expected is new:
            offer(ring, new)
            assert ring.load(ike, 3.0) == ""
            ring.tidy(ike, frozenset(), frozenset(), 20.0)
            assert seen(ike.keys()) == {new[0].key_id}
        assert ring.credentials.ca == expected[0]
        conn = connection(ring)
        ike.load(conn)
        ike.initiate(conn.name, "out")

        def is_up(name=conn.name) -> bool:
            return any(sa.state == "ESTABLISHED" for sa in seen(ike.observe_sas(name)))

        eventually(is_up)
        for sa in seen(ike.observe_sas(conn.name)):
            ike.terminate_ike(sa.id, force=True)
        eventually(lambda name=conn.name: not seen(ike.observe_sas(name)))
    clean(peer)


def test_junk_is_refused_and_not_offered_all_the_time(ring: Keyring, ike: StrongSwan) -> None:
    """A key and a list; each has its reason."""
    own = good()
    ring.offer(LocalCredentials(ca=own[0]), {own[0].key_id: Secret(b"junk")})
    ring.revoke((b"junk",))
    assert ring.load(ike, 0) != ""
    assert (ring.settled, ring.lacking, ring.credentials.ca) == (False, {Auth.CA}, None)
    assert ring.wake_at() == RETRY_S
    offer(ring, own)
    ring.revoke(())
    assert ring.load(ike, RETRY_S) == ""
    assert ring.settled


def test_what_somebody_has_cleared_is_given_again(ring: Keyring, ike: StrongSwan) -> None:
    """``swanctl --load-creds --clear`` takes our key as well."""
    own = good()
    offer(ring, own)
    ring.load(ike, 0)
    ring.load(ike, LOOK_S)
    ike._call("clear-creds")
    assert seen(ike.keys()) == frozenset()
    ring.load(ike, 2 * LOOK_S)
    assert not ring.settled
    ring.load(ike, 2 * LOOK_S + 0.1)
    assert ring.settled
    assert seen(ike.keys()) == {own[0].key_id}


def test_a_charon_that_came_back_is_given_all_of_it(
    both: tuple[charon.Charon, charon.Charon], ring: Keyring, ike: StrongSwan
) -> None:
    """It is settled when the new one has confirmed it; what was used is used on meanwhile."""
    own = good()
    offer(ring, own)
    ring.revoke((lab().revoked(),))
    ring.load(ike, 0)
    assert ring.settled
    both[0].kill()
    ike.drain()
    ring.lost()
    assert (ring.settled, ring.credentials.ca) == (False, own[0])
    both[0].start()
    ike.open()
    assert ring.load(ike, 1) == ""
    assert ring.settled
    assert seen(ike.keys()) == {own[0].key_id}
