# SPDX-License-Identifier: Apache-2.0
"""What an authority signs holds before who verifies it; keys and renewal times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.errors import InvariantError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki.authority import Authority, Shape, is_permitted
from ovn_ipsec.pki.dates import next_update, not_after, not_before
from ovn_ipsec.pki.errors import PkiError
from ovn_ipsec.pki.keys import (
    key_id,
    kind_of,
    new_key,
    private_pem,
    read_private,
    weakness,
)
from ovn_ipsec.pki.profile import renewal_at, self_signed
from ovn_ipsec.pki.request import check_request, make_request
from ovn_ipsec.pki.values import KeyKind

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HV1 = ChassisName("hv1.example.org")
NO_VERIFIER = "this version of cryptography (before 43) verifies no chain for servers and clients"
NAMES = st.from_regex(r"[A-Za-z0-9._-]{1,253}", fullmatch=True).map(ChassisName)


@cache
def key(kind: KeyKind = KeyKind.ECDSA_P256, number: int = 0) -> Any:
    return new_key(kind)


def shape(name: str = "Test CA", life: timedelta = 3650 * DAY, permitted: Any = ()) -> Shape:
    return Shape(name=name, life=life, permitted=permitted)


@cache
def authority(kind: KeyKind = KeyKind.ECDSA_P256, *permitted: str) -> Authority:
    return Authority.new(key(kind, 1), shape(permitted=permitted), 1, NOW)


def signed(by: Authority, chassis: ChassisName = HV1, kind: KeyKind = KeyKind.ECDSA_P256) -> Any:
    request = check_request(make_request(key(kind), chassis), chassis)
    return x509.load_pem_x509_certificate(by.sign(request, chassis, 365 * DAY, NOW).encode())


def revoked_at(one: Any) -> datetime:
    return getattr(one, "revocation_date_utc", None) or one.revocation_date.replace(tzinfo=UTC)


def verify(certificate: x509.Certificate, by: Authority, name: str = HV1) -> None:
    """As a server and as a client: OVSDB over SSL makes a chassis both."""
    verification = pytest.importorskip("cryptography.x509.verification", reason=NO_VERIFIER)
    builder = verification.PolicyBuilder().store(verification.Store([by.certificate])).time(NOW)
    if not hasattr(builder, "build_client_verifier"):
        pytest.skip(NO_VERIFIER)
    builder.build_server_verifier(x509.DNSName(name)).verify(certificate, [])
    builder.build_client_verifier().verify(certificate, [])


def assert_untrusted(certificate: x509.Certificate, by: Authority, name: str = HV1) -> None:
    verification = pytest.importorskip("cryptography.x509.verification", reason=NO_VERIFIER)
    with pytest.raises(verification.VerificationError):
        verify(certificate, by, name)


@pytest.mark.parametrize(
    ("kind", "signer"),
    [(kind, kind) for kind in KeyKind] + [(KeyKind.ED25519, KeyKind.RSA_3072)],
)
def test_a_chain_holds(kind: KeyKind, signer: KeyKind):
    """Whatever the kinds of the two keys; Ed25519 is outside the profile of this verifier."""
    certificate = signed(authority(signer), kind=kind)
    certificate.verify_directly_issued_by(authority(signer).certificate)
    if KeyKind.ED25519 not in (kind, signer):
        verify(certificate, authority(signer))


def test_a_certificate_is_not_that_of_another_chassis_or_authority():
    """The two reasons to have one."""
    certificate = signed(authority())
    assert_untrusted(certificate, authority(), "hv2.example.org")
    other = Authority.new(key(number=2), shape(), 1, NOW)
    assert_untrusted(certificate, other)


@pytest.mark.parametrize("kind", KeyKind)
def test_a_certificate_says_what_daemons_look_for(kind: KeyKind):
    """SAN and CN, usages for IKE and SSL, and no authority."""
    certificate = signed(authority(), kind=kind)
    get = certificate.extensions.get_extension_for_class
    assert [x509.DNSName(HV1)] == list(get(x509.SubjectAlternativeName).value)
    assert get(x509.BasicConstraints).critical
    assert not get(x509.BasicConstraints).value.ca
    usage = get(x509.KeyUsage).value
    assert (True, kind is KeyKind.RSA_3072, False) == (
        usage.digital_signature,
        usage.key_encipherment,
        usage.key_cert_sign,
    )
    assert {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.IPSEC_IKE,
    } == set(get(x509.ExtendedKeyUsage).value)


def test_the_stock_program_finds_the_name():
    """It looks for `CN=`, the name and a comma in the subject as RFC 2253 prints it."""
    assert f"CN={HV1},O=ovn-ipsec" == signed(authority()).subject.rfc4514_string()


@pytest.mark.parametrize(("length", "is_cn"), [(1, True), (64, True), (65, False), (253, False)])
def test_a_name_too_long_for_a_cn_is_only_a_san(length: int, is_cn: bool):
    """Two of them still have two subjects."""
    one, other = (
        signed(authority(), ChassisName("h" * (length - 1) + last)) for last in ("1", "2")
    )
    assert is_cn == bool(one.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    assert one.subject != other.subject


@given(NAMES)
def test_every_chassis_name_can_be_signed(chassis: ChassisName):
    """It is in the SAN as it is."""
    names = signed(authority(), chassis).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert [str(chassis)] == names.value.get_values_for_type(x509.DNSName)


def test_a_certificate_outlives_neither_its_wish_nor_its_authority():
    """And is valid already for who has a clock that is late."""
    certificate = signed(authority())
    assert not_before(certificate) == NOW - timedelta(minutes=10)
    assert not_after(certificate) == NOW + 365 * DAY
    short = Authority.new(key(number=1), shape(life=30 * DAY), 1, NOW)
    assert not_after(signed(short)) == NOW + 30 * DAY


@pytest.mark.parametrize("when", [NOW - DAY, NOW + 3650 * DAY])
def test_an_authority_out_of_its_dates_signs_nothing(when: datetime):
    """It says since when, and what to do."""
    request = check_request(make_request(key(), HV1), HV1)
    with pytest.raises(PkiError, match="valid from 2029-12-31 to 2039-12-30 only") as caught:
        authority().sign(request, HV1, DAY, when)
    assert "rollover" in caught.value.next_step


def test_a_request_is_only_signed_for_whom_it_was_checked():
    """Anything else is a bug of ours."""
    request = check_request(make_request(key(), HV1), HV1)
    with pytest.raises(InvariantError):
        authority().sign(request, ChassisName("hv2"), DAY, NOW)


def test_an_authority_may_be_limited():
    """It does not sign beyond the limit; and who verifies would not take it."""
    limited = authority(KeyKind.ECDSA_P256, "example.org", "dc2")
    assert limited.permitted == ("example.org", "dc2")
    verify(signed(limited), limited)
    with pytest.raises(PkiError, match=r"names at or below example.org, dc2"):
        signed(limited, ChassisName("hv1.example.com"))
    outside = ChassisName("hv1.example.com")
    assert_untrusted(signed(authority(), outside), limited, outside)


@pytest.mark.parametrize(
    ("name", "is_inside"),
    [
        ("example.org", True),
        ("hv1.example.org", True),
        ("HV1.EXAMPLE.ORG", True),
        ("hv1example.org", False),
        ("example.org.evil", False),
        ("org", False),
    ],
)
def test_where_a_limit_ends(name: str, is_inside: bool):
    """At labels, and without case, as RFC 5280 has it."""
    assert is_inside == is_permitted(ChassisName(name), ("example.org",))
    assert is_permitted(ChassisName(name), ())


@pytest.mark.parametrize(
    ("name", "permitted"),
    [("", ()), ("x" * 62, ()), ("a\nb", ()), ("a", ("",)), ("a", (".org",)), ("a", ("*.org",))],
)
def test_an_authority_that_cannot_be_is_refused(name: str, permitted: tuple[str, ...]):
    """Before anything is made."""
    with pytest.raises(PkiError, match="expected"):
        Authority.new(key(), shape(name, permitted=permitted), 1, NOW)


def test_an_authority_is_no_more_than_one():
    """It signs certificates and lists, and no other authority."""
    get = authority().certificate.extensions.get_extension_for_class
    usage = get(x509.KeyUsage).value
    assert (True, True, False) == (usage.key_cert_sign, usage.crl_sign, usage.digital_signature)
    assert get(x509.BasicConstraints).value == x509.BasicConstraints(ca=True, path_length=0)
    assert (KeyKind.ECDSA_P256, "Authority('Test CA G1')") == (
        authority().key_kind,
        repr(authority()),
    )


def test_an_authority_needs_its_own_key():
    """A pair of files that do not fit is noticed before anything is signed."""
    with pytest.raises(PkiError, match="not that of its certificate"):
        Authority(authority().certificate, key())


@pytest.mark.parametrize("kind", KeyKind)
def test_a_list_of_revoked_certificates_holds(kind: KeyKind):
    """Signed, numbered, dated."""
    pem = authority(kind).crl([(5, NOW)], 7, NOW)
    found = x509.load_pem_x509_crl(pem.encode())
    assert found.is_signature_valid(authority(kind).certificate.public_key())
    assert [(5, NOW)] == [(one.serial_number, revoked_at(one)) for one in found]
    assert found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    assert next_update(found) == NOW + 30 * DAY


@pytest.mark.parametrize("kind", KeyKind)
def test_a_pinned_certificate_is_signed_by_its_own_key(kind: KeyKind):
    """With the name that peers expect, and no authority."""
    certificate = x509.load_pem_x509_certificate(
        self_signed(key(kind), HV1, 90 * DAY, NOW).encode()
    )
    certificate.verify_directly_issued_by(certificate)
    get = certificate.extensions.get_extension_for_class
    assert [str(HV1)] == get(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert not get(x509.BasicConstraints).value.ca
    assert not_after(certificate) == NOW + 90 * DAY


@given(NAMES, st.timedeltas(min_value=timedelta(hours=1), max_value=3650 * DAY))
def test_renewal_is_due_late_in_a_life(chassis: ChassisName, life: timedelta):
    """Between 70 and 90 %, and always at the same time."""
    due = renewal_at(NOW, NOW + life, chassis)
    assert 0.7 * life <= due - NOW <= 0.9 * life
    assert due == renewal_at(NOW, NOW + life, chassis)


def test_renewals_are_spread():
    """A thousand chassis of one minute renew over a fifth of their life."""
    due = sorted(renewal_at(NOW, NOW + 100 * DAY, ChassisName(f"hv{n}")) for n in range(1000))
    assert due[-1] - due[0] > 19 * DAY
    assert max(b - a for a, b in pairwise(due)) < DAY


@pytest.mark.parametrize("kind", KeyKind)
def test_a_key_is_written_and_read(kind: KeyKind):
    """As PKCS #8; and its kind is known again."""
    again = read_private("k", private_pem(key(kind)))
    assert key_id(key(kind).public_key()) == key_id(again.public_key())
    assert (kind, kind) == (kind_of(again), kind_of(again.public_key()))
    assert not weakness(again.public_key())


def other_key() -> bytes:
    return x25519.X25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def locked_key() -> bytes:
    return key().private_bytes(  # type: ignore[no-any-return]
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2")
    )


@pytest.mark.parametrize("pem", [b"", b"hunter2", locked_key(), other_key()])
def test_what_is_no_usable_key_is_refused(pem: bytes):
    """Without a word of what it is."""
    with pytest.raises(PkiError) as caught:
        read_private("k.pem", pem)
    assert "expected" in str(caught.value)
    assert not any(line in f"{caught.value!r}".encode() for line in pem.splitlines() if line)
    assert caught.value.__cause__ is None


def test_a_key_that_is_too_large_is_refused():
    """Verifying with it would hold the signer up."""
    numbers = rsa.RSAPublicNumbers(65537, (1 << 8199) + 1)
    assert "8200 bits" in weakness(numbers.public_key())
    assert not weakness(ec.generate_private_key(ec.SECP521R1()).public_key())
