# SPDX-License-Identifier: Apache-2.0
"""How two chassis prove themselves to each other, from what one of them has."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from controller.plan.credentials.proof import (
    KEY_PREFIX,
    LocalCredentials,
    in_plain,
    proofs,
    shared_key,
)
from ovn_ipsec.model.policy import Auth, Revocation
from tests.contracts.ike_backend import OTHER_SECRET, SECRET, ways
from tests.unit.controller.test_credential import GOOD
from tests.worlds import A, B, C


def test_both_ends_derive_one_key_and_no_third_does():
    """Each under the name of its peer; nothing of it is shown."""
    here, there = shared_key(SECRET, A, B), shared_key(SECRET, B, A)
    assert here.value.reveal() == there.value.reveal()
    assert (here.owner, there.owner) == (f"fqdn:{B}", f"fqdn:{A}")
    assert here.id.startswith(f"{KEY_PREFIX}{B}-")
    others = [shared_key(SECRET, A, C), shared_key(OTHER_SECRET, A, B)]
    assert len({one.value.reveal() for one in (here, *others)}) == 3
    assert len({one.id for one in (here, *others)}) == 3
    assert here.value.reveal().hex() not in f"{here!r} {here.id}"
    assert "value" not in repr(here)


def test_what_is_missing_is_left_out():
    """In the order of policy, each way once."""
    every = (Auth.PSK, Auth.CA, Auth.PINNED, Auth.CA)
    assert [p.auth for p in ways("chA", "chB", *every)] == list(every[:3])
    assert proofs(LocalCredentials(), every, A, B, (b"pin",)) == ()
    assert LocalCredentials().auths == frozenset()
    full = LocalCredentials(ca=GOOD, pinned=GOOD, secrets=(SECRET,))
    assert full.auths == set(Auth)
    assert [p.auth for p in proofs(full, every, A, B, ())] == [Auth.PSK, Auth.CA]
    assert [p.auth for p in proofs(replace(full, ca=None), every, A, B, (b"p",))] == [
        Auth.PSK,
        Auth.PINNED,
    ]


def test_each_way_trusts_its_own():
    """Authorities, or what the peer has published, or nothing but the key."""
    full = LocalCredentials(ca=GOOD, pinned=GOOD, secrets=(SECRET, OTHER_SECRET))
    ca, pinned, psk = proofs(full, list(Auth), A, B, (b"pin", b"former"))
    assert (ca.trusted_der, ca.keys) == (GOOD.ca_der, ())
    assert (pinned.trusted_der, pinned.certificate_der) == ((b"pin", b"former"), b"c")
    assert (psk.trusted_der, psk.certificate_der, len(psk.keys)) == ((), b"", 2)
    assert len({one.mark for one in (ca, pinned, psk)}) == 3


def test_only_certificates_of_an_authority_are_held_against_lists():
    """It is no part of what we prove ourselves with, and another connection in the daemon."""
    full = LocalCredentials(ca=GOOD, pinned=GOOD, secrets=(SECRET,), revocation=Revocation.STRICT)
    ca, *others = proofs(full, list(Auth), A, B, (b"pin",))
    assert ca.revocation is Revocation.STRICT
    assert {one.revocation for one in others} == {Revocation.RELAXED}
    (relaxed,) = proofs(replace(full, revocation=Revocation.RELAXED), [Auth.CA], A, B, ())
    assert (relaxed.mark == ca.mark, relaxed.parts == ca.parts) == (True, False)


def test_the_secret_itself_is_the_key_towards_a_stock_peer():
    """The first one alone, and its owner is an address; other ways stay as they are."""
    full = LocalCredentials(ca=GOOD, secrets=(SECRET, OTHER_SECRET))
    found = proofs(full, (Auth.PSK, Auth.CA), A, B, ())
    plain, ca = in_plain(found, SECRET, ip_address("10.9.0.2"))
    assert ca == found[1]
    (key,) = plain.keys
    assert key.value.reveal() == SECRET.reveal()
    assert (plain.auth, plain.plain, key.owner) == (Auth.PSK, True, "10.9.0.2")
    (other,) = in_plain(found[:1], SECRET, ip_address("fd09::2"))
    (newer,) = in_plain(found[:1], OTHER_SECRET, ip_address("10.9.0.2"))
    assert len({plain.mark, other.mark, newer.mark, found[0].mark}) == 4
    assert SECRET.reveal().decode() not in f"{plain!r} {plain.parts} {key!r}"


@pytest.mark.parametrize("auth", Auth)
def test_no_secret_is_in_a_representation(auth: Auth):
    """Neither the cluster's nor the pair's."""
    (proof,) = ways("chA", "chB", auth)
    text = f"{proof!r} {proof.parts} {proof.mark}"
    assert "secret" not in text.lower().replace("secret(...)", "")
    for key in proof.keys:
        assert repr(key.value.reveal()) not in text
