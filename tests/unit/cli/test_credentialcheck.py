# SPDX-License-Identifier: Apache-2.0
"""What certificate files hold, to what is well with them; and that nothing secret is read along."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ovn_ipsec.cli.doctor.credentialcheck import (
    CHAIN,
    CLOCK,
    IDENTITY,
    MATCH,
    NONE,
    RENEW,
    examine_credentials,
)
from ovn_ipsec.cli.machine import credentials
from ovn_ipsec.cli.machine.values import Content, Credentials
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki.profile import self_signed
from ovn_ipsec.schema.open_vswitch import parse_local
from tests.contracts.ike_backend import Authority

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CA = Authority(now=NOW)
LEAF, KEY = CA.issue("hv1", now=NOW)
SECRET = b"a secret of this cluster"


def pem(*certificates: Any) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def public(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


GOOD = Credentials(
    certificate=Content(path="/c", data=pem(LEAF), mode=0o644),
    private_key=Content(path="/k", data=public(KEY), mode=0o600),
    ca_cert=Content(path="/a", data=pem(CA.certificate), mode=0o644),
)


def bad(
    files: Credentials, name: str | None = "hv1", now: datetime = NOW
) -> list[tuple[str, str, str]]:
    checks = examine_credentials(name, files, now)
    return [(c.part, c.said, c.next_step) for c in checks if not c.is_well]


def certificate(*found: Any) -> Credentials:
    """Good files with another certificate, whose key is right."""
    return replace(GOOD, certificate=Content(path="/c", data=pem(*found)), private_key=None)


def test_files_that_fit_each_other_are_well():
    """Each is told, and until when."""
    files = replace(GOOD, secret=Content(path="/s", mode=0o600))
    checks = examine_credentials("hv1", files, NOW)
    assert [True] * 4 == [check.is_well for check in checks]
    assert ["private_key", "certificate", "ca_cert", "secret"] == [check.part for check in checks]
    assert "hv1, until 2030-01-31" == checks[1].said
    assert "1, the first until 2039-12-30" == checks[2].said


def test_no_files_are_no_fault():
    """The chassis asks for a certificate, or makes one."""
    (check,) = examine_credentials("hv1", Credentials(), NOW)
    assert (True, NONE) == (check.is_well, check.said)


def test_a_file_that_is_not_named_beside_others_is_missed():
    """All three stop being used at once."""
    found = bad(replace(GOOD, ca_cert=None))
    assert [("ca_cert", "set all three in Open_vSwitch, or none")] == [(f[0], f[2]) for f in found]


def test_with_the_stock_daemon_a_certificate_may_stand_alone():
    """One that peers pin; one that an authority has signed may not."""
    text = self_signed(KEY, ChassisName("hv1"), timedelta(days=30), NOW)
    alone = replace(
        GOOD, certificate=Content(path="/c", data=text.encode(), mode=0o644), ca_cert=None
    )
    checks = examine_credentials("hv1", alone, NOW, delegated=True)
    assert [("private_key", True), ("certificate", True)] == [(c.part, c.is_well) for c in checks]
    for files, delegated in ((alone, False), (replace(GOOD, ca_cert=None), True)):
        checks = examine_credentials("hv1", files, NOW, delegated=delegated)
        assert ["ca_cert"] == [check.part for check in checks if not check.is_well]


@pytest.mark.parametrize("part", ["certificate", "private_key", "ca_cert"])
def test_a_file_that_cannot_be_read_is_named(part: str):
    """With the reason, and the key that names it."""
    files = replace(GOOD, **{part: Content(path="/x", fault="cannot read: gone")})
    step = f"put the file there, or correct other_config:{part} in Open_vSwitch"
    assert (part, "/x: cannot read: gone", step) in bad(files)


@pytest.mark.parametrize("part", ["certificate", "ca_cert"])
@pytest.mark.parametrize("junk", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_junk_in_a_file_is_named(part: str, junk: bytes):
    """It is no certificate."""
    files = replace(GOOD, private_key=None, **{part: Content(path="/x", data=junk)})
    said = "/x: holds no certificate in PEM that can be parsed"
    assert (part, said) in [found[:2] for found in bad(files)]


def test_a_key_that_everybody_may_read_is_not_well():
    """That of a group is somebody's decision."""
    files = replace(GOOD, private_key=replace(GOOD.private_key, mode=0o644))  # type: ignore[type-var]
    ((part, said, step),) = bad(files)
    assert ("private_key", "/k: everybody may use it (mode 0644)") == (part, said)
    assert step.startswith("chmod 0600 /k")
    files = replace(GOOD, private_key=replace(GOOD.private_key, mode=0o640))  # type: ignore[type-var]
    assert [] == bad(files)


def test_a_key_of_another_certificate_is_not_well():
    """Nothing could be signed with it."""
    other = Content(path="/k", data=public(CA.key), mode=0o600)
    said = "/k is not the key of the certificate"
    assert [("private_key", said, MATCH)] == bad(replace(GOOD, private_key=other))


