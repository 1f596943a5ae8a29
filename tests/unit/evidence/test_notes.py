# SPDX-License-Identifier: Apache-2.0
"""From the plan and the kernel to events: only what is new is noted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from evidence_world import start, state

from controller.evidence import notes
from controller.plan.connection import CHILDREN, ChildSa, IkeSa
from controller.plan.guard import GuardCounters
from controller.plan.pair.record import PairRecord
from controller.xfrm.values import Mode as XfrmMode
from controller.xfrm.values import XfrmState
from ovn_ipsec.evidence.events import Counted, Policy, Proof, State
from ovn_ipsec.evidence.ledger import GONE, Ledger
from ovn_ipsec.evidence.values import Certified, Counts, HostEvidence, LiveSa, Reading, Sums
from ovn_ipsec.model.policy import Auth, Mode, Phase
from ovn_ipsec.model.status import PairState
from ovn_ipsec.pki.keys import new_key, signature_hash
from ovn_ipsec.pki.values import KeyKind
from tests.contracts.ike_backend import config
from tests.fakes.timeline import EPOCH
from tests.worlds import policy

CONFIG = config(addresses=("10.9.0.1", "10.9.0.2"))
NAME = CONFIG.name
US, THEM = ip_address("10.9.0.1"), ip_address("10.9.0.2")
RECORD = PairRecord(
    name=NAME, pair=CONFIG.pair, mode=Mode.REQUIRE, state=PairState.ENCRYPTED, closed=True
)


def sa(number: int = 1, state: str = "ESTABLISHED", child: str = "INSTALLED") -> IkeSa:
    children = tuple(
        ChildSa(
            name=name,
            id=number,
            state=child,
            reqid=1,
            spi_in=number * 10 + n,
            spi_out=1,
            suite="AES_GCM_16-256",
            esn=True,
        )
        for n, name in enumerate(CHILDREN)
    )
    return IkeSa(
        conn=NAME,
        id=number,
        state=state,
        initiator=True,
        initiator_spi=number,
        children=children,
        remote_id="h2",
        suite="I",
    )


def certificate_der(kind: KeyKind) -> bytes:
    """Self-signed."""
    key = new_key(kind)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "h1")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(31)
    builder = builder.public_key(key.public_key()).not_valid_before(EPOCH)
    made = builder.not_valid_after(EPOCH + timedelta(days=1)).sign(key, signature_hash(key))
    return made.public_bytes(Encoding.DER)


def kernel(src: str, reqid: int, made_at: int = 5, spi: int = 7) -> XfrmState:
    dst = THEM if src == "10.9.0.1" else US
    return XfrmState(
        src=ip_address(src),
        dst=dst,
        spi=spi,
        proto=50,
        reqid=reqid,
        mode=XfrmMode.TRANSPORT,
        made_at=made_at,
        bytes=100,
        packets=2,
    )


def test_a_pair_is_noted_when_it_moves_and_not_again():
    """And once more by a controller that has not seen it yet."""
    ledger = Ledger()
    ledger.apply(start(1))
    first = notes.moved(None, RECORD, None, 2)
    assert first is not None
    ledger.apply(first)
    known = ledger.pairs[NAME]
    assert (known.state, known.mode, known.closed) == ("encrypted", "require", True)
    assert notes.moved(known, RECORD, None, 3) is None
    assert notes.moved(known, replace(RECORD, closed=False), None, 3) is not None
    ledger.apply(start(9))
    again = notes.moved(ledger.pairs[NAME], RECORD, 2, 10)
    assert again == replace(first, at=10, held_since=2)


def test_a_pair_that_is_gone_is_noted_as_what_it_was():
    """No record is left that could name it."""
    ledger = Ledger()
    ledger.apply_all((start(1), state(2, "encrypted")))
    found = notes.gone(ledger.pairs["p"], 5)
    assert found == replace(state(5, GONE), closed=False)
    assert isinstance(found, State)


def test_rekeys_are_sas_that_take_the_place_of_others():
    """The first are none, and one that is not up yet is none either."""
    first = notes.sas_seen([sa(1)])
    assert notes.sas_seen([sa(1, child="CREATED"), sa(2, state="CONNECTING")]).ikes == {1}
    assert notes.rekeyed(Sums(), notes.SasSeen(), first) == Sums()
    assert notes.rekeyed(Sums(), first, first) == Sums()
    found = notes.rekeyed(Sums(rekeys=1), first, notes.sas_seen([sa(2)]))
    assert found == Sums(rekeys=3, ike_rekeys=1)
    only = replace(first, children=frozenset({("out", 99), ("in", 11)}))
    assert notes.rekeyed(Sums(), first, only) == Sums(rekeys=1)


def test_the_newest_sa_that_carries_traffic_says_how_a_pair_is_protected():
    """With the certificate of who has proved to be there; a secret has none."""
    certificate = Certified(
        subject="CN=h2", issuer="", serial="1", sha256="", not_before=1, not_after=2, key=""
    )
    sas = [sa(1), sa(3, child="CREATED"), replace(sa(2), suite="J")]
    found = notes.proof(NAME, sas, certificate, 4)
    assert found == Proof(
        at=4,
        pair=NAME,
        auth="ca",
        ike="J",
        esp="AES_GCM_16-256",
        esn=True,
        identity="h2",
        certificate=certificate,
    )
    by_secret = notes.proof(NAME, [replace(sa(1), auth=Auth.PSK)], certificate, 4)
    assert by_secret is not None
    assert by_secret.certificate is None
    assert notes.proof(NAME, [sa(1, state="DELETING")], None, 4) is None


def test_who_has_authenticated_anew_is_told_from_a_rekey():
    """An IKE_SA that is rekeyed takes its CHILD_SAs over; with a secret there is no certificate."""
    first = notes.sas_seen([sa(1)])
    assert notes.authenticated(notes.SasSeen(), [sa(1)]) == "h2"
    assert notes.authenticated(first, [sa(1)]) == ""
    assert notes.authenticated(first, [sa(1), sa(2, state="CONNECTING")]) == ""
    assert notes.authenticated(first, [sa(1), sa(2)]) == "h2"
    assert notes.authenticated(first, [replace(sa(2), children=sa(1).children)]) == ""
    assert notes.authenticated(first, [replace(sa(2), auth=Auth.PSK)]) == ""


def test_an_sa_of_the_kernel_has_its_direction():
    """By the address of this chassis."""
    found = notes.live_sa(kernel("10.9.0.1", 1), US)
    assert found == LiveSa(out=True, spi=7, made_at=5, bytes=100, packets=2)
    assert not notes.live_sa(kernel("10.9.0.2", 1), US).out


def test_a_pair_is_held_since_both_of_its_directions_are():
    """The reverse half of each child carries nothing and says nothing."""
    both = [
        kernel("10.9.0.1", 1, 5),
        kernel("10.9.0.1", 1, 9),
        kernel("10.9.0.2", 2, 7),
        kernel("10.9.0.2", 1, 1),
        kernel("10.9.0.1", 2, 1),
    ]
    assert notes.held_since((1, 2), US, both) == 7
    assert notes.held_since((1, 2), US, both[:2]) is None


def test_a_policy_is_noted_when_it_is_obeyed_and_when_it_is_in_force():
    """Each once."""
    ledger = Ledger()
    obeyed, other = policy(Phase.ENFORCE), policy(Phase.ESTABLISH)
    found = notes.policies(ledger.host, obeyed, other, 1)
    generation = obeyed.generation
    assert found == [Policy(at=1, generation=generation, phase="enforce")]
    ledger.apply_all(found)
    assert notes.policies(ledger.host, obeyed, other, 2) == []
    found = notes.policies(ledger.host, obeyed, obeyed, 3)
    assert found == [Policy(at=3, generation=generation, phase="enforce", applied=True)]
    ledger.apply_all(found)
    assert notes.policies(ledger.host, obeyed, obeyed, 4) == []
    assert notes.policies(ledger.host, other, other, 4) != []


def test_what_could_not_be_counted_is_left_out():
    """A layer that could not be read has no figures, and no noughts either."""
    packets = GuardCounters(out_denied=1, out_clear=None, in_denied=3, in_clear=None, epoch="5")
    found = notes.counted({"nft": None, "xfrm": packets}, "boot", 9)
    reading = Reading(layer="xfrm", epoch="boot 5", counts=Counts(out_denied=1, in_denied=3))
    assert found == Counted(at=9, layers=(reading,))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (KeyKind.ECDSA_P256, "ECDSA secp256r1"),
        (KeyKind.RSA_3072, "RSA 3072"),
        (KeyKind.ED25519, "Ed25519"),
    ],
)
def test_a_certificate_is_described_with_its_key(kind: KeyKind, words: str):
    """Its dates, its serial number and its fingerprint besides."""
    der = certificate_der(kind)
    found = notes.certified(der)
    assert found is not None
    assert found.key == words
    assert found.subject == found.issuer
    assert found.not_before < found.not_after
    assert len(found.sha256) == 64
    assert notes.certified(der[:-1]) is None


def test_our_own_certificate_is_noted_once():
    """And that there is none any more."""
    der = certificate_der(KeyKind.ECDSA_P256)
    ledger = Ledger()
    for at, given, is_new in ((1, None, True), (2, None, False), (3, der, True), (4, der, False)):
        event = notes.own(ledger.host, "h1", given, at)
        assert (event is not None) == is_new
        if event is not None:
            ledger.apply(event)
    assert notes.own(ledger.host, "h9", der, 5) is not None
    assert ledger.host != HostEvidence()
