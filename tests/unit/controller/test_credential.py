# SPDX-License-Identifier: Apache-2.0
"""Checks of plan.credential, and the reading of files in credentials."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from controller.credentials.files import read, read_secrets, stamp
from controller.plan.credentials import suitability
from controller.plan.credentials.chain import FILE_MAX, PATH_MAX, Places, trace
from controller.plan.credentials.credential import Credential, Secret, check, listed
from ovn_ipsec.errors import CredentialError, Retry
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.schema.open_vswitch import CredentialFiles
from tests.contracts.ike_backend import DAY, NOW, Authority, der, key_id, new_key
from tests.old_signatures import signed_as

CHASSIS = ChassisName("chA")
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
GOOD = Credential(
    certificate_der=b"c",
    key_id="ab",
    ca_der=(b"a",),
    not_before=NOW - DAY,
    not_after=NOW + DAY,
    names=("other", "CHA"),
    subject="CN=chA",
    fingerprint="f",
)


def test_a_good_credential_has_no_problems():
    """DNS names have no case."""
    assert check(GOOD, CHASSIS, NOW) == ()


def test_every_problem_is_named():
    """All of them at once."""
    (name,) = check(replace(GOOD, names=()), CHASSIS, NOW)
    assert "(none) lack the chassis name chA" in name
    (early,) = check(GOOD, CHASSIS, NOW - 2 * DAY)
    assert early == "the certificate is not valid before 2029-12-31T00:00:00Z"
    (late,) = check(GOOD, CHASSIS, GOOD.not_after)
    assert late == "the certificate expired at 2030-01-02T00:00:00Z"
    assert len(check(GOOD, ChassisName("chB"), NOW + 9 * DAY)) == 2
    (above,) = check(replace(GOOD, authority_until=NOW), CHASSIS, NOW)
    assert above == "an authority above the certificate expired at 2030-01-01T00:00:00Z"


def test_many_names_are_shortened():
    """A certificate may hold thousands."""
    assert listed(["a" * 99, "b", "c", "d", "e"]) == f"{'a' * 80}, b, c, 2 more"


def test_a_secret_shows_in_nothing():
    """Only to who asks for it by name."""
    secret = Secret(b"hidden")
    assert secret.reveal() == b"hidden"
    assert "hidden" not in f"{secret} {secret!r} {[secret]}"
    assert not hasattr(secret, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.copy(secret)


class Folder:
    """The three files."""

    def __init__(self, path: Path, authority: Authority) -> None:
        self.path = path
        self.authority = authority
        self.files = CredentialFiles(
            certificate=str(path / "c.pem"),
            private_key=str(path / "k.pem"),
            ca_cert=str(path / "ca.pem"),
        )
        self.put(*authority.issue(CHASSIS, now=NOW))
        self.put_ca(authority)

    def put(
        self,
        certificate: x509.Certificate | None = None,
        key: Any = None,
        form: PrivateFormat = PrivateFormat.PKCS8,
        lock: KeySerializationEncryption | None = None,
    ) -> None:
        """Write certificate and key, those that are given."""
        if certificate is not None:
            Path(self.files.certificate).write_bytes(certificate.public_bytes(Encoding.PEM))
        if key is not None:
            pem = key.private_bytes(Encoding.PEM, form, lock or NoEncryption())
            Path(self.files.private_key).write_bytes(pem)

    def put_ca(self, *authorities: Authority) -> None:
        """Write the authorities."""
        pem = [authority.certificate.public_bytes(Encoding.PEM) for authority in authorities]
        Path(self.files.ca_cert).write_bytes(b"".join(pem))

    def read(self) -> tuple[Credential, Secret]:
        """Read it all."""
        return read(self.files, CHASSIS, NOW)

    def refuse(self, *words: str) -> None:
        """Read it, and expect a refusal in these words without a chained cause."""
        with pytest.raises(CredentialError) as caught:
            self.read()
        for word in words:
            assert word in str(caught.value)
        assert caught.value.retry is Retry.ON_INPUT_CHANGE
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, Authority(now=NOW))


def test_a_good_credential_is_read(folder: Folder):
    """With the daemon's id of the key; the key as PKCS #8."""
    certificate, key = folder.authority.issue(CHASSIS, now=NOW)
    folder.put(certificate, key)
    found, secret = folder.read()
    assert found.certificate_der == der(certificate)
    assert found.ca_der == (der(folder.authority.certificate),)
    assert found.key_id == key_id(key)
    assert found.names == ("chA",)
    assert found.subject == "CN=chA"
    assert (found.not_before, found.not_after) == (NOW - DAY, NOW + 30 * DAY)
    assert secret.reveal() == key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


