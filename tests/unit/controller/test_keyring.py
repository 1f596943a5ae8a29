# SPDX-License-Identifier: Apache-2.0
"""What the IKE daemon has taken of what it was offered, and what is used until then."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import structlog
from cryptography import x509

from controller.ike.keyring import LOOK_S, RETRY_MAX_S, RETRY_S, Keyring
from controller.plan.credentials.certificate import describe
from controller.plan.credentials.credential import Credential, Secret
from controller.plan.credentials.proof import LocalCredentials
from controller.state_dir import StateDir
from ovn_ipsec.errors import EdgeError, IkeError
from ovn_ipsec.model.policy import Auth, Revocation
from ovn_ipsec.pki.dates import not_after, not_before
from tests.contracts.ike_backend import SECRET, lab, pin, secret
from tests.fakes.ike import FakeIke

PINNED, PIN_KEY = pin("chA")


@pytest.fixture
def ike() -> FakeIke:
    made = FakeIke()
    made.open()
    return made


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    state = StateDir(tmp_path)
    state.open()
    return Keyring(state)


def credential() -> tuple[Credential, Secret]:
    """Another one of chA each time."""
    certificate, key = lab().issue("chA")
    return describe("lab", certificate, [lab().certificate]), secret(key)


def offer(ring: Keyring, *found: tuple[Credential, Secret], **more: object) -> None:
    """Offer one of an authority, with its key."""
    (own,) = found
    ring.offer(LocalCredentials(ca=own[0], **more), {own[0].key_id: own[1]})  # type: ignore[arg-type]


def test_a_credential_is_used_when_the_daemon_has_confirmed_it(ring: Keyring, ike: FakeIke):
    """Its key is listed and its certificate was taken; secrets need no confirmation."""
    own = credential()
    offer(ring, own, secrets=(SECRET,), revocation=Revocation.STRICT)
    assert ring.credentials == LocalCredentials(secrets=(SECRET,), revocation=Revocation.STRICT)
    assert (ring.lacking, ring.settled) == ({Auth.CA}, False)
    assert ring.load(ike, 0) == ""
    assert ring.credentials.ca == own[0]
    assert (ring.lacking, ring.settled) == (set(), True)
    calls = len(ike.calls)
    assert ring.load(ike, 1) == ""
    assert len(ike.calls) == calls, "nothing is asked again"


def test_the_old_credential_is_used_until_the_new_one_is_confirmed(ring: Keyring, ike: FakeIke):
    """And its key stays in the daemon as long as a connection uses it."""
    old, new = credential(), credential()
    offer(ring, old)
    ring.load(ike, 0)
    offer(ring, new)
    ike.fail_next("load_key")
    assert "made to fail" in ring.load(ike, 1)
    assert (ring.credentials.ca, ring.settled, ring.lacking) == (old[0], False, set())
    ring.tidy(ike, frozenset())
    assert old[0].key_id in ike.loaded_keys
    assert ring.load(ike, 1 + RETRY_S) == ""
    assert (ring.credentials.ca, ring.settled) == (new[0], True)
    own = frozenset({old[0].key_id})
    ring.tidy(ike, frozenset(), own, 20)
    assert {old[0].key_id, new[0].key_id} == ike.loaded_keys.keys()
    calls = len(ike.calls)
    ring.tidy(ike, frozenset(), frozenset(), 20 + RETRY_S / 2)
    assert len(ike.calls) == calls
    ring.tidy(ike, frozenset(), frozenset(), 20 + RETRY_S)
    assert {new[0].key_id} == ike.loaded_keys.keys()


def test_a_certificate_that_the_daemon_refuses_is_not_used(ring: Keyring, ike: FakeIke):
    """However good it was found here: the old key is not gone, and it is said."""
    old = credential()
    offer(ring, old)
    ring.load(ike, 0)
    critical = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    good, key = lab().issue("chA")
    builder = x509.CertificateBuilder().subject_name(good.subject).issuer_name(lab().name)
    builder = builder.public_key(key.public_key()).serial_number(9)
    builder = builder.not_valid_before(not_before(good))
    builder = builder.not_valid_after(not_after(good))
    signed = builder.add_extension(critical, critical=True).sign(
        lab().key, good.signature_hash_algorithm
    )
    bad = describe("lab", signed, [lab().certificate])
    offer(ring, (bad, secret(key)))
    for now in (1.0, 2.0, 3.0):
        assert "1.2.3.4" in ring.load(ike, now)
    assert sum(call[0] == "try_credential" for call in ike.calls) == 2, "once each"
    assert (ring.credentials.ca, ring.settled, ring.problem != "") == (old[0], False, True)
    ring.tidy(ike, frozenset())
    assert old[0].key_id in ike.loaded_keys
    offer(ring, old)
    assert (ring.load(ike, 4), ring.settled) == ("", True)


def test_what_is_refused_waits_longer_each_time(ring: Keyring, ike: FakeIke):
    """A key and a list alike; another daemon, or another one of them, is tried at once."""
    own = credential()
    crl = lab().revoked()
    offer(ring, own)
    ring.revoke((crl,))
    for _ in range(1000):
        ike.fail_next("load_key")
        ike.fail_next("load_crl")
    times: list[int] = []
    with structlog.testing.capture_logs() as logs:
        for now in range(2000):
            before = len(ike.calls)
            assert ring.load(ike, float(now)) != ""
            if len(ike.calls) > before:
                times.append(now)
    assert [b - a for a, b in pairwise(times)][:6] == [10, 20, 40, 80, 160, 320]
    assert max(b - a for a, b in pairwise(times)) == RETRY_MAX_S
    assert sum(one["event"] == "ike_key_refused" for one in logs) == 2, "said once each"
    assert not ring.settled
    ike.crash()
    ring.lost()
    ike._failures.clear()
    ike.start()
    ike.open()
    assert ring.load(ike, 2000.0) == ""
    assert ring.settled


def test_a_list_is_held_when_it_was_taken(ring: Keyring, ike: FakeIke):
    """Each by itself: one that is refused keeps no other back."""
    good, bad = lab().revoked(), b"junk"
    real = ike.load_crl

    def load_crl(der: bytes) -> None:
        if der == bad:
            raise IkeError("no list")
        real(der)

    ike.load_crl = load_crl  # type: ignore[method-assign]
    ring.revoke((bad, good))
    assert ring.load(ike, 0) == "no list"
    assert (len(ike.loaded_crls), ring.settled) == (1, False)
    assert ring.wake_at() == RETRY_S
    ring.revoke((good,))
    assert (ring.load(ike, 1), ring.settled) == ("", True)
    ring.revoke(())
    assert ring.settled
    assert len(ike.loaded_crls) == 1


def test_a_key_that_is_given_and_not_listed_is_not_used(ring: Keyring, ike: FakeIke):
    """Nor one that the daemon takes for another."""
    own = credential()
    offer(ring, own)
    ike.key_id = lambda _key: "00" * 20  # type: ignore[method-assign]
    assert "loaded the key" in ring.load(ike, 0)
    del ike.key_id
    ring.lost()
    real = ike.keys
    ike.keys = lambda: replace(real(), value=frozenset())  # type: ignore[method-assign,type-var,return-value]
    assert "does not list the key" in ring.load(ike, 0)
    assert (ring.credentials.ca, ring.settled) == (None, False)
    del ike.keys
    assert ring.load(ike, RETRY_S) == ""
    assert ring.settled


def test_a_list_of_keys_that_cannot_be_read_confirms_nothing(ring: Keyring, ike: FakeIke):
    """Unknown is not empty: nothing was refused, and it is asked again."""
    own = credential()
    offer(ring, own)
    ike.fail_next("keys")
    assert ring.load(ike, 0) == ""
    assert (ring.credentials.ca, ring.settled) == (None, False)
    assert ring.load(ike, 0.1) == ""
    assert (ring.credentials.ca, ring.settled) == (own[0], True)


def test_a_daemon_that_goes_in_between_has_refused_nothing(ring: Keyring, ike: FakeIke):
    """What was used is used on, and the next one is given all of it."""
    own, new = credential(), credential()
    offer(ring, own)
    ring.load(ike, 0)
    offer(ring, new)

    def gone(_credential: Credential) -> None:
        ike.disconnect()
        raise IkeError("the session ended")

    ike.try_credential = gone  # type: ignore[method-assign]
    assert "ended" in ring.load(ike, 1)
    assert (ring.problem, ring.settled, ring.credentials.ca) == ("", False, own[0])
    del ike.try_credential
    ring.lost()
    assert ring.load(ike, 1.5) == "", "it is not asked while it is away"
    assert not ring.settled
    ike.open()
    assert ring.load(ike, 2) == ""
    assert (ring.settled, ring.credentials.ca) == (True, new[0])


def test_a_key_that_somebody_has_cleared_is_given_again(ring: Keyring, ike: FakeIke):
    """As ``swanctl --load-creds --clear`` does; it is looked at now and then."""
    own = credential()
    offer(ring, own)
    assert ring.wake_at() is None
    ring.load(ike, 0)
    assert ring.wake_at() == LOOK_S
    ring.load(ike, LOOK_S)
    ike.loaded_keys.clear()
    ring.load(ike, LOOK_S + 1)
    assert not ike.loaded_keys
    ring.load(ike, 2 * LOOK_S)
    assert not ring.settled
    ring.load(ike, 2 * LOOK_S + 0.1)
    assert (ring.settled, ike.loaded_keys.keys()) == (True, {own[0].key_id})


def test_what_is_offered_no_more_is_used_no_more(ring: Keyring, ike: FakeIke):
    """At once, and its key goes; a way without a key is none."""
    own = credential()
    pinned = describe("lab", PINNED, [])
    keys = {own[0].key_id: own[1], pinned.key_id: secret(PIN_KEY)}
    ring.offer(LocalCredentials(ca=own[0], pinned=pinned), keys)
    ring.load(ike, 0)
    assert (ring.credentials.ca, ring.credentials.pinned) == (own[0], pinned)
    ring.tidy(ike, frozenset())
    ring.offer(LocalCredentials(ca=own[0], pinned=pinned), {own[0].key_id: own[1]})
    assert (ring.credentials.pinned, ring.lacking, ring.settled) == (None, set(), True)
    ring.offer(LocalCredentials(), {})
    assert ring.credentials == LocalCredentials()
    ring.tidy(ike, frozenset())
    assert not ike.loaded_keys


def test_an_id_that_cannot_be_kept_is_a_key_that_is_not_given(
    ring: Keyring, ike: FakeIke, tmp_path: Path
):
    """It could never be taken back after a restart."""
    own = credential()
    offer(ring, own)
    (tmp_path / "key-ids").mkdir()
    assert "key-ids" in ring.load(ike, 0)
    assert not ike.loaded_keys
    (tmp_path / "key-ids").rmdir()
    assert ring.load(ike, RETRY_S) == ""
    ike.fail_next("unload_key", EdgeError("no"))
    ring.offer(LocalCredentials(), {})
    ring.tidy(ike, frozenset(), frozenset(), 20)
    ring.tidy(ike, frozenset(), frozenset(), 21)
    assert ike.loaded_keys
    ring.tidy(ike, frozenset(), frozenset(), 20 + RETRY_S)
    assert not ike.loaded_keys


def test_another_ring_of_another_name_takes_the_old_key_back(
    ring: Keyring, ike: FakeIke, tmp_path: Path
):
    """A chassis that is renamed gets one; what the old one gave is on the disk."""
    old, new = credential(), credential()
    offer(ring, old)
    ring.load(ike, 0)
    other = Keyring(StateDir(tmp_path))
    offer(other, new)
    other.load(ike, 1)
    assert {old[0].key_id, new[0].key_id} == ike.loaded_keys.keys()
    other.tidy(ike, frozenset())
    assert {new[0].key_id} == ike.loaded_keys.keys()
