# SPDX-License-Identifier: Apache-2.0
"""Requests: what may be asked for, and that nothing else gets in."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki.errors import PkiError, RequestError
from ovn_ipsec.pki.keys import new_key
from ovn_ipsec.pki.request import check_request, make_request, requested_name
from ovn_ipsec.pki.values import KeyKind

HV1 = ChassisName("hv1")


@cache
def key(kind: KeyKind = KeyKind.ECDSA_P256) -> Any:
    return new_key(kind)


def weak(kind: str) -> Any:
    return {
        "rsa-1024": lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505 - weak, to be refused
        "p-192": lambda: ec.generate_private_key(ec.SECP192R1()),
        "k-256": lambda: ec.generate_private_key(ec.SECP256K1()),
        "ed448": ed448.Ed448PrivateKey.generate,
        "dsa": lambda: dsa.generate_private_key(1024),  # noqa: S505
    }[kind]()


def request(
    *common_names: str, san: list[x509.GeneralName] | None = None, signer: Any = None
) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names])
    builder = x509.CertificateSigningRequestBuilder(subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if san is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
    signer = signer or key()
    hashed = None if isinstance(signer, ed448.Ed448PrivateKey) else SHA256()
    return builder.sign(signer, hashed).public_bytes(Encoding.PEM).decode()


DNS = x509.DNSName


@pytest.mark.parametrize("kind", KeyKind)
@pytest.mark.parametrize("name", ["hv1", "h" * 253, "5c6f8d9e-1a2b-4c3d-8e9f-0123456789ab"])
def test_what_a_chassis_asks_for_can_be_answered(kind: KeyKind, name: str):
    """With every kind of key, and a name of any length."""
    chassis = ChassisName(name)
    pem = make_request(key(kind), chassis)
    found = check_request(pem, chassis)
    assert (chassis, key(kind).public_key()) == (found.chassis, found.public_key)
    if len(name) < 64:
        assert chassis == requested_name(pem)


@pytest.mark.parametrize(
    "pem",
    [
        request("hv1"),
        request("hv1", san=[DNS("hv1")]),
        request(san=[DNS("hv1")]),
        request("hv1").replace("CERTIFICATE", "NEW CERTIFICATE"),
        "\n" + request("hv1").replace("\n", "\r\n") + "\n",
    ],
)
def test_every_spelling_of_the_one_name_is_taken(pem: str):
    """CN, SAN, or both; and its CA:TRUE goes nowhere."""
    assert check_request(pem, HV1).chassis == HV1


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (request(), "names are 'none'"),
        (request("hv2"), "expected one SAN DNS name, or a CN: hv1"),
        (request("HV1"), "expected one SAN"),
        (request("hv1", "hv2"), "hv1, hv2"),
        (request("hv2", san=[DNS("hv1")]), "hv1, hv2"),
        (request("hv1", san=[DNS("hv2")]), "hv1, hv2"),
        (request("hv1", san=[DNS("hv1"), DNS("hv2")]), "2 subject alternative names"),
        (request("hv1", san=[DNS("hv1"), DNS("hv1")]), "2 subject alternative names"),
        (request("hv1", san=[]), "0 subject alternative names"),
        (request("hv1", san=[x509.RFC822Name("hv1")]), "expected one, a DNS name"),
        (request("hv1", san=[x509.UniformResourceIdentifier("hv1")]), "expected one, a DNS name"),
        ("", "one PEM block"),
        (request("hv1") * 2, "one PEM block"),
        ("text\n" + request("hv1"), "one PEM block"),
        (request("hv1").replace("CERTIFICATE REQUEST", "CERTIFICATE"), "one PEM block"),
        (request("hv1").replace("END CERTIFICATE", "END NEW CERTIFICATE"), "one PEM block"),
        (request("hv1").replace("MI", "éé", 1), "one PEM block"),
        ("x" * 8193, "8193 characters; expected at most 8192"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "parsed"),
    ],
)
def test_everything_else_is_refused(pem: str, reason: str):
    """With what was expected."""
    with pytest.raises(RequestError, match=reason):
        check_request(pem, HV1)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("rsa-1024", "an RSA key of 1024 bits"),
        ("p-192", "curve secp192r1"),
        ("k-256", "curve secp256k1"),
        ("ed448", "a key of another kind"),
        ("dsa", "a key of another kind"),
    ],
)
def test_a_weak_or_strange_key_is_refused(kind: str, reason: str):
    """With the keys that are expected."""
    with pytest.raises(RequestError, match=f"{reason}.*expected RSA of 2048"):
        check_request(request("hv1", signer=weak(kind)), HV1)


def point(signer: ec.EllipticCurvePrivateKey) -> bytes:
    return signer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def test_a_request_without_proof_of_possession_is_refused():
    """The key of another, which anybody can read, under a signature of one's own."""
    thief = ec.generate_private_key(ec.SECP256R1())
    der = x509.load_pem_x509_csr(request("hv1", signer=thief).encode()).public_bytes(Encoding.DER)
    assert point(thief) in der
    with pytest.raises(RequestError, match="signature does not fit"):
        check_request(as_pem(der.replace(point(thief), point(key()))), HV1)


@pytest.mark.parametrize(("names", "count"), [((), 0), (("hv1", "hv2"), 2)])
def test_a_name_is_only_taken_from_a_request_that_has_one(names: tuple[str, ...], count: int):
    """Otherwise a person would have to guess."""
    with pytest.raises(RequestError, match=f"holds {count} names"):
        requested_name(request(*names))


@pytest.mark.parametrize("name", ["..", "../../x", "hv 1", "h" * 254])
def test_a_name_in_a_request_may_be_junk(name: str):
    """It is refused as a chassis name."""
    with pytest.raises(PkiError, match="not a chassis name"):
        requested_name(request(san=[DNS(name)]))


@given(st.text(max_size=9000) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_no_text_raises_anything_else(text: str):
    """Whatever it is."""
    with pytest.raises(RequestError):
        check_request(text, HV1)


DER = x509.load_pem_x509_csr(request("hv1", san=[DNS("hv1")]).encode()).public_bytes(Encoding.DER)


def as_pem(der: bytes) -> str:
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{text}-----END CERTIFICATE REQUEST-----\n"


@given(st.binary(min_size=1, max_size=5000))
def test_no_bytes_raise_anything_else(raw: bytes):
    """Well wrapped, too."""
    with pytest.raises(RequestError):
        check_request(as_pem(raw), HV1)


@given(st.lists(st.tuples(st.integers(0, len(DER) - 1), st.integers(1, 255)), min_size=1))
def test_no_change_of_a_good_request_gets_through(changes: list[tuple[int, int]]):
    """The signature covers every bit of it, or the parser refuses."""
    changed = bytearray(DER)
    for position, bits in changes:
        changed[position] ^= bits
    if changed == DER:
        return
    try:
        found = check_request(as_pem(bytes(changed)), HV1)
    except RequestError:
        return
    assert found.public_key == key().public_key()


@given(st.integers(0, len(DER)), st.binary(max_size=40))
def test_no_cut_or_longer_request_raises_anything_else(length: int, more: bytes):
    """Half of a good one is none."""
    raw = DER[:length] + more
    if raw == DER:
        return
    with pytest.raises(RequestError):
        check_request(as_pem(raw), HV1)


def test_a_refusal_is_short():
    """However long the names are."""
    with pytest.raises(RequestError) as caught:
        check_request(request(san=[DNS("x" * 3000)]), HV1)
    assert len(str(caught.value)) < 300