KEYS = {
    "rsa": lambda: rsa.generate_private_key(65_537, 2048),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.mark.parametrize("make", KEYS.values(), ids=KEYS.keys())
def test_what_the_daemon_takes_is_taken(folder: Folder, make: Callable[[], Any]):
    """Every key type that charon signs with."""
    folder.put(*folder.authority.issue(CHASSIS, key=make(), now=NOW))
    assert folder.read()[0].names == (CHASSIS,)


WEAK = {
    "1024 bits": lambda: rsa.generate_private_key(65_537, 1024),  # noqa: S505 - refused
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "neither RSA": lambda: dsa.generate_private_key(2048),
}


@pytest.mark.parametrize(("words", "make"), WEAK.items(), ids=WEAK.keys())
def test_what_the_daemon_does_not_take_is_refused(
    folder: Folder, words: str, make: Callable[[], Any]
):
    """Before it is loaded."""
    folder.put(*folder.authority.issue(CHASSIS, key=make(), now=NOW))
    folder.refuse("c.pem", words)


def test_a_traditional_key_file_is_taken(folder: Folder):
    """As openssl ec writes it."""
    certificate, key = folder.authority.issue(CHASSIS, now=NOW)
    folder.put(certificate, key, form=PrivateFormat.TraditionalOpenSSL)
    assert folder.read()[0].key_id == key_id(key)


@pytest.mark.parametrize("file", ["c.pem", "k.pem", "ca.pem"])
def test_a_file_that_is_not_there_is_named(folder: Folder, file: str):
    """With the system's words."""
    (folder.path / file).unlink()
    folder.refuse(file, "cannot read", "No such file")


@pytest.mark.parametrize("file", ["c.pem", "k.pem", "ca.pem"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe junk",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ],
)
def test_a_file_of_junk_is_named(folder: Folder, file: str, data: bytes):
    """And nothing of it is repeated."""
    (folder.path / file).write_bytes(data)
    folder.refuse(file, "in PEM")


def test_only_regular_files_of_a_sane_size_are_read(folder: Folder):
    """A pipe holds nobody."""
    path = folder.path / "k.pem"
    path.unlink()
    os.mkfifo(path)
    folder.refuse("k.pem", "not a regular file")
    path.unlink()
    path.mkdir()
    folder.refuse("k.pem", "not a regular file")
    path.rmdir()
    path.write_bytes(b"x" * 2_000_000)
    folder.refuse("k.pem", "larger than")


def test_a_path_that_cannot_be_one_is_refused(folder: Folder):
    """It comes from a database."""
    folder.files = replace(folder.files, certificate="/a\0b")
    folder.refuse("cannot read the certificate")
    assert stamp(folder.files)[0] is None
    folder.files = replace(folder.files, certificate="")
    folder.refuse("no certificate is configured")


def test_an_encrypted_key_is_refused(folder: Folder):
    """Nobody is there to type."""
    folder.put(None, new_key(), lock=BestAvailableEncryption(b"x"))
    folder.refuse("k.pem", "passphrase")


def test_a_key_of_another_certificate_is_refused(folder: Folder):
    """Both files are named."""
    folder.put(None, new_key())
    folder.refuse("k.pem", "is not the key of the certificate in", "c.pem")


def test_a_certificate_of_another_authority_is_refused(folder: Folder):
    """Even one of the same name."""
    folder.put_ca(Authority(now=NOW))
    folder.refuse("c.pem", "CN=lab CA", "not signed by a CA in", "ca.pem")
    folder.put_ca(Authority("other", now=NOW))
    folder.refuse("c.pem", "not signed by a CA in")


def test_an_authority_must_be_one(folder: Folder):
    """The daemon would not trust it."""
    folder.authority = Authority(now=NOW, ca=False)
    folder.put(*folder.authority.issue(CHASSIS, now=NOW))
    folder.put_ca(folder.authority)
    folder.refuse("ca.pem", "not a CA")


def test_an_expired_authority_is_refused(folder: Folder):
    """Its certificates are worth nothing."""
    folder.authority = Authority(now=NOW - 9 * DAY, days=3)
    folder.put(*folder.authority.issue(CHASSIS, now=NOW))
    folder.put_ca(folder.authority)
    folder.refuse("ca.pem", "valid only from 2029-12-22T00:00:00Z to 2029-12-26T00:00:00Z")


def test_dates_and_names_are_checked(folder: Folder):
    """With the words of check."""
    folder.put(*folder.authority.issue(CHASSIS, now=NOW - 90 * DAY))
    folder.refuse("c.pem", "expired at")
    folder.put(*folder.authority.issue("chB", now=NOW))
    folder.refuse("c.pem", "lack the chassis name chA")
    folder.put(*folder.authority.issue(CHASSIS, now=NOW, san=[]))
    folder.refuse("c.pem", "(none) lack")


def test_two_authorities_are_both_trusted_each_once(folder: Folder):
    """The middle of a rollover; another fingerprint."""
    before = folder.read()[0]
    newer = Authority("newer", now=NOW)
    folder.put_ca(newer, folder.authority, newer)
    after = folder.read()[0]
    assert after.ca_der == (der(newer.certificate), der(folder.authority.certificate))
    assert before.fingerprint != after.fingerprint
    assert before.fingerprint == replace(before).fingerprint


def test_a_stamp_changes_with_the_file(folder: Folder):
    """By content, by rename, and when it goes."""
    seen = {stamp(folder.files)}
    assert stamp(folder.files) in seen
    path = Path(folder.files.private_key)
    other = folder.path / "new"
    other.write_bytes(path.read_bytes())
    other.rename(path)
    seen.add(stamp(folder.files))
    path.write_bytes(b"x")
    seen.add(stamp(folder.files))
    path.unlink()
    seen.add(stamp(folder.files))
    assert len(seen) == 4
    assert stamp(folder.files)[1] is None


def usage(**on: bool) -> x509.KeyUsage:
    names = "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
    flags = dict.fromkeys([*names.split(), "key_cert_sign", "crl_sign"], False)
    return x509.KeyUsage(**{**flags, **on}, encipher_only=False, decipher_only=False)


def limited(folder: Folder, *extensions: x509.ExtensionType, issuer: bool = False) -> None:
    """Put a certificate, or an authority, with these extensions besides."""
    authority, key = folder.authority, new_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(authority.name if issuer else x509.Name([]))
        .issuer_name(authority.name)
        .public_key((authority.key if issuer else key).public_key())
        .serial_number(7)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.BasicConstraints(ca=issuer, path_length=None), critical=True)
    )
    if not issuer:
        san = x509.SubjectAlternativeName([x509.DNSName(CHASSIS)])
        builder = builder.add_extension(san, critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    certificate = builder.sign(authority.key, SHA256())
    if issuer:
        pem = certificate.public_bytes(Encoding.PEM)
        Path(folder.files.ca_cert).write_bytes(pem)
    else:
        folder.put(certificate, key)


def test_a_certificate_must_be_meant_for_this(folder: Folder):
    """By key usage and extended key usage, where it says; so must its authority."""
    limited(folder, usage(digital_signature=True), x509.ExtendedKeyUsage([SERVER_AUTH]))
    assert folder.read()
    limited(folder, usage(content_commitment=True))
    assert folder.read()
    limited(folder, usage(key_agreement=True))
    folder.refuse("c.pem", "keyUsage lacks digitalSignature")
    limited(folder, x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.2.3")]))
    folder.refuse("c.pem", "extendedKeyUsage allows neither IKE nor TLS")
    limited(folder)
    limited(folder, usage(key_cert_sign=True), issuer=True)
    assert folder.read()
    limited(folder, usage(digital_signature=True), issuer=True)
    folder.refuse("ca.pem", "not a CA")


def test_an_authority_must_say_that_it_is_one(folder: Folder):
    """Without basicConstraints it is none (RFC 5280 section 4.2.1.9)."""
    authority = folder.authority
    certificate = (
        x509.CertificateBuilder()
        .subject_name(authority.name)
        .issuer_name(authority.name)
        .public_key(authority.key.public_key())
        .serial_number(7)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .sign(authority.key, SHA256())
    )
    Path(folder.files.ca_cert).write_bytes(certificate.public_bytes(Encoding.PEM))
    folder.refuse("ca.pem", "not a CA")


def test_what_does_not_fit_a_message_is_refused(folder: Folder):
    """The daemon takes 65535 bytes in one value."""
    limited(folder, x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"x" * 66_000))
    folder.refuse("c.pem", "more than 65535 bytes")


def test_a_key_of_an_unknown_type_is_refused():
    """The library knows it by its number only."""

    class Unknown:
        """Of a certificate no more than that."""

        def public_key(self) -> Any:
            raise UnsupportedAlgorithm("1.2.3")

    with pytest.raises(CredentialError, match="unknown type"):
        suitability.public_key("c.pem", Unknown())  # type: ignore[arg-type]


def secrets(path: Path, text: bytes, mode: int = 0o600) -> tuple[bytes, ...]:
    path.touch()
    path.chmod(mode)
    path.write_bytes(text)
    return tuple(secret.reveal() for secret in read_secrets(str(path)))


def test_a_secret_file_holds_one_or_two(tmp_path: Path):
    """One a line; the first is used."""
    path, one, two = tmp_path / "psk", b"the first secret", b"another secret of it"
    assert secrets(path, one) == (one,)
    assert secrets(path, one + b"\n") == (one,)
    assert secrets(path, one + b"\r\n" + two + b"\r\n") == (one, two)
    assert secrets(path, one + b"\n" + one + b"\n") == (one,)


@pytest.mark.parametrize(
    ("words", "text", "mode"),
    [
        ("others may read", b"the first secret", 0o640),
        ("too short", b"short", 0o600),
        ("too short", b"the first secret\nshort", 0o600),
        ("more than 2 lines", b"the first secret\nthe other secret\nand one secret more", 0o600),
    ],
)
def test_a_bad_secret_file_is_refused(tmp_path: Path, words: str, text: bytes, mode: int):
    """Without a word of what it holds."""
    path = tmp_path / "psk"
    with pytest.raises(CredentialError) as caught:
        secrets(path, text, mode)
    assert words in str(caught.value)
    assert "psk" in str(caught.value)
    assert "the first secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_secret_file_that_is_not_there_is_named(tmp_path: Path):
    """And one whose name can be none."""
    for path in (str(tmp_path / "none"), "/a\0b"):
        with pytest.raises(CredentialError):
            read_secrets(path)


# --- chains --------------------------------------------------------------------------------------


class Issuing(Authority):
    """An authority that another one has signed."""

    def __init__(
        self,
        name: str,
        above: Authority,
        *extensions: tuple[x509.ExtensionType, bool],
        days: int = 900,
        key: Any = None,
        depth: int | None = None,
        is_ca: bool = True,
    ) -> None:
        super().__init__(name, now=NOW)
        self.key = key or self.key
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(above.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 99 * DAY)
            .not_valid_after(NOW + days * DAY)
            .add_extension(x509.BasicConstraints(is_ca, depth), critical=True)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        self.certificate = builder.sign(above.key, SHA256())


def put_chain(folder: Folder, *chain: x509.Certificate) -> None:
    """Write a certificate and what stands behind it into one file, as tools do."""
    pem = [certificate.public_bytes(Encoding.PEM) for certificate in chain]
    Path(folder.files.certificate).write_bytes(b"".join(pem))


def test_a_leaf_with_its_issuer_behind_it_is_taken(folder: Folder):
    """As cert-manager, step-ca and Vault write it, with the root alone in ca_cert."""
    issuing = Issuing("issuing", folder.authority)
    leaf, key = issuing.issue(CHASSIS, now=NOW)
    folder.put(leaf, key)
    folder.refuse("c.pem", "issued by CN=issuing, is not signed by a CA in", "ca.pem")
    put_chain(folder, leaf, issuing.certificate)
    found = folder.read()[0]
    assert found.chain_der == (der(issuing.certificate),)
    assert found.ca_der == (der(folder.authority.certificate),)
    put_chain(folder, leaf, issuing.certificate, folder.authority.certificate)
    assert folder.read()[0].chain_der == found.chain_der, "the root does no harm there"


def test_a_credential_ends_with_the_first_certificate_of_its_chain(folder: Folder):
    """The peer's daemon looks at all of them: an authority that ends first ends it."""
    assert folder.read()[0].until == NOW + 30 * DAY
    issuing = Issuing("issuing", folder.authority, days=9)
    leaf, key = issuing.issue(CHASSIS, now=NOW)
    folder.put(leaf, key)
    put_chain(folder, leaf, issuing.certificate)
    assert folder.read()[0].until == NOW + 9 * DAY
    folder.authority = Authority(now=NOW - 90 * DAY, days=94)
    folder.put(*folder.authority.issue(CHASSIS, now=NOW))
    folder.put_ca(folder.authority)
    found = folder.read()[0]
    assert (found.until, found.not_after) == (NOW + 4 * DAY, NOW + 30 * DAY)


def test_a_chain_is_found_in_any_order_and_without_what_does_not_belong_to_it(folder: Folder):
    """Of both files."""
    high = Issuing("high", folder.authority)
    low, other = Issuing("low", high), Issuing("other", folder.authority)
    leaf, key = low.issue(CHASSIS, now=NOW)
    folder.put(leaf, key)
    put_chain(folder, leaf, other.certificate, high.certificate, low.certificate)
    wanted = (der(low.certificate), der(high.certificate))
    assert folder.read()[0].chain_der == wanted
    put_chain(folder, leaf)
    folder.put_ca(high, folder.authority, low)
    assert folder.read()[0].chain_der == wanted


def test_another_chain_is_another_credential(folder: Folder):
    """Whoever compares fingerprints sees it."""
    issuing = Issuing("issuing", folder.authority)
    again = Issuing("issuing", folder.authority, days=800, key=issuing.key)
    leaf, key = issuing.issue(CHASSIS, now=NOW)
    folder.put(leaf, key)
    seen = set()
    for one in (issuing, again):
        put_chain(folder, leaf, one.certificate)
        seen.add(folder.read()[0].fingerprint)
    assert len(seen) == 2


def test_a_root_is_self_signed(folder: Folder):
    """An intermediate alone is nothing that charon trusts."""
    issuing = Issuing("issuing", folder.authority)
    leaf, key = issuing.issue(CHASSIS, now=NOW)
    folder.put(leaf, key)
    folder.put_ca(issuing)
    folder.refuse(
        "ca.pem", "holds no root above CN=issuing", "self-signed certificate of CN=lab CA"
    )
    put_chain(folder, leaf, issuing.certificate)
    folder.refuse("ca.pem", "holds no root above CN=issuing")


RSA = rsa.generate_private_key(65_537, 2048)
WEAK_RSA = rsa.generate_private_key(65_537, 1024)  # noqa: S505 - refused
CRITICAL = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
BELOW = {
    "permitted": x509.NameConstraints([x509.DNSName("dc1"), x509.RFC822Name("a@b")], None),
    "excluded": x509.NameConstraints(None, [x509.DNSName("cha")]),
}


@pytest.mark.parametrize(
    ("words", "make"),
    {
        "CN=issuing is not a CA": lambda up: Issuing("issuing", up, is_ca=False),
        "CN=issuing is valid only from": lambda up: Issuing("issuing", up, days=-1),
        "CN=issuing: an RSA key of 1024 bits": lambda up: Issuing("issuing", up, key=WEAK_RSA),
        "CN=issuing has the critical extension 1.2.3.4": lambda up: Issuing(
            "issuing", up, CRITICAL
        ),
        "names at or below dc1": lambda up: Issuing("issuing", up, (BELOW["permitted"], True)),
        "not vouch for the name chA": lambda up: Issuing("issuing", up, (BELOW["excluded"], True)),
    }.items(),
)
def test_an_intermediate_must_be_good(folder: Folder, words: str, make: Callable[..., Issuing]):
    """The peer's daemon would find out; the file is named in which it stands."""
    issuing = make(folder.authority)
    leaf, key = issuing.issue(CHASSIS, now=NOW)
    folder.put(leaf, key)
    put_chain(folder, leaf, issuing.certificate)
    folder.refuse("c.pem", words)
    folder.put_ca(folder.authority, issuing)
    put_chain(folder, leaf)
    folder.refuse("ca.pem", words)


def test_a_way_that_is_good_goes_before_one_that_is_not(folder: Folder):
    """An authority that was signed twice has two ways up."""
    old = Authority("old", now=NOW - 900 * DAY, days=899)
    issuing = Issuing("issuing", old)
    again = Issuing("issuing", folder.authority, days=800, key=issuing.key)
    leaf, key = issuing.issue(CHASSIS, now=NOW)
    folder.put(leaf, key)
    put_chain(folder, leaf, issuing.certificate, again.certificate)
    folder.put_ca(old, folder.authority)
    assert folder.read()[0].chain_der == (der(again.certificate),)
    folder.put_ca(old)
    folder.refuse("ca.pem", "CN=old is valid only from")


def test_limits_hold_for_the_whole_chain(folder: Folder):
    """How many may stand below, and at or below which names."""
    short = Issuing("short", folder.authority, depth=0)
    low = Issuing("low", short)
    leaf, key = low.issue(CHASSIS, now=NOW)
    folder.put(leaf, key)
    put_chain(folder, leaf, low.certificate, short.certificate)
    folder.refuse("c.pem", "CN=short allows 0 CA certificates below it, but there are 1")
    named = Issuing(
        "named", folder.authority, (x509.NameConstraints([x509.DNSName("cha")], None), True)
    )
    leaf, key = named.issue("chA", now=NOW)
    folder.put(leaf, key)
    put_chain(folder, leaf, named.certificate)
    assert folder.read()[0].chain_der


def test_a_chain_is_not_longer_than_the_daemon_follows(folder: Folder):
    """And one file holds no more than can be looked through."""
    chain = [folder.authority]
    for number in range(PATH_MAX):
        chain.append(Issuing(f"level {number}", chain[-1]))
    leaf, key = chain[-1].issue(CHASSIS, now=NOW)
    folder.put(leaf, key)
    put_chain(folder, leaf, *(one.certificate for one in chain))
    folder.refuse("no root above")
    leaf, key = chain[-2].issue(CHASSIS, now=NOW)
    folder.put(leaf, key)
    put_chain(folder, leaf, *(one.certificate for one in chain))
    assert len(folder.read()[0].chain_der) == PATH_MAX - 1
    put_chain(folder, *([leaf] * (FILE_MAX + 2)))
    folder.refuse("c.pem", "17 certificates behind the first")


def test_ways_that_do_not_end_are_given_up(folder: Folder):
    """Authorities that have signed one another make more ways than anybody can look at."""
    places = Places(certificate="c.pem", private_key="k.pem", ca_cert="ca.pem")
    late = Authority("late", now=NOW - 900 * DAY, days=899)
    twins = [Issuing("twin", late, days=700 + n) for n in range(12)]
    for twin in twins:
        twin.key = twins[0].key
    ring = [Issuing("twin", twins[0], days=600 + n, key=twins[0].key) for n in range(4)]
    ends = [Issuing("twin", late, days=500 + n, key=twins[0].key) for n in range(9)]
    leaf, _ = twins[0].issue(CHASSIS, now=NOW)
    others = [one.certificate for one in (*ring, *ends)]
    with pytest.raises(CredentialError, match="CN=late is valid only from"):
        trace(places, [leaf, *others], [late.certificate], NOW)


@pytest.mark.parametrize(
    ("how", "words"),
    [("sha1", "SHA-1"), ("md5", "MD5"), ("unknown", "unknown algorithm (1.2.840.113549.1.1.127)")],
)
def test_a_signature_that_can_be_forged_is_refused_by_its_name(
    folder: Folder, how: str, words: str
):
    """Of the certificate, and of an authority in between; that of a root is its own."""
    folder.authority.key = RSA
    folder.authority.certificate = root = Issuing("lab CA", folder.authority, key=RSA).certificate
    leaf, key = folder.authority.issue(CHASSIS, now=NOW)
    folder.put(signed_as(leaf, RSA, how), key)
    folder.put_ca(folder.authority)
    folder.refuse("c.pem", words, "expected SHA-256")
    issuing = Issuing("issuing", folder.authority)
    leaf, key = issuing.issue(CHASSIS, now=NOW)
    folder.put(leaf, key)
    put_chain(folder, leaf, issuing.certificate)
    assert folder.read()
    put_chain(folder, leaf, signed_as(issuing.certificate, RSA, how))
    folder.refuse("c.pem", "CN=issuing is", words)
    put_chain(folder, leaf, issuing.certificate)
    folder.authority.certificate = signed_as(root, RSA, how)
    folder.put_ca(folder.authority)
    assert folder.read()


def test_a_critical_extension_that_the_daemon_does_not_know_is_refused_by_its_number(
    folder: Folder,
):
    """It would refuse the connection: for that of the certificate, and for any authority's."""
    san = x509.SubjectAlternativeName([x509.DNSName(CHASSIS)])
    leaf = Issuing("chA", folder.authority, CRITICAL, (san, False), is_ca=False)
    folder.put(leaf.certificate, leaf.key)
    folder.refuse("c.pem", "critical extension 1.2.3.4")
    leaf = Issuing("chA", folder.authority, (CRITICAL[0], False), (san, True), is_ca=False)
    folder.put(leaf.certificate, leaf.key)
    assert folder.read()
    folder.put_ca(folder.authority, Issuing("stranger", folder.authority, CRITICAL))
    folder.refuse("ca.pem", "CN=stranger has the critical extension 1.2.3.4")
