# SPDX-License-Identifier: Apache-2.0
"""Certificates that peers publish: what is taken of a hostile row, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from controller.plan.credentials.pins import (
    FORGET_S,
    HOLD_S,
    PIN_MAX,
    READ_BURST,
    READ_S,
    Pins,
    parse_pin,
)
from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki.dates import not_after
from ovn_ipsec.pki.profile import for_authority, self_signed
from tests.contracts.ike_backend import DAY, NOW, Authority, new_key
from tests.old_signatures import signed_as
from tests.worlds import B

LIFE = timedelta(days=30)


def good(name: str = B, now=NOW, key=None) -> str:
    return self_signed(key or new_key(), ChassisName(name), LIFE, now)


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def built(*extensions: tuple[x509.ExtensionType, bool]) -> str:
    """A self-signed certificate with these extensions only."""
    key = new_key()
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return pem(builder.sign(key, SHA256()))


def forged() -> str:
    key = rsa.generate_private_key(65_537, 2048)
    return pem(signed_as(x509.load_pem_x509_certificate(good(key=key).encode()), key, "sha1"))


SAN = (x509.SubjectAlternativeName([x509.DNSName(B)]), False)


def with_names(*names: x509.GeneralName) -> str:
    return built((x509.SubjectAlternativeName(list(names)), False))


def ca() -> str:
    key = new_key()
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    builder = for_authority(builder, ()).add_extension(*SAN)
    return pem(builder.sign(key, SHA256()))


def usage() -> tuple[x509.KeyUsage, bool]:
    flags = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(key_encipherment=True, **flags), True


def test_a_good_pin_is_taken_as_it_is():
    """With its end, and around it white space."""
    text = good()
    found = parse_pin(B, f"\n{text}\n", NOW)
    certificate = x509.load_pem_x509_certificate(text.encode())
    assert found.der == certificate.public_bytes(Encoding.DER)
    assert found.not_after == not_after(certificate)
    assert parse_pin(B, built(SAN), NOW).der


BAD: dict[str, Callable[[], str]] = {
    "at most": lambda: "x" * (PIN_MAX + 1),
    "expected one PEM block": lambda: good() + good(),
    "nothing else": lambda: "AAAA",
    "cannot be parsed": lambda: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "the DNS name chB": lambda: good("chA"),
    "one subject alternative name, the DNS name chB": built,
    "one subject alternative": lambda: with_names(x509.DNSName(B), x509.DNSName("x")),
    "one subject": lambda: with_names(x509.DNSName(B), x509.RFC822Name("a@b")),
    "expected one": lambda: with_names(x509.UniformResourceIdentifier("chB")),
    "an RSA key of 1024 bits": lambda: good(key=rsa.generate_private_key(65_537, 1024)),  # noqa: S505
    "on the curve": lambda: good(key=ec.generate_private_key(ec.SECP256K1())),
    "signed with its own key": lambda: pem(Authority(now=NOW).issue(B, now=NOW)[0]),
    "valid only from": lambda: good(now=NOW - 99 * DAY),
    "valid only": lambda: good(now=NOW + DAY),
    "could sign others": ca,
    "critical extension 1.2.3.4": lambda: built(
        SAN, (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
    ),
    "signed with SHA-1": forged,
    "lacks digitalSignature": lambda: built(SAN, usage()),
    "extendedKeyUsage": lambda: built(
        SAN, (x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.2.3")]), False)
    ),
}


@pytest.mark.parametrize(("words", "make"), BAD.items(), ids=BAD.keys())
def test_anything_else_is_refused_by_place_and_reason(words: str, make: Callable[[], str]):
    """With the table, row and key, and without the text."""
    text = make()
    with pytest.raises(InputError) as caught:
        parse_pin(B, text, NOW)
    assert words in caught.value.reason
    assert (caught.value.table, caught.value.row) == ("Chassis", B)
    assert caught.value.key == "external_ids:ovn-ipsec-cert"
    assert caught.value.text == f"{len(text)} characters"


@given(st.text() | st.binary().map(lambda b: b.decode("latin-1")))
def test_junk_raises_nothing_else(text: str):
    """Whatever it is."""
    with pytest.raises(InputError):
        parse_pin(B, text, NOW)


def test_a_pin_is_known_until_it_is_replaced():
    """A row that says nothing leaves it; the former is held for a while."""
    pins, one, other = Pins(), good(), good()
    assert pins.of(B, 0, NOW) == ()
    assert pins.note(B, one, 0)
    assert not pins.note(B, one, 1)
    assert not pins.note(B, "", 2)
    (first,) = pins.of(B, 3, NOW)
    assert pins.of(B, 3, NOW) == (first,)
    assert pins.note(B, other, 10)
    second, kept = pins.of(B, 10, NOW)
    assert (kept, second != first) == (first, True)
    assert pins.due(10 + HOLD_S - 1) == []
    assert pins.due(10 + HOLD_S) == [B]
    assert pins.due(10 + HOLD_S) == []
    assert pins.of(B, 500, NOW) == (second,)
    assert pins.of(B, 500, NOW + 60 * DAY) == ()


def test_a_bad_pin_leaves_the_one_before_and_is_named_once():
    """Until a good one comes."""
    pins, one = Pins(), good()
    pins.note(B, one, 0)
    held = pins.of(B, 0, NOW)
    assert pins.note(B, "junk", 1)
    assert pins.of(B, 1, NOW) == held
    (refused,) = pins.refusals()
    assert pins.take_refusals() == [refused]
    assert pins.take_refusals() == []
    pins.note(B, one, 2)
    assert pins.of(B, 2, NOW) == held
    assert pins.refusals() == ()


def test_the_pin_of_a_chassis_without_a_row_is_forgotten_in_the_end():
    """Not at once: ovn-controller makes its row anew when it restarts."""
    pins, one = Pins(), good()
    pins.note(B, one, 0)
    held = pins.of(B, 0, NOW)
    assert not pins.note(B, None, 10)
    assert not pins.note(B, None, 11)
    assert not pins.note("nobody", None, 11)
    assert pins.of(B, 12, NOW) == held
    assert not pins.note(B, one, 20)
    assert not pins.note(B, None, 30)
    assert pins.note(B, "junk", 31)
    pins.note(B, None, 40)
    pins.of(B, 40, NOW)
    assert pins.wake_at() == 40 + FORGET_S
    assert pins.due(40 + FORGET_S - 1) == []
    assert pins.due(40 + FORGET_S) == [B]
    assert pins.of(B, 700, NOW) == ()
    assert pins.refusals() == ()
    pins.note(B, one, 700)
    pins.of(B, 700, NOW)
    pins.note(B, good(), 701)
    pins.of(B, 701, NOW)
    assert pins.wake_at() == 701 + HOLD_S
    pins.note(B, None, 701)
    assert pins.due(701 + FORGET_S) == [B]
    assert pins.wake_at() is None


def test_a_pin_that_changes_all_the_time_is_parsed_now_and_then():
    """A thousand changes a second cost some parses at first and one every READ_S; the last counts.

    Until its turn comes, what was taken before is what the chassis may show.
    """
    pins, texts = Pins(), [good() for _ in range(3)]
    parsed = []
    for step in range(5000):
        now = step / 100
        if pins.note(B, texts[step % 3] if step % 2 else f"junk {step}", now):
            parsed.append(step)
            pins.of(B, now, NOW)
        parsed += [step] * len(pins.due(now))
        pins.of(B, now, NOW)
    assert READ_BURST <= len(parsed) <= READ_BURST + 50 / READ_S + 1
    assert len(pins.take_refusals()) <= len(parsed)
    pins = Pins()
    for step in range(READ_BURST + 1):
        pins.note(B, texts[step % 2], 0)
        held = pins.of(B, 0, NOW)
    pins.note(B, texts[2], 0)
    assert pins.of(B, 0, NOW) == held
    assert pins.wake_at() == READ_S
    assert pins.due(READ_S) == [B]
    assert pins.of(B, READ_S, NOW)[0] == parse_pin(B, texts[2], NOW).der


def test_of_a_text_of_any_size_no_more_is_kept_than_tells_that_it_is_none():
    """A row may hold megabytes."""
    pins = Pins()
    assert pins.note(B, "x" * 10_000_000, 0)
    assert len(pins._held[B].text) == PIN_MAX + 1
    assert not pins.note(B, "x" * 9_000_000, 1)
    assert pins.of(B, 1, NOW) == ()
    (refused,) = pins.refusals()
    assert "at most" in refused.reason
