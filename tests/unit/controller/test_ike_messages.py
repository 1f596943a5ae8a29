# SPDX-License-Identifier: Apache-2.0
"""vici messages, both ways."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from vici.protocol import FiniteStream, Message

from controller.ike import messages, sections
from controller.plan.connection import ChildSa, ConnConfig, IkeSa, is_ours, spelled
from controller.plan.credentials.certificate import describe
from controller.plan.credentials.proof import in_plain
from ovn_ipsec.errors import IkeError
from ovn_ipsec.model.policy import Auth, Revocation, Tuning
from tests.contracts.ike_backend import SECRET, config, der, identity, lab, pin
from tests.unit.controller.test_ike_plan import pairs

NAME = config().name
OTHER = config(peer="chC").name
SA = {
    "uniqueid": b"7",
    "version": b"2",
    "state": b"ESTABLISHED",
    "remote-id": b"chB",
    "initiator": b"yes",
    "initiator-spi": b"17c01f73078b7221",
    "responder-spi": b"05030cdb4a09c767",
    "encr-alg": b"AES_GCM_16",
    "encr-keysize": b"256",
    "prf-alg": b"PRF_HMAC_SHA2_256",
    "dh-group": b"CURVE_25519",
    "established": b"12",
    "child-sas": {
        "in-4": {"name": b"in", "uniqueid": b"4", "reqid": b"2", "state": b"REKEYED"},
        "out-3": {
            "name": b"out",
            "uniqueid": b"3",
            "reqid": b"1",
            "state": b"INSTALLED",
            "protocol": b"ESP",
            "encap": b"yes",
            "spi-in": b"c0000001",
            "spi-out": b"c0000002",
            "encr-alg": b"AES_GCM_16",
            "encr-keysize": b"256",
            "esn": b"1",
            "install-time": b"11",
            "packets-in": b"5",
        },
    },
}


@st.composite
def configs(draw: st.DrawFn) -> ConnConfig:
    def maybe(low: int, high: int) -> int | None:
        return draw(st.none() | st.integers(low, high))

    tuning = Tuning(
        force_encapsulation=draw(st.booleans()),
        replay_window=maybe(0, 4096),
        dpd_delay_s=maybe(1, 86_400),
        dpd_timeout_s=maybe(1, 86_400),
        esp_lifetime_s=maybe(60, 604_800),
        ike_lifetime_s=maybe(300, 2_592_000),
    )
    return replace(config(), pair=draw(pairs()), tuning=tuning)


def decoded(section: sections.Section):
    return Message.deserialize(FiniteStream(Message.serialize(section)))


@given(configs())
@example(replace(config(), tuning=Tuning(replay_window=0)))
def test_a_connection_survives_the_wire(conn: ConnConfig):
    """Every value is there, and as it must be for no packet to be lost."""
    ((name, body),) = decoded(messages.connection(conn, conn.proofs[0])).items()
    assert name == conn.name
    assert body["unique"] == b"never"
    assert body["keyingtries"] == b"0"
    assert body["mobike"] == b"no"
    assert body["send_cert"] == b"always"
    assert body["remote"]["id"] == b"fqdn:" + conn.remote_id.encode()
    assert body["local"]["certs"] == [conn.proofs[0].certificate_der]
    assert ("dpd_timeout" in body) == (conn.tuning.dpd_timeout_s is not None)
    assert (body["encap"] == b"yes") == conn.tuning.force_encapsulation
    ike_s = int(body["rekey_time"]) + int(body["over_time"])
    assert ike_s == (conn.tuning.ike_lifetime_s or messages.IKE_LIFETIME_S)
    assert list(body["children"]) == ["out", "in"]
    for child in body["children"].values():
        assert child["start_action"] == b"none"
        assert child["mode"] == b"transport"
        assert 0 < int(child["rekey_time"]) < int(child["life_time"])
        has_esn = any(b"esn" in text for text in child["esp_proposals"])
        assert has_esn == (int(child["replay_window"]) > 0)


@given(configs())
def test_the_selectors_of_the_two_ends_mirror(conn: ConnConfig):
    """What one sends out is what the other takes in."""
    pair = conn.pair
    mirrored = replace(
        pair,
        local=pair.remote,
        remote=pair.local,
        out_port=pair.in_port,
        in_port=pair.out_port,
    )
    (here,) = messages.connection(conn, conn.proofs[0]).values()
    (there,) = messages.connection(replace(conn, pair=mirrored), conn.proofs[0]).values()
    for mine, theirs in (("out", "in"), ("in", "out")):
        one, other = here["children"][mine], there["children"][theirs]
        assert one["local_ts"] == other["remote_ts"]
        assert one["remote_ts"] == other["local_ts"]


def test_ports_stand_at_the_receiving_end():
    """Out: theirs. In: ours."""
    pair = replace(config().pair, out_port=6081, in_port=6082)
    (body,) = messages.connection(replace(config(), pair=pair), config().proofs[0]).values()
    children = body["children"]
    assert children["out"]["local_ts"] == ["10.9.0.1/32[17]"]
    assert children["out"]["remote_ts"] == ["10.9.0.2/32[17/6081]"]
    assert children["in"]["local_ts"] == ["10.9.0.1/32[17/6082]"]
    assert children["in"]["remote_ts"] == ["10.9.0.2/32[17]"]


def test_an_ike_sa_is_parsed():
    """With the children that are not gone."""
    child = ChildSa(
        name="out",
        id=3,
        state="INSTALLED",
        reqid=1,
        spi_in=0xC0000001,
        spi_out=0xC0000002,
        install_s=11,
        esn=True,
        udp_encap=True,
        suite="AES_GCM_16-256",
    )
    expected = IkeSa(
        conn=NAME,
        id=7,
        state="ESTABLISHED",
        initiator=True,
        initiator_spi=0x17C01F73078B7221,
        children=(child,),
        established_s=12,
        remote_id="chB",
        local_spi=0x17C01F73078B7221,
        remote_spi=0x05030CDB4A09C767,
        suite="AES_GCM_16-256/PRF_HMAC_SHA2_256/CURVE_25519",
    )
    assert messages.parse_ike_sas([{NAME: SA}]) == ({NAME: (expected,)}, {})
    ((found,),) = messages.parse_ike_sas([{NAME: SA}])[0].values()
    assert found.children[0].packets_in == 5


def test_a_half_open_sa_of_a_peer_is_parsed():
    """The responder's SPI is ours; the identity is not known yet."""
    half = {
        "uniqueid": b"8",
        "state": b"CONNECTING",
        "remote-id": b"%any",
        "initiator-spi": b"0000000000000001",
        "responder-spi": b"0000000000000002",
    }
    (sa,) = messages.parse_ike_sas([{NAME: half}])[0][NAME]
    assert (sa.initiator, sa.initiator_spi, sa.local_spi, sa.remote_spi) == (False, 1, 2, 1)
    assert (sa.remote_id, sa.children, sa.suite) == ("", (), "")


