# SPDX-License-Identifier: Apache-2.0
"""Which certificates a stock ovs-monitor-ipsec is given, of this chassis and of its peers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from controller.credentials.file_pin import OTHER, FilePin
from controller.credentials.keeper import CredentialKeeper
from controller.credentials.source import NO_FILES, NO_PIN_FILES, CredentialInputs
from controller.plan.credentials.pins import KEY
from controller.plan.credentials.stock import UNREAD, readable, stock_fault, unnamed
from controller.ports.pin_files import PinFiles
from ovn_ipsec.errors import CredentialError
from ovn_ipsec.model.policy import Auth
from ovn_ipsec.pki.errors import PkiError
from ovn_ipsec.pki.keys import PrivateKey, new_key, private_pem
from ovn_ipsec.pki.profile import certificate_pem, self_signed
from ovn_ipsec.pki.values import KeyKind
from ovn_ipsec.schema.open_vswitch import CredentialFiles
from tests.contracts.ike_backend import DAY, NOW, der, identity
from tests.fakes.files import FakeWatch
from tests.worlds import A, B

ORG, CN = NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME
PAIR = [x509.NameAttribute(ORG, "example"), x509.NameAttribute(CN, "chA")]


def signed(*rdns: list[x509.NameAttribute[str]], key: PrivateKey | None = None) -> x509.Certificate:
    """A certificate with a subject of these parts."""
    key = key or new_key(KeyKind.ECDSA_P256)
    name = x509.Name([x509.RelativeDistinguishedName(rdn) for rdn in rdns])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("chA")]), critical=False)
    )
    return builder.sign(key, SHA256())


@pytest.mark.parametrize(
    ("rdns", "good"),
    [
        ([PAIR[:1], PAIR[1:]], True),
        ([[x509.NameAttribute(CN, "x, CN=chB")], PAIR[1:]], True),
        ([PAIR[1:], PAIR[:1]], False),
        ([PAIR[1:]], False),
        ([PAIR[:1]], False),
        ([PAIR[:1], PAIR], False),
        ([PAIR[:1], [x509.NameAttribute(CN, "%any")]], False),
        ([PAIR[:1], [x509.NameAttribute(CN, "chA ")]], False),
        ([], False),
    ],
)
def test_the_subject_ends_with_the_name_and_nothing_else(
    rdns: list[list[x509.NameAttribute[str]]], good: bool
) -> None:
    """The program puts what it finds there into the configuration of the IKE daemon."""
    found = signed(*rdns)
    assert (unnamed("chA", found) == "") is good
    assert stock_fault("chA", found, NOW) == ("" if good else UNREAD)


def test_what_nobody_could_pin_is_refused_first() -> None:
    """As in a row."""
    found = signed(PAIR[:1], PAIR[1:])
    assert "valid only from" in stock_fault("chA", found, NOW + 2 * DAY)
    assert "expected one subject alternative name" in stock_fault("chB", found, NOW)


def test_of_a_peers_certificates_those_are_taken_that_can_be_read() -> None:
    """In their order; bytes that no parser takes are refused, and nothing else is disturbed."""
    good, bad = der(signed(PAIR[:1], PAIR[1:])), der(signed(PAIR[1:]))
    assert readable("chA", []) == ((), None)
    assert readable("chA", [good]) == ((good,), None)
    junk = good.replace(b"chA", b"\xff\xfe\xfd")
    assert junk != good
    for other in (bad, junk):
        found, refusal = readable("chA", [other, good])
        assert found == (good,)
        assert refusal is not None
        assert refusal.diagnostics().count(KEY) == 1
        assert UNREAD in refusal.diagnostics()


# --- our own -------------------------------------------------------------------------------------


class Folder:
    """Certificates and keys of chA as an operator makes them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self, name: str, chassis: str = "chA") -> CredentialFiles:
        """Make a pair, and name it."""
        key = new_key(KeyKind.ECDSA_P256)
        self.write(name, self_signed(key, A if chassis == "chA" else B, 30 * DAY, NOW), key)
        return self.files(name)

    def write(self, name: str, text: str, key: PrivateKey) -> None:
        """Write both."""
        (self.path / f"{name}.crt").write_text(text)
        (self.path / f"{name}.key").write_bytes(private_pem(key))

    def files(self, name: str) -> CredentialFiles:
        """What Open_vSwitch says of them."""
        paths = [str(self.path / f"{name}.{end}") for end in ("crt", "key")]
        return CredentialFiles(certificate=paths[0], private_key=paths[1], ca_cert="")

    def text(self, name: str) -> str:
        """The certificate."""
        return (self.path / f"{name}.crt").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty one."""
    return Folder(tmp_path)


def test_another_certificate_is_used_when_another_path_is_named(folder: Folder) -> None:
    """The program does not notice one under the same path, so that is said instead."""
    pin, first = FilePin(), folder.make("first")
    pin.refresh(None, A, NOW)
    assert (pin.credential, pin.text, pin.problem) == (None, "", NO_PIN_FILES)
    pin.refresh(first, A, NOW)
    assert pin.credential is not None
    assert (pin.text, pin.problem, pin.switching) == (folder.text("first"), "", False)
    known = pin.text
    folder.make("first")
    pin.refresh(first, A, NOW)
    assert (pin.text, pin.problem) == (known, OTHER.format(first.certificate))
    pin.renew()
    second = folder.make("second")
    pin.refresh(second, A, NOW)
    assert (pin.text, pin.problem) == (folder.text("second"), "")
    pin.refresh(replace(second, private_key=""), A, NOW)
    assert (pin.credential, pin.key, pin.text) == (None, None, "")


def test_files_that_peers_could_not_pin_change_nothing(folder: Folder) -> None:
    """What is in use stays so, and the cause is said."""
    pin = FilePin()
    pin.refresh(folder.make("good"), A, NOW)
    known, other = pin.text, folder.make("other", "chB")
    assert "expected one subject alternative name" in _problem(pin, other)
    folder.make("mixed")
    (folder.path / "mixed.key").write_bytes((folder.path / "good.key").read_bytes())
    assert "is not the key of" in _problem(pin, folder.files("mixed"))
    (folder.path / "two.crt").write_text(2 * known)
    assert "more than one certificate" in _problem(pin, folder.files("two"))
    assert "No such file" in _problem(pin, folder.files("none"))
    key = new_key(KeyKind.ECDSA_P256)
    folder.write("short", certificate_pem(signed(PAIR[1:], key=key)), key)
    assert UNREAD in _problem(pin, folder.files("short"))
    assert pin.text == known


def _problem(pin: FilePin, files: CredentialFiles) -> str:
    pin.refresh(files, A, NOW)
    return pin.problem


def test_the_certificate_of_the_files_is_published_and_used(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no other is made; authorities are not asked for."""
    monkeypatch.setattr("controller.credentials.keeper.FileWatch", FakeWatch)
    state = folder.path / "state"
    state.mkdir(mode=0o700)
    keeper, files = CredentialKeeper(state), folder.make("own")
    inputs = CredentialInputs(chassis=A, ways=(Auth.PINNED,), files=files, stock=True)
    assert keeper.refresh(inputs, 0.0, NOW)
    assert keeper.pin == folder.text("own")
    assert keeper.problems() == [f"{KEY} is not in our Chassis row yet"]
    assert keeper.auths == frozenset()
    inputs = replace(inputs, pin=keeper.pin)
    keeper.refresh(inputs, 1.0, NOW)
    assert (keeper.problems(), keeper.auths) == ([], {Auth.PINNED})
    assert keeper.credentials.pinned is not None
    assert keeper.keys.keys() == {keeper.credentials.pinned.key_id}
    assert keeper.expires == keeper.credentials.pinned.until
    keeper.refresh(inputs, 100.0, NOW + 31 * DAY)
    assert keeper.auths == frozenset()
    assert "valid only from" in keeper.problems()[0]
    assert list(state.iterdir()) == []
    keeper.refresh(replace(inputs, ways=(Auth.CA,)), 101.0, NOW)
    assert keeper.problems() == [NO_FILES]
    keeper.refresh(replace(inputs, files=None), 102.0, NOW)
    assert NO_PIN_FILES in keeper.problems()
    assert keeper.pin == ""


