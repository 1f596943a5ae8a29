# SPDX-License-Identifier: Apache-2.0
"""Names, configurations and predicates of plan.connection."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.plan import connection
from controller.plan.connection import ChildSa, IkeSa, conn_name, is_ours
from ovn_ipsec.model.chassis import ChassisName, EncapType, Pair
from ovn_ipsec.model.policy import Auth, Profile, Tuning
from tests.contracts.ike_backend import OTHER_SECRET, SECRET, config, ways

CHASSIS = st.from_regex(r"[A-Za-z0-9._-]{1,253}\Z", fullmatch=True).map(ChassisName)
PORTS = st.integers(1, 65_535)
STOCK_IKE_PROPOSALS = ("aes256gcm16-prfsha256-modp2048",)
STOCK_ESP_PROPOSALS = ("aes256gcm16-modp2048-esn-noesn", "aes256gcm16-esn-noesn")
"""Towards a chassis that a stock ovs-monitor-ipsec serves (ovs-monitor-ipsec.in)."""


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    version = draw(st.sampled_from([4, 6]))
    return Pair(
        peer=draw(CHASSIS),
        type=draw(st.sampled_from(EncapType)),
        local=draw(st.ip_addresses(v=version)),
        remote=draw(st.ip_addresses(v=version)),
        out_port=draw(PORTS),
        in_port=draw(PORTS),
    )


@given(pairs())
def test_every_name_is_known_as_ours_and_fits_a_vici_key(pair: Pair):
    """At most 255 bytes with a child's name behind it."""
    name = conn_name(pair)
    assert is_ours(name)
    assert len(f"{name}/out".encode()) <= 255


@given(pairs(), pairs())
def test_two_pairs_have_two_names(one: Pair, other: Pair):
    """A cut name has a digest of the whole."""
    same = (one.peer, one.local, one.remote) == (other.peer, other.local, other.remote)
    assert (conn_name(one) == conn_name(other)) == same


def test_a_name_is_that_of_the_tunnel():
    """As OVN writes it, behind ovn-."""
    assert config().name == "ovn-chB@10.9.0.2%10.9.0.1"


def test_long_chassis_names_that_differ_at_the_end_differ():
    """One hundred characters are the same."""
    pair = config().pair
    one, other = (conn_name(replace(pair, peer=ChassisName("c" * 200 + end))) for end in "ab")
    assert one != other
    assert re.match(r"ovn-c{100}~[0-9a-f]{8}@10\.9\.0\.2%10\.9\.0\.1\Z", one)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "home",
        "ovn-",
        "ovn-a-0-in-1",
        "ovn-@10.0.0.1%10.0.0.2",
        "ovn-a@10.0.0.1%10.0.0.999",
        "ovn-a@10.0.0.1%fd00::1",
        "ovn-a@fd00::0:1%fd00::2",
        "ovn-a@10.0.0.1%10.0.0.2/out",
        "ovn-a@10.0.0.1%10.0.0.2\n",
        "ovn-a b@10.0.0.1%10.0.0.2",
    ],
)
def test_other_names_are_not_ours(name: str):
    """Neither a stock name nor one that no pair has."""
    assert not is_ours(name)


@given(pairs())
def test_a_fingerprint_is_of_every_field(pair: Pair):
    """The same for equals, another for any change."""
    conn = replace(config(), pair=pair)
    assert conn.fingerprint == replace(conn).fingerprint == conn.fingerprint
    changes: list[dict[str, object]] = [
        {"name": "ovn-x@10.0.0.1%10.0.0.2"},
        {"pair": replace(pair, out_port=pair.out_port % 65_535 + 1)},
        {"local_id": "other"},
        {"remote_id": "other"},
        {"reqid_out": 77},
        {"reqid_in": 77},
        {"esp_proposals": STOCK_ESP_PROPOSALS},
        {"ike_proposals": STOCK_IKE_PROPOSALS},
        {"tuning": Tuning(force_encapsulation=True)},
        {"proofs": ways("chA", "chB", Auth.PSK)},
        {"proofs": ways("chA", "chB", Auth.PINNED)},
        {"proofs": ways("chA", "chB", Auth.CA, Auth.PSK)},
        {"proofs": ways("chA", "chB", Auth.PSK, Auth.CA)},
        {"proofs": (replace(conn.proofs[0], certificate_der=b"other"),)},
        {"proofs": (replace(conn.proofs[0], trusted_der=(b"other",)),)},
    ]
    prints = {replace(conn, **change).fingerprint for change in changes}  # type: ignore[arg-type]
    assert len(prints | {conn.fingerprint}) == len(changes) + 1


def test_a_fingerprint_is_the_same_in_every_process():
    """It may be kept."""
    conn = replace(config(auth=Auth.PSK), pair=replace(config().pair, in_port=1))
    assert conn.fingerprint == conn.fingerprint
    assert conn == replace(conn)
    assert "fingerprint" not in repr(conn)
    assert re.match(r"[0-9a-f]{32}\Z", conn.fingerprint)


@pytest.mark.parametrize(
    ("ikes", "esps"),
    [
        (connection.DEFAULT_IKE_PROPOSALS, connection.DEFAULT_ESP_PROPOSALS),
        (STOCK_IKE_PROPOSALS, STOCK_ESP_PROPOSALS),
        *((suite.ike, suite.esp) for suite in connection.SUITES.values()),
    ],
)
def test_esp_offers_every_group_of_ike_and_none(ikes: tuple[str, ...], esps: tuple[str, ...]):
    """Else Libreswan's second child and every rekey fail."""

    def groups(text: str) -> set[str]:
        return {word for word in text.split("-") if re.match(r"x25519|ecp|modp|ke1_", word)}

    wanted = set().union(*map(groups, ikes))
    assert wanted <= groups(esps[0])
    assert any(not groups(text) for text in esps)
    assert all(text.endswith("-esn-noesn") for text in esps)