def test_sas_are_sorted_and_others_left_alone():
    """What is not ours is not even decoded."""
    others = {"home": {"uniqueid": b"\xff"}, "(unnamed)": {}, "up": b"yes", NAME: b"odd"}
    later = {**SA, "uniqueid": b"10"}
    found, unreadable = messages.parse_ike_sas([others, {NAME: later}, {NAME: SA}])
    assert [sa.id for sa in found[NAME]] == [7, 10]
    assert list(found) == [NAME]
    assert unreadable == {}


@pytest.mark.parametrize(
    "change",
    [
        {"uniqueid": b"seven"},
        {"uniqueid": None},
        {"uniqueid": b"\xff"},
        {"state": [b"ESTABLISHED"]},
        {"initiator-spi": b"xyz"},
        {"child-sas": b"none"},
        {"child-sas": {"out-3": b"x"}},
        {"child-sas": {"out-3": {"name": b"out"}}},
    ],
)
def test_a_damaged_sa_of_ours_costs_only_its_connection(change: dict[str, object]):
    """Of which nothing is known then, whatever else it has; the others are read."""
    items = [{NAME: SA}, {NAME: {**SA, **change}}, {OTHER: SA}, {NAME: SA}]
    found, unreadable = messages.parse_ike_sas(items)
    assert [OTHER] == list(found)
    assert [NAME] == list(unreadable)
    assert "the IKE daemon sent" in unreadable[NAME]


def test_a_peer_cannot_spoil_an_observation_with_its_identity():
    """Junk in it becomes question marks."""
    junk = {**SA, "remote-id": b"a\xff\n\x1b[2Jb"}
    assert messages.parse_ike_sas([{NAME: junk}])[0][NAME][0].remote_id == "a???[2Jb"


def test_lists_of_names_hold_only_ours():
    """Keys are all of them ours."""
    names = [b"home", NAME.encode(), NAME.encode() + b"+psk", b"\xff"]
    found = messages.parse_conns({"conns": names})
    assert found == {NAME: {Auth.CA, Auth.PSK}}
    assert messages.parse_conns({}) == {}
    assert messages.parse_keys({"keys": [b"ab", b"cd"]}) == {"ab", "cd"}
    with pytest.raises(IkeError):
        messages.parse_conns({"conns": b"x"})