@pytest.mark.parametrize(
    ("days", "part", "said", "step"),
    [
        (-3, "certificate", "valid from 2029-12-31 00:00 on, and it is 2029-12-29 00:00", CLOCK),
        (31, "certificate", "ended 2030-01-31 00:00 UTC, and it is 2030-02-01 00:00 here", RENEW),
        (29.5, "certificate", "ends 2030-01-31 00:00 UTC", RENEW),
        (3651, "ca_cert", "CN=lab CA: ended 2039-12-30", RENEW),
    ],
)
def test_dates_are_judged_by_the_clock_of_this_host(days: float, part: str, said: str, step: str):
    """A clock that is wrong shows here first."""
    found = [
        (f[0], f[2]) for f in bad(GOOD, now=NOW + timedelta(days=days)) if f[1].startswith(said)
    ]
    assert [(part, step)] == found


def test_a_certificate_of_another_name_is_not_well():
    """Peers expect the name of the chassis; without one nothing is compared."""
    said = "it is for hv1, and this chassis is hv2"
    assert [("certificate", said, IDENTITY)] == bad(GOOD, name="hv2")
    assert [] == bad(GOOD, name=None)
    nameless, _ = CA.issue("hv1", now=NOW, san=None)
    found = bad(certificate(nameless))
    assert ("certificate", "it is for no DNS name, and this chassis is hv1", IDENTITY) in found


def test_a_certificate_that_no_named_authority_issued_is_not_well():
    """One behind it in its file is as good as one in the other."""
    stranger = Authority("another", now=NOW)
    leaf, _ = stranger.issue("hv1", now=NOW)
    said = "none of the authorities that are named has issued it"
    assert ("certificate", said, CHAIN) in bad(certificate(leaf))
    assert said not in [found[1] for found in bad(certificate(leaf, stranger.certificate))]


def test_a_secret_that_cannot_be_used_is_named():
    """Without a word of what is in it."""
    files = replace(GOOD, secret=Content(path="/s", fault="others may read this secret"))
    ((part, said, step),) = bad(files)
    assert ("secret", "/s: others may read this secret") == (part, said)
    assert "0600" in step


def test_nothing_secret_leaves_the_files(tmp_path: Path):
    """Of a key the public half, of a secret nothing at all."""
    paths = {name: tmp_path / name for name in ("certificate", "private_key", "ca_cert", "psk")}
    private = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    contents = (pem(LEAF), private, pem(CA.certificate), SECRET)
    for path, data in zip(paths.values(), contents, strict=True):
        path.touch(mode=0o600)
        path.write_bytes(data)
    config = {name: str(path) for name, path in paths.items() if name != "psk"}
    here = parse_local({}, {**config, "ovn-ipsec-psk-file": str(paths["psk"])}, "hv1")
    seen = credentials.read(here)
    assert GOOD.private_key is not None
    assert seen.private_key is not None
    assert GOOD.private_key.data == seen.private_key.data
    assert seen.secret == Content(path=str(paths["psk"]), mode=0o600)
    assert [] == bad(seen)
    assert "PRIVATE" not in repr(seen)
    assert SECRET.decode() not in repr(seen)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"junk", "holds no private key in PEM that can be parsed"),
        (
            KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
            "encrypted with a passphrase",
        ),
        (None, "cannot read: No such file or directory"),
    ],
)
def test_a_key_that_is_of_no_use_is_told_why(tmp_path: Path, data: bytes | None, fault: str):
    """And nothing of its content."""
    path = tmp_path / "key"
    if data is not None:
        path.write_bytes(data)
    here = parse_local({}, {"private_key": str(path)}, "hv1")
    seen = credentials.read(here)
    assert seen.private_key is not None
    assert (fault, b"") == (seen.private_key.fault, seen.private_key.data)
    assert (None, None, None) == (seen.certificate, seen.ca_cert, seen.secret)


def test_a_file_that_is_not_for_us_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The controller may read it; doctor then says that it cannot tell."""

    def barred(path: str, *_words: object) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(credentials.os, "open", barred)
    for key in ("certificate", "private_key", "ovn-ipsec-psk-file"):
        with pytest.raises(PermissionError):
            credentials.read(parse_local({}, {key: str(tmp_path / "x")}, "hv1"))


def test_a_certificate_and_a_secret_that_are_not_there_are_told(tmp_path: Path):
    """With the reason."""
    gone, odd = str(tmp_path / "gone"), "nul\0"
    seen = credentials.read(parse_local({}, {"certificate": odd}, "hv1"))
    assert seen.certificate is not None
    assert seen.certificate.fault
    seen = credentials.read(
        parse_local({}, {"certificate": gone, "ovn-ipsec-psk-file": gone}, "hv1")
    )
    assert seen.certificate is not None
    assert seen.secret is not None
    assert seen.certificate.fault == seen.secret.fault == "cannot read: No such file or directory"