# --- those of peers, as files --------------------------------------------------------------------


def test_a_certificate_is_a_file_whose_name_no_row_chooses(tmp_path: Path) -> None:
    """Readable, whole, written once, and deleted when nothing names it."""
    folder = tmp_path / "pins"
    first, second = (der(identity(name)[0]) for name in ("chA", "chB"))
    files = PinFiles(folder)
    files.keep_only([])
    assert not folder.exists()
    files.write([first, second, first])
    paths = [Path(files.path(one)) for one in (first, second)]
    assert sorted(folder.iterdir()) == sorted(paths)
    assert folder.stat().st_mode & 0o777 == 0o700
    for path, one in zip(paths, (first, second), strict=True):
        assert path.stat().st_mode & 0o777 == 0o644
        assert der(x509.load_pem_x509_certificate(path.read_bytes())) == one
    paths[0].write_text("not touched again")
    files.write([first])
    assert paths[0].read_text() == "not touched again"
    again = PinFiles(folder)
    again.write([first])
    assert der(x509.load_pem_x509_certificate(paths[0].read_bytes())) == first
    again.keep_only([str(paths[0])])
    assert list(folder.iterdir()) == paths[:1]


def test_a_folder_that_others_can_change_is_not_used(tmp_path: Path) -> None:
    """Nor one that cannot be made: what is wrong is said."""
    (tmp_path / "pins").mkdir(mode=0o755)
    (tmp_path / "pins").chmod(0o755)
    for folder in (tmp_path / "pins", tmp_path / "none" / "pins"):
        with pytest.raises(PkiError) as caught:
            PinFiles(folder).write([b"x"])
        assert isinstance(caught.value, CredentialError)