def test_algorithms_are_named_whatever_they_are_for():
    """The section of the groups is dh in 5.9.8 and ke in 6."""
    old = {"aead": {"AES_GCM_16": b"openssl"}, "dh": {"ECP_384": b"openssl"}}
    assert messages.parse_algorithms(old) == {"AES_GCM_16", "ECP_384"}
    assert messages.parse_algorithms({"ke": {"ML_KEM_768": b"ml"}}) == {"ML_KEM_768"}
    with pytest.raises(IkeError):
        messages.parse_algorithms({"aead": b"x"})


def test_a_second_key_exchange_is_shown():
    """As strongSwan 6 lists it, beside the first."""
    hybrid = {**SA, "ke1-alg": b"ML_KEM_768"}
    (sa,) = messages.parse_ike_sas([{NAME: hybrid}])[0][NAME]
    assert sa.suite.endswith("/CURVE_25519/ML_KEM_768")


def test_traps_are_named_by_connection_and_child():
    """Others' traps are left out."""
    ours = {f"{NAME}/out": {"ike": NAME.encode(), "child": b"out"}}
    other = {"home/net": {"ike": b"home", "child": b"net"}, "odd": b"x", "none": {}}
    assert messages.parse_traps([ours, other]) == {(NAME, "out"): {Auth.CA}}
    damaged = {f"{NAME}/x": {"ike": NAME.encode(), "child": b"\xff"}, "y": {"ike": NAME.encode()}}
    assert messages.parse_traps([damaged, ours]).keys() == {(NAME, "?"), (NAME, ""), (NAME, "out")}


def test_an_event_touches_its_connection():
    """Whether up or down."""
    assert messages.touched({"up": b"yes", NAME: {}}) == {NAME: {Auth.CA}}
    assert messages.touched({f"{NAME}+pinned": {}}) == {NAME: {Auth.PINNED}}
    assert messages.touched({NAME: b"x", "home": {}}) == {}


def test_only_reasons_for_failures_are_kept_of_the_log():
    """Of connections of ours, shortened."""
    line = {"ikesa-name": NAME.encode(), "msg": b"received NO_PROPOSAL_CHOSEN notify error"}
    assert messages.reason(line) == (NAME, "received NO_PROPOSAL_CHOSEN notify error")
    assert messages.reason({**line, "msg": b"sending packet"}) is None
    assert messages.reason({**line, "msg": [b"x"]}) is None
    assert messages.reason({**line, "ikesa-name": b"home"}) is None
    assert messages.reason({"msg": b"no private key found"}) is None
    asked = {**line, "msg": b"parsed INFORMATIONAL request 2 [ N(AUTH_FAILED) ]"}
    assert messages.reason(asked) == (NAME, messages.REFUSED)
    made = {**line, "msg": b"generating INFORMATIONAL request 2 [ N(AUTH_FAILED) ]"}
    assert messages.reason(made) is None
    long = messages.reason({**line, "msg": b"no private key found for " + b"x" * 999})
    assert long is not None
    assert len(long[1]) == 200


def test_the_last_reasons_are_joined():
    """Each once, the newest last, at most three."""
    other = config(peer="chA").name
    said = [(NAME, "a"), (other, "z"), (NAME, "b"), (NAME, "a"), (NAME, "c"), (NAME, "d")]
    assert messages.joined(said) == ((other, "z"), (NAME, "a; c; d"))


@given(st.binary(max_size=300))
def test_words_are_printable_whatever_the_bytes(junk: bytes):
    """A log or a status can take them."""
    assert sections.words(junk).isprintable()
    assert sections.words([junk]) == ""


@pytest.mark.parametrize("auth", Auth)
def test_both_rounds_name_who_and_what_vouches(auth: Auth):
    """Both the same way, each with its name; nothing but that way's own trust."""
    conn = config(auth=auth)
    (proof,) = conn.proofs
    ((name, body),) = decoded(messages.connection(conn, proof)).items()
    assert name == spelled(conn.name, auth)
    how = b"psk" if auth is Auth.PSK else b"pubkey"
    assert (body["local"].pop("auth"), body["remote"].pop("auth")) == (how, how)
    assert (body["local"].pop("id"), body["remote"].pop("id")) == (b"fqdn:chA", b"fqdn:chB")
    kind = {Auth.CA: "cacerts", Auth.PINNED: "certs"}.get(auth)
    assert body["remote"].pop("revocation", None) == (b"relaxed" if auth is Auth.CA else None)
    assert body["remote"] == ({kind: list(proof.trusted_der)} if kind else {})
    psk = {"eap_id": proof.keys[0].id.encode()} if proof.keys else {}
    assert body["local"] == ({"certs": [proof.certificate_der]} if kind else psk)


