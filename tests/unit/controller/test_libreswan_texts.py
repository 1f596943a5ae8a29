# SPDX-License-Identifier: Apache-2.0

"""What Libreswan is given to read, and what it shows: recorded from versions 4.10 and 5.2."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from hypothesis import given
from hypothesis import strategies as st

from controller.ike.libreswan import conf, secrets, states
from controller.ike.libreswan.batch import without_sas
from controller.ike.libreswan.dialect import FIVE, FOUR, Dialect
from controller.ike.libreswan.pkcs12 import format_pkcs12
from controller.ike.libreswan.sas import Origin, ike_sas
from controller.ike.libreswan.states import State
from controller.plan.connection import SUITES, ConnConfig, ConnName, profile_of
from controller.plan.credentials.proof import in_plain
from ovn_ipsec.errors import IkeError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Auth, Profile, Revocation, Tuning
from tests.contracts.ike_backend import OTHER_SECRET, SECRET, config, der, lab, ways

RECORDED = Path(__file__).parent / "libreswan"
PAIR = ConnName("ovn-chB@10.9.0.2%10.9.0.1")


def settings(section: conf.Section) -> dict[str, str]:
    _, *lines = section.text.splitlines()
    return dict(line.strip().split("=", 1) for line in lines)


def made(conn: ConnConfig, **changes: object) -> list[dict[str, str]]:
    proof = replace(conn.proofs[0], **changes)  # type: ignore[arg-type]
    mine = "" if proof.auth is Auth.PSK else "ovn-cert-1"
    return [settings(one) for one in conf.sections(conn, proof, mine, "")]


# --- what it is given ----------------------------------------------------------------------------


def test_a_pair_is_two_connections_in_transport_mode():
    out, into = conf.sections(config(auth=Auth.PSK), config(auth=Auth.PSK).proofs[0], "", "")
    assert (out.name, into.name) == (f"{PAIR}+psk:out", f"{PAIR}+psk:in")
    found = settings(out)
    assert (found["leftprotoport"], found["rightprotoport"]) == ("17/0", "17/6081")
    assert (settings(into)["leftprotoport"], settings(into)["reqid"]) == ("17/6081", "2")
    assert (found["type"], found["auto"], found["leftupdown"]) == ("transport", "add", "%disabled")
    assert (found["leftid"], found["rightid"], found["authby"]) == ("@chA", "@chB", "secret")
    assert found["connalias"] == f'"ovn-ipsec {conf.pair_alias(PAIR)} ovn-d-{out.digest}"'
    assert conf.batch([out, into]).count("\nconn ") == 2


def test_only_the_designated_initiator_rekeys():
    assert made(config("chA", "chB", auth=Auth.PSK))[0]["rekey"] == "yes"
    assert made(config("chB", "chA", auth=Auth.PSK))[0]["rekey"] == "no"


def test_tuning_goes_where_it_belongs():
    tuning = Tuning(
        force_encapsulation=True,
        replay_window=0,
        dpd_delay_s=7,
        dpd_timeout_s=20,
        esp_lifetime_s=66,
        ike_lifetime_s=330,
    )
    (found, _) = made(replace(config(auth=Auth.PSK), tuning=tuning))
    assert (found["encapsulation"], found["replay-window"], found["esn"]) == ("yes", "0", "no")
    assert (found["dpddelay"], found["retransmit-timeout"]) == ("7s", "20s")
    assert (found["salifetime"], found["ikelifetime"]) == ("66s", "330s")
    assert found["rekeymargin"] == "6s"


def test_what_we_accept_is_in_no_connection():
    """Then nothing has to be loaded again when it changes; the secret is in none either."""
    conn = config(auth=Auth.PSK)
    (changed,) = ways("chA", "chB", Auth.PSK, secrets=(OTHER_SECRET, SECRET))
    assert made(conn) == made(replace(conn, proofs=(changed,), epoch=3))
    conn = config()
    assert made(conn) == made(conn, trusted_der=(b"another",))


def test_certificates_are_named():
    conn = config()
    one = made(conn, chain_der=(b"an intermediate",))[0]
    assert (one["leftcert"], one["leftsendcert"]) == ("ovn-cert-1", "always")
    assert (one["authby"], one["sendca"]) == ("ecdsa", "issuer")
    proof = config(auth=Auth.PINNED).proofs[0]
    (pinned, _) = conf.sections(conn, proof, "ovn-cert-1", "ovn-pin-1")
    assert settings(pinned)["rightcert"] == "ovn-pin-1"
    certificate, _ = lab().issue("chA", key=rsa.generate_private_key(65537, 2048))
    assert made(conn, certificate_der=der(certificate))[0]["authby"] == "rsasig"
    certificate, _ = lab().issue("chA", key=ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(IkeError, match="RSA and ECDSA"):
        made(conn, certificate_der=der(certificate))


def test_a_stock_peer_is_known_by_its_address():
    conn = config(auth=Auth.PSK)
    (plain,) = in_plain(conn.proofs, SECRET, ip_address("10.9.0.2"))
    (found, _) = made(replace(conn, proofs=(plain,)))
    assert (found["leftid"], found["rightid"]) == ("10.9.0.1", "10.9.0.2")
    ends, _ = secrets.entry(conn, plain.keys, plain=True)
    assert ends == ("10.9.0.1", "10.9.0.2")


@pytest.mark.parametrize("profile", sorted(conf.ALGORITHMS))
def test_each_profile_leads_to_its_suite(profile: Profile):
    suite = SUITES[profile]
    conn = replace(
        config(auth=Auth.PSK), ike_proposals=suite.ike, esp_proposals=suite.esp
    )  # fmt: skip
    assert conf.profile_made(conn) is profile
    assert made(conn)[0]["ike"] == conf.ALGORITHMS[profile].ike
    (sa,) = ike_sas(
        [State(serial=1, name=f"{PAIR}:out", kind="ESTABLISHED_IKE_SA")],
        {1: Origin(suite=conf.ALGORITHMS[profile].suite)},
    )[PAIR]
    assert profile_of(sa) is profile


def test_what_it_cannot_do_is_refused():
    suite = SUITES[Profile.PQ]
    for conn in (
        replace(config(), ike_proposals=suite.ike, esp_proposals=suite.esp),
        config(reqids=(conf.REQID_MAX + 1, 1)),
    ):
        with pytest.raises(IkeError):
            made(conn)
    with pytest.raises(IkeError, match="revoked"):
        made(config(), revocation=Revocation.STRICT)


JUNK = st.text(max_size=20) | st.sampled_from(["a\nauto=start", "a b", 'a"', "#a", "", "a\r", "\0"])


@given(text=JUNK)
def test_no_value_breaks_out_of_its_line(text: str):
    """Each is one word, or it is refused."""
    conn = replace(config(auth=Auth.PSK), remote_id=ChassisName(text))
    plain = re.fullmatch(r"[A-Za-z0-9@%._:;,+~/*-]*", text, re.ASCII) is not None
    try:
        out, _ = conf.sections(conn, conn.proofs[0], "", "")
    except IkeError:
        assert not plain
        return
    assert plain
    assert settings(out)["rightid"] == f"@{text}"
    assert len(out.text.splitlines()) == len(settings(out)) + 1


@given(text=JUNK)
def test_no_end_breaks_out_of_the_file_of_secrets(text: str):
    conn = replace(config(auth=Auth.PSK), remote_id=ChassisName(text))
    try:
        ends, entry = secrets.entry(conn, conn.proofs[0].keys, plain=False)
    except IkeError:
        return
    assert secrets.parse_entries(secrets.format_entries({ends: entry})) == {ends: entry}
    assert len(secrets.format_entries({ends: entry}).splitlines()) == 3


def test_names_are_understood_again():
    for auth in Auth:
        for child in ("out", "in"):
            name = conf.child_name(PAIR, auth, child)
            assert conf.parse_child_name(name) == (PAIR, auth, child)
            assert name in conf.every_name(PAIR)
    for name in ("", "ovn-x", f"{PAIR}:other", f"{PAIR}", "mine:out"):
        assert conf.conn_of(name) is None
    assert conf.parse_digest(["x", "ovn-d-" + "0" * 32]) == "0" * 32
    assert conf.parse_digest(["x"]) == ""


def test_a_secret_is_in_its_file_and_nowhere_else():
    conn = config(auth=Auth.PSK)
    (proof,) = ways("chA", "chB", Auth.PSK, secrets=(SECRET, OTHER_SECRET))
    ends, entry = secrets.entry(conn, proof.keys, plain=False)
    first, second = proof.keys
    text = secrets.format_entries({ends: entry})
    assert first.value.reveal().hex() in text
    assert second.value.reveal().hex() not in text
    assert first.value.reveal().hex() not in repr(entry)
    held = secrets.parse_entries(text + "junk\n@a @b : PSK 0x00\n")
    assert held == {ends: entry}
    assert secrets.all_ids(held) == {first.id, second.id}
    assert secrets.all_ids(secrets.without(held, second.id)) == {first.id}
    assert secrets.without(held, first.id) == {}


def test_an_id_that_is_no_word_is_refused():
    conn = config(auth=Auth.PSK)
    key = replace(conn.proofs[0].keys[0], id="a b")
    with pytest.raises(IkeError):
        secrets.entry(conn, (key,), plain=False)


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)],
    ids=["ecdsa", "rsa"],
)
def test_a_key_goes_with_its_certificate(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
    """As others read it, its MAC included; both have the same localKeyId."""
    certificate, _ = lab().issue("chA", key=key)
    key_der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    stored = format_pkcs12("ovn-key-1", key_der, der(certificate), b"saltsalt")
    read = load_pkcs12(stored, b"")
    assert read.key is not None
    assert read.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()) == key_der
    assert read.cert is not None
    assert (read.cert.friendly_name, read.cert.certificate) == (b"ovn-key-1", certificate)
    assert stored.count(sha256(der(certificate)).digest()) == 2
    with pytest.raises(ValueError, match="password"):
        load_pkcs12(stored[:-1] + b"!", b"")


# --- what it shows -------------------------------------------------------------------------------


def recorded(name: str) -> str:
    return (RECORDED / name).read_text("utf-8")


def test_states_become_sas():
    """Two children of one kind while one is replaced, all under one IKE_SA."""
    shown = states.parse_states(recorded("showstates-4.10.txt"), FOUR)
    assert shown.unreadable == {}
    (sa,) = ike_sas(shown.states, {5: Origin(begun_here=True, age_s=9, remote_id="chB")})[PAIR]
    assert (sa.id, sa.state, sa.auth, sa.initiator) == (5, "ESTABLISHED", Auth.PSK, True)
    assert (sa.established_s, sa.remote_id) == (9, "chB")
    assert [(c.id, c.name, c.state) for c in sa.children] == [
        (3, "in", "INSTALLED"),
        (4, "out", "INSTALLED"),
        (6, "out", "INSTALLED"),
    ]
    assert (sa.children[0].spi_in, sa.children[0].spi_out) == (0x63B8E756, 0x8F53A737)


def test_states_of_five_become_sas():
    """The same in its words."""
    shown = states.parse_states(recorded("showstates-5.2.txt"), FIVE)
    assert shown.unreadable == {}
    (sa,) = ike_sas(shown.states, {1: Origin(begun_here=True, age_s=9, remote_id="chB")})[PAIR]
    assert (sa.id, sa.state, sa.auth, sa.initiator) == (1, "ESTABLISHED", Auth.PSK, True)
    assert [(c.id, c.name, c.state) for c in sa.children] == [
        (2, "out", "INSTALLED"),
        (3, "in", "INSTALLED"),
    ]


@pytest.mark.parametrize(
    ("kind", "initiator"),
    [
        ("IKE_SA_INIT_I", True),
        ("IKE_AUTH_I", True),
        ("IKE_SA_INIT_R", False),
        ("REKEY_IKE_I1", False),
    ],
)
def test_five_tells_who_makes_an_ike_sa(kind: str, initiator: bool):
    text = f'#7: "{PAIR}+psk:out":500 {kind} (a story); idle;\n'
    (sa,) = ike_sas(states.parse_states(text, FIVE).states, {})[PAIR]
    assert (sa.state, sa.initiator) == ("CONNECTING", initiator)


def test_what_was_ended_is_ending_as_long_as_it_is_shown():
    """5.2 shows it as before until the peer has answered."""
    up = states.parse_states(recorded("showstates-5.2.txt"), FIVE).states
    (sa,) = ike_sas(up, {1: Origin(ended=True)})[PAIR]
    assert (sa.state, sa.suite) == ("DELETING", "")


def test_a_child_that_is_being_made_holds_nothing():
    """It goes with its IKE_SA, which is ended."""
    ike = State(serial=1, name=f"{PAIR}:out", kind="ESTABLISHED_IKE_SA")
    child = State(serial=2, name=f"{PAIR}:out", kind="NEW_CHILD_I1")
    assert without_sas({PAIR}, (ike, child), {1}) == {PAIR}
    assert without_sas({PAIR}, (ike, child), set()) == set()


def test_what_is_being_made_is_not_shown_as_up():
    """A child without a parent belongs to none yet."""
    shown = states.parse_states(recorded("showstates-larval-4.10.txt"), FOUR)
    assert {s.serial: s.is_up for s in shown.states} == {
        10: True, 11: True, 12: True, 16: False
    }  # fmt: skip
    (sa,) = ike_sas(shown.states, {})[PAIR]
    assert [child.id for child in sa.children] == [11, 12]


def line(kind: str, more: str = "", name: str = f"{PAIR}+psk:out") -> str:
    return f'000 #7: "{name}":500 STATE_V2_{kind} (a story);{more} idle;\n'


@pytest.mark.parametrize(
    ("kind", "state", "initiator"),
    [
        ("PARENT_I1", "CONNECTING", True),
        ("PARENT_R1", "CONNECTING", False),
        ("IKE_SA_DELETE", "DELETING", False),
        ("REKEY_IKE_I1", "CONNECTING", False),
    ],
)
def test_each_state_of_an_ike_sa(kind: str, state: str, initiator: bool):
    (sa,) = ike_sas(states.parse_states(line(kind), FOUR).states, {})[PAIR]
    assert (sa.state, sa.initiator, sa.suite, sa.remote_id) == (state, initiator, "", "")


def test_a_child_outlives_what_is_shown_of_its_parent():
    """A parent that is being rekeyed; a child that is deleted is none."""
    up = states.parse_states(line("ESTABLISHED_CHILD_SA", " IKE SA #3;"), FOUR).states
    (sa,) = ike_sas(up, {})[PAIR]
    assert (sa.id, sa.state, [child.id for child in sa.children]) == (3, "ESTABLISHED", [7])
    ending = states.parse_states(line("CHILD_SA_DELETE", " IKE SA #3;"), FOUR).states
    (sa,) = ike_sas(ending, {})[PAIR]
    assert sa.children == ()


def test_states_that_are_not_ours_are_left_out():
    text = line("ESTABLISHED_IKE_SA", name="theirs")
    text += '000 #8: pending CHILD SA for "theirs"\nanything else\n'
    assert states.parse_states(text, FOUR) == states.Shown()
    assert ike_sas([State(serial=1, name="theirs", kind="PARENT_I1")], {}) == {}
    stray = State(serial=2, name="theirs", kind="ESTABLISHED_CHILD_SA", parent=1)
    assert ike_sas([stray], {}) == {}
    ours = State(serial=1, name=f"{PAIR}:out", kind="ESTABLISHED_IKE_SA")
    assert ike_sas([ours, stray], {})[PAIR][0].children == ()


def test_traffic_is_heard():
    text = line("ESTABLISHED_CHILD_SA", " IKE SA #3;")
    detail = f'000 #7: "{PAIR}+psk:out" esp.1@10.9.0.2 esp.2@10.9.0.1 Traffic: ESPin='
    for amount, heard in (("0B", False), ("756B", True), ("2KB", True)):
        (state,) = states.parse_states(text + detail + f"{amount} ESPout=0B\n", FOUR).states
        assert (state.heard, state.spi_out, state.spi_in) == (heard, 1, 2)


def test_what_is_not_understood_is_not_skipped():
    """Nothing is known then of that connection; or of any, if it is not known of which."""
    for bad in (f'000 #7: "{PAIR}+psk:out" is odd\n', f'000 #7: "{PAIR}+psk:out":500 ODD\n'):
        shown = states.parse_states(bad, FOUR)
        assert shown.states == ()
        assert list(shown.unreadable) == [PAIR]
    orphan = f'000 #7: "{PAIR}+psk:out" esp.1@10.9.0.2 esp.2@10.9.0.1 Traffic:\n'
    assert list(states.parse_states(orphan, FOUR).unreadable) == [PAIR]
    with pytest.raises(IkeError):
        states.parse_states("000 #7: odd\n", FOUR)


def test_status_tells_version_algorithms_and_connections():
    status = states.parse_status(recorded("status-4.10.txt"))
    assert status.version == "4.10"
    assert dict(status.loaded) == {
        f"{PAIR}+psk:{child}": "00112233445566778899aabbccddeeff" for child in ("out", "in")
    }
    assert conf.able(status.algorithms) == frozenset(conf.ALGORITHMS)
    assert conf.able(frozenset()) == frozenset()
    with pytest.raises(IkeError):
        states.parse_status("")
    assert status.dialect is FOUR


def test_what_five_is_making():
    """A child that waits for its IKE_SA is none yet; the old IKE_SA is ended meanwhile."""
    shown = states.parse_states(recorded("showstates-larval-5.2.txt"), FIVE)
    assert shown.unreadable == {}
    old, new = ike_sas(shown.states, {5: Origin(ended=True)})[PAIR]
    assert (old.id, old.state, [child.id for child in old.children]) == (5, "DELETING", [3, 4])
    assert (new.id, new.state, new.initiator, new.children) == (6, "CONNECTING", True, ())


@pytest.mark.parametrize("version", ["3.32", "40.1", "5.0", "5.1", "5.20", "5.2.1", "5.3", "5.4"])
def test_a_release_that_was_not_tried_is_refused(version: str):
    """5.4 no longer shows the names of states."""
    text = recorded("status-5.2.txt").replace("pluto_version=5.2,", f"pluto_version={version},")
    with pytest.raises(IkeError, match=f"Libreswan {re.escape(version)} is not supported"):
        states.parse_status(text)


def test_five_tells_the_same():
    """Without the numbers in front, and AES-GCM under another name."""
    status = states.parse_status(recorded("status-5.2.txt"))
    assert (status.version, status.dialect) == ("5.2", FIVE)
    assert dict(status.loaded) == {
        f"{PAIR}+psk:out": "00112233445566778899aabbccddeeff",
        f"{PAIR}+psk:in": "00112233445566778899aabbccddeeff",
    }
    assert conf.able(status.algorithms) == frozenset(conf.ALGORITHMS)


def test_a_connection_without_our_mark_is_one_that_has_to_be_loaded():
    text = 'pluto_version=4.10, x\n000 "theirs": x\n000 "theirs":  aliases: y\n'
    assert states.parse_status(text + f'000 "{PAIR}:out": x\n').loaded == {f"{PAIR}:out": ""}


SAID = f"""\
181 "{PAIR}:out" #26: initiating IKEv2 connection
182 "{PAIR}:out" #26: sent IKE_AUTH request {{cipher=AES_GCM_16_256}}
003 "{PAIR}:out" #26: IKE SA authentication request rejected by peer: AUTHENTICATION_FAILED
036 "{PAIR}:out" #26: encountered fatal error in state STATE_V2_PARENT_I2
002 "{PAIR}:out" #26: deleting state (STATE_V2_PARENT_I2) aged 0.1s and NOT sending notification
021 no connection named "x"
"""


def said(text: str, dialect: Dialect) -> list[states.Said]:
    lines = (states.parse_said(line, dialect) for line in text.splitlines())
    return [one for one in lines if one is not None]


def test_what_is_said_of_an_attempt():
    """Its beginning, and its reason once; not what follows from that."""
    found = said(SAID, FOUR)
    assert [said.begins for said in found] == [True, False, False, False, False]
    assert [said.words for said in found if said.is_reason] == [
        "IKE SA authentication request rejected by peer: AUTHENTICATION_FAILED"
    ]
    assert {(said.name, said.serial) for said in found} == {(f"{PAIR}:out", 26)}
    (about,) = said('002 "a": added', FOUR)
    assert (about.serial, about.begins) == (0, False)


SAID_BY_FIVE = f"""\
"{PAIR}:out" #26: initiating IKEv2 connection to 10.9.0.2 using UDP
"{PAIR}:out" #26: sent IKE_AUTH request to 10.9.0.2:UDP/500
"{PAIR}:out" #26: IKE SA authentication request rejected by peer: AUTHENTICATION_FAILED
"{PAIR}:out" #26: encountered fatal error in state IKE_AUTH_I
ERROR: "{PAIR}:out" #27: netlink response for Del SA esp.493b4ade@10.9.0.1: No such process
no connection or alias named "x"'
"""


def test_five_says_it_without_numbers():
    found = said(SAID_BY_FIVE, FIVE)
    assert [one.begins for one in found] == [True, False, False, False, False]
    assert [one.serial for one in found] == [26] * 4 + [27]
    assert [one.words for one in found if one.is_reason] == [
        "IKE SA authentication request rejected by peer: AUTHENTICATION_FAILED"
    ]
    assert {one.name for one in found} == {f"{PAIR}:out"}
    assert said(SAID, FIVE) == said(SAID_BY_FIVE, FOUR) == []