def test_what_stock_peers_offer_is_offered_last():
    """By the default, to which a rolling migration falls back."""
    assert connection.SUITES[Profile.DEFAULT].ike[-1] == STOCK_IKE_PROPOSALS[-1]


SHOWN = {
    "AES_GCM_16-256/PRF_HMAC_SHA2_256/CURVE_25519": Profile.DEFAULT,
    "AES_GCM_16-256/PRF_HMAC_SHA2_256/MODP_2048": Profile.DEFAULT,
    "CHACHA20_POLY1305-256/PRF_HMAC_SHA2_256/ECP_256": Profile.CHACHA20,
    "CHACHA20_POLY1305/PRF_HMAC_SHA2_256/ECP_256": Profile.CHACHA20,
    "AES_CBC-256/PRF_HMAC_SHA2_256/CURVE_25519": Profile.AES256_SHA256,
    "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384": Profile.CNSA,
    "AES_GCM_16-256/PRF_HMAC_SHA2_384/CURVE_25519/ML_KEM_768": Profile.PQ,
    "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_3840": None,
    "AES_GCM_16-128/PRF_HMAC_SHA2_256/CURVE_25519": None,
    "AES_CBC-256/PRF_HMAC_SHA2_512/ECP_256": None,
    "": None,
}


@pytest.mark.parametrize(("suite", "profile"), SHOWN.items())
def test_an_ike_sa_tells_its_profile(suite: str, profile: Profile | None):
    """No two profiles share a suite; another one is of none."""
    sa = IkeSa(
        conn=config().name, id=1, state="CREATED", initiator=True, initiator_spi=1, suite=suite
    )
    assert connection.profile_of(sa) is profile


def test_a_profile_takes_every_algorithm_that_it_needs():
    """Each of its own; a daemon without any can do nothing."""
    assert set(connection.SUITES) == set(Profile)
    every = frozenset().union(*(suite.needs for suite in connection.SUITES.values()))
    assert connection.able(every) == set(Profile)
    assert connection.able(every - {"ML_KEM_768"}) == set(Profile) - {Profile.PQ}
    assert connection.able(every - {"ECP_384"}) == set(Profile) - {Profile.CNSA}
    assert connection.able(every - {"AES_GCM_16"}) == {Profile.CHACHA20, Profile.AES256_SHA256}
    assert connection.able(frozenset()) == frozenset()


def child(state: str) -> ChildSa:
    return ChildSa(name="out", id=1, state=state, reqid=1, spi_in=1, spi_out=2)


def test_a_child_carries_traffic_until_its_successor_does():
    """Also while it is rekeyed."""
    states = ["CREATED", "INSTALLING", "INSTALLED", "REKEYING", "REKEYED", "DELETING", "DELETED"]
    assert [s for s in states if connection.installed(child(s))] == ["INSTALLED", "REKEYING"]
    assert [s for s in states if connection.gone(child(s))] == ["REKEYED", "DELETED"]


def test_an_ike_sa_lists_what_is_up():
    """And whether it is itself."""
    sa = IkeSa(
        conn=config().name,
        id=1,
        state="ESTABLISHED",
        initiator=True,
        initiator_spi=1,
        children=(child("INSTALLED"), replace(child("CREATED"), name="in")),
    )
    assert connection.established(sa)
    assert not connection.established(replace(sa, state="CONNECTING"))
    assert connection.installed_children(sa) == {"out"}


def test_addresses_are_written_short():
    """As ipaddress writes them."""
    pair = replace(
        config().pair, local=ip_address("fd00:0:0:0:0:0:0:1"), remote=ip_address("fd00::2")
    )
    assert conn_name(pair) == "ovn-chB@fd00::2%fd00::1"


@pytest.mark.parametrize("auth", Auth)
def test_each_way_has_a_name_of_its_own(auth: Auth):
    """That of the authority's is the plain one; no other word behind it is ours."""
    text = connection.spelled(config().name, auth)
    assert connection.parse_spelled(text) == (config().name, auth)
    assert (text == config().name) == (auth is Auth.CA)
    assert connection.parse_spelled(f"{config().name}+x") is None
    assert connection.parse_spelled(f"{config().name}+ca") is None
    assert connection.parse_spelled("home+psk") is None


def marks(*auths: Auth, **credentials: object) -> tuple[str, ...]:
    return replace(config(), proofs=ways("chA", "chB", *auths, **credentials)).marks  # type: ignore[arg-type]


def test_a_mark_is_of_what_we_prove_ourselves_with():
    """What else is accepted is no part of it; a secret is in none."""
    conn = config()
    more = replace(conn.proofs[0], trusted_der=(*conn.proofs[0].trusted_der, b"another authority"))
    assert replace(conn, proofs=(more,)).marks == conn.marks
    assert replace(conn, proofs=(more,)).fingerprint != conn.fingerprint
    assert marks(Auth.CA, Auth.PSK)[:2] == conn.marks
    assert marks(Auth.PSK, Auth.CA) == (*marks(Auth.PSK), conn.marks[1])
    assert len({marks(auth)[1] for auth in Auth}) == len(Auth)
    assert all(marks(auth)[1].startswith(f"{auth}:") for auth in Auth)
    both = marks(Auth.PSK, secrets=(SECRET, OTHER_SECRET))
    assert both == marks(Auth.PSK) != marks(Auth.PSK, secrets=(OTHER_SECRET, SECRET))
    tuned = replace(conn, tuning=Tuning(force_encapsulation=True)).marks
    assert (tuned[0] != conn.marks[0], tuned[1]) == (True, conn.marks[1])