@pytest.mark.parametrize("revocation", Revocation)
def test_what_must_be_known_of_the_peer_is_in_its_round(revocation: Revocation):
    """In the daemon's words, which are ours."""
    conn = config()
    proof = replace(conn.proofs[0], revocation=revocation)
    ((_, body),) = decoded(messages.connection(conn, proof)).items()
    assert body["remote"]["revocation"] == revocation.encode()


def test_each_authority_is_asked_about_under_a_name_of_its_own():
    """Another when the URI is; without one nobody is asked."""
    found = messages.ocsp([b"one", b"other"], "http://a/")
    assert [body["cacert"] for body in found.values()] == [b"one", b"other"]
    assert all(body["ocsp_uris"] == ["http://a/"] for body in found.values())
    assert not found.keys() & messages.ocsp([b"one"], "http://b/").keys()
    assert messages.ocsp([b"one"], "") == {}
    names = [*(name.encode() for name in found), b"theirs"]
    assert messages.parse_ocsp({"authorities": names}) == found.keys()
    assert messages.parse_ocsp({}) == frozenset()


def test_a_daemon_that_can_fetch_has_a_plugin_for_it():
    """Whatever else it has."""
    assert messages.parse_fetches({"plugins": [b"x509", b"curl"]})
    assert not messages.parse_fetches({"plugins": [b"x509"]})
    assert not messages.parse_fetches({})


def test_a_shared_key_belongs_to_the_peer_alone():
    """Else it would be found for every other peer of ours."""
    key = config(auth=Auth.PSK).proofs[0].keys[0]
    found = decoded(messages.shared_key(key))
    assert found["owners"] == [b"fqdn:chB"]
    assert found["data"] == key.value.reveal()
    assert found["id"] == key.id.encode()


def test_a_stock_peer_with_a_secret_is_known_by_its_address():
    """And so are we; the secret belongs to that address."""
    conn = config(auth=Auth.PSK)
    (proof,) = in_plain(conn.proofs, SECRET, conn.pair.remote)
    (body,) = decoded(messages.connection(conn, proof)).values()
    assert (body["local"]["id"], body["remote"]["id"]) == (b"10.9.0.1", b"10.9.0.2")
    found = decoded(messages.shared_key(proof.keys[0]))
    assert (found["owners"], found["data"]) == ([b"10.9.0.2"], SECRET.reveal())


def test_a_way_that_the_peer_has_not_chosen_is_no_reason():
    """Nor is a key that is tried before the right one."""
    said = [
        (NAME, f"selected peer config '{NAME}' unacceptable: non-matching authentication done"),
        (NAME, f"switching to peer config '{NAME}+psk'"),
    ]
    assert messages.joined(said) == ()
    assert messages.joined([(NAME, "signature validation failed, looking for another key")]) == ()
    assert messages.joined([*said, (NAME, "TS_UNACCEPTABLE")]) == ((NAME, "TS_UNACCEPTABLE"),)


def test_a_chain_stands_behind_its_certificate() -> None:
    """The peer may have the root alone."""
    conn = config()
    proof = replace(conn.proofs[0], chain_der=(b"issuing", b"above"))
    ((_, body),) = messages.connection(conn, proof).items()
    local = sections.section(body, "local")  # type: ignore[arg-type]
    assert local["certs"] == [proof.certificate_der, b"issuing", b"above"]
    assert proof.parts != conn.proofs[0].parts


def test_what_only_tries_a_credential_matches_no_peer() -> None:
    """Addresses of nobody, and an identity of nobody; with all that the daemon has to take."""
    own = describe("lab", identity("chA")[0], [lab().certificate], [lab().certificate])
    ((name, body),) = messages.probe(own).items()
    assert not is_ours(name)
    assert (body["local_addrs"], body["remote_addrs"]) == (["192.0.2.1"], ["192.0.2.2"])  # type: ignore[index,call-overload]
    remote = body["remote"]  # type: ignore[index,call-overload]
    assert remote["cacerts"] == [der(lab().certificate)]
    assert body["local"]["certs"] == [own.certificate_der, *own.chain_der]  # type: ignore[index,call-overload]
    pinned = describe("lab", pin("chA")[0], [])
    (body,) = messages.probe(pinned).values()
    assert body["remote"]["certs"] == [pinned.certificate_der]  # type: ignore[index,call-overload]


def test_the_certificates_of_an_identity_are_listed_once() -> None:
    """An event without one, or with something else in its place, has none."""
    assert messages.of_identity("chB") == {"type": "X509", "subject": "fqdn:chB"}
    listed = [{"data": b"two"}, {"data": b"one"}, {"data": b"two"}, {"type": b"X509"}]
    assert messages.parse_certificates([*listed, {"data": {}}, {"data": b""}]) == (b"one", b"two")
