# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec report`: what is kept out of it, and that it is written whole, privately and once."""

from __future__ import annotations

import json
import tarfile
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from ovn_ipsec.cli.__main__ import main
from ovn_ipsec.cli.report import bundle, commands, parts
from ovn_ipsec.cli.report.commands import default_name
from ovn_ipsec.cli.report.redaction import (
    LEFT_OUT,
    holds_secret,
    ours,
    without_bytes,
    without_password,
)
from ovn_ipsec.cli.settings import Settings
from ovn_ipsec.errors import EdgeError, OvsdbError
from ovn_ipsec.schema.open_vswitch import parse_local

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = b"the secret of \xffthis cluster"
KEY = "-----BEGIN PRIVATE KEY-----"
DUMP = """\
14[IKE] shared Diffie Hellman secret => 32 bytes @ 0x7f0c2c0034a0
14[IKE]    0: 5F 3C 7E 01 FA AB 00 11 22 33 44 55 66 77 88 99  _<~......"3DUfw.
14[IKE]   16: AA BB CC DD                                      ....
14[CHD] encr key 5f3c7e01faab00112233445566778899aabbccdd of spi c0ffee01
14[IKE] IKE_SA x[1] established between 10.0.0.1[hv1]...10.0.0.2[hv2] at 12:30: 07
"""


def test_dumps_are_taken_out_of_a_log():
    """What they are of stays, and so does all else."""
    found = without_bytes(DUMP).splitlines()
    assert DUMP.splitlines()[0] == found[0]
    assert [f"14[IKE]    {LEFT_OUT}", f"14[IKE]   {LEFT_OUT}"] == found[1:3]
    assert f"14[CHD] encr key {LEFT_OUT} of spi c0ffee01" == found[3]
    assert found[4].startswith("14[IKE] IKE_SA x[1] established between 10.0.0.1[hv1]")


def test_only_our_keys_of_a_column_are_kept():
    """And those that are named; a password in a URI is taken out of it."""
    column = {
        "ovn-ipsec-ocsp-uri": "http://me:pass@10.0.0.9/ocsp",
        "ovn-encap-ip": "10.0.0.1",
        "psk": "secret",
        "ovn-cms-options": "x",
    }
    kept = {"ovn-encap-ip": "10.0.0.1", "ovn-ipsec-ocsp-uri": "http://10.0.0.9/ocsp"}
    assert kept == ours(column, ["ovn-encap-ip"])
    assert [*kept] == [*ours(column, ["ovn-encap-ip"])]


@pytest.mark.parametrize("text", ["", "/etc/x.pem", "ssl:10.0.0.1:6642", "http://[::1", "a@b"])
def test_what_is_no_uri_with_a_password_stays(text: str):
    """Also what does not parse."""
    assert text == without_password(text)


@pytest.mark.parametrize(
    "spelled",
    [
        SECRET,
        SECRET.hex().encode(),
        SECRET.hex().upper().encode(),
        b64encode(SECRET).rstrip(b"="),
        KEY.encode(),
    ],
)
def test_a_secret_is_found_however_it_is_spelled(spelled: bytes):
    """Anywhere in what would be written."""
    assert holds_secret(b"before " + spelled + b" after", [b"other secret", SECRET])
    assert not holds_secret(b"before after", [SECRET])


def test_what_is_too_short_for_a_secret_is_none():
    """It would be found everywhere."""
    assert not holds_secret(b"a word", [b"", b"a", b"word"])


def test_an_archive_is_private_and_new(tmp_path: Path):
    """What is there already stays as it is, be it a link to somewhere."""
    path = tmp_path / "x.tar.gz"
    bundle.write(path, {"a/b.txt": b"content"}, NOW)
    assert 0o600 == path.stat().st_mode & 0o777
    with tarfile.open(path) as archive:
        (member,) = archive.getmembers()
        assert ("x/a/b.txt", 0o600, NOW.timestamp()) == (member.name, member.mode, member.mtime)
        file = archive.extractfile(member)
        assert file is not None
        assert b"content" == file.read()
    before = path.read_bytes()
    link = tmp_path / "link.tar.gz"
    link.symlink_to(tmp_path / "target")
    for taken in (path, link):
        with pytest.raises(EdgeError, match="exists, and is not overwritten"):
            bundle.write(taken, {}, NOW)
    assert before == path.read_bytes()
    assert not (tmp_path / "target").exists()
    with pytest.raises(EdgeError, match="No such file or directory"):
        bundle.write(tmp_path / "nowhere" / "x.tar.gz", {}, NOW)


def test_an_archive_that_cannot_be_written_whole_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Half of one says less than none."""

    def full(*_words: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    path = tmp_path / "x.tar.gz"
    with pytest.raises(EdgeError, match="No space left on device"):
        bundle.write(path, {"a": b"b"}, NOW)
    assert not path.exists()


def test_the_name_of_a_report_is_a_file_name():
    """Whatever a host is called."""
    assert "ovn-ipsec-report-a_b_c-20300102T030405Z.tar.gz" == default_name("a/b c", NOW)


def test_a_question_is_asked_once():
    """Also one that fails: five seconds for each part would add up."""
    asked: list[str] = []

    def answers() -> str:
        asked.append("yes")
        return "yes"

    def fails() -> str:
        asked.append("no")
        raise OvsdbError("gone")

    good, bad = parts.Once(answers), parts.Once(fails)
    assert ["yes", "yes"] == [good(), good()]
    for _ in range(2):
        with pytest.raises(OvsdbError, match="gone"):
            bad()
    assert ["yes", "no"] == asked


def test_the_secrets_of_a_host_are_known(tmp_path: Path):
    """Each line of the secret, and of the key; a file that cannot be read is none."""
    psk, key = tmp_path / "psk", tmp_path / "key"
    psk.write_bytes(b"secret number one\nsecret number two\n")
    key.write_text(f"{KEY}\nMIIEv\n-----END PRIVATE KEY-----\n")
    config = {"ovn-ipsec-psk-file": str(psk), "private_key": str(key)}
    found = parts.secrets_of(parse_local({}, config, None))
    assert [b"secret number one", b"secret number two", b"MIIEv"] == found
    gone = dict.fromkeys(config, str(tmp_path / "gone"))
    assert [] == parts.secrets_of(parse_local({}, gone, None))
    assert [] == parts.secrets_of(parse_local({}, {}, None))
    assert [] == parts.secrets_of(None)


def test_rows_of_this_host_are_ours_and_a_few_of_ovns():
    """Also those for one of several chassis; nothing that somebody else keeps there."""
    asked = parts.Asked(
        Settings(ovnnb_db="", ovnsb_db=""),
        parts.Places(target=None, ovs_db=None, vici=None, state_dir=Path("/x")),
    )
    external_ids = {"system-id": "hv1", "ovn-encap-ip-hv1": "10.0.0.1", "token": "x"}
    other_config = {"certificate": "/c.pem", "ovn-ipsec-psk-file": "/psk", "secret": "x"}
    asked.local = parts.Once(lambda: (external_ids, other_config, asked.settings))
    (made,) = [part.make for part in parts.parts(asked) if part.name == "rows/open_vswitch.json"]
    assert {
        "external_ids": {"ovn-encap-ip-hv1": "10.0.0.1", "system-id": "hv1"},
        "other_config": {"certificate": "/c.pem", "ovn-ipsec-psk-file": "/psk"},
    } == json.loads(made())


def raising(error: Exception) -> Callable[[], str]:
    def make() -> str:
        raise error

    return make


MADE = {
    "good.txt": lambda: "fine",
    "gone.txt": raising(OvsdbError("no answer")),
    "file.txt": raising(FileNotFoundError(2, "No such file or directory", "/x")),
    "bug.txt": raising(KeyError("something secret")),
    "leak.txt": lambda: f"x {KEY} y",
}


@pytest.mark.parametrize("as_json", [True, False])
def test_a_part_that_fails_or_leaks_is_named_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
):
    """In the report and on the screen, with the reason and without what was met."""
    made = [parts.Part(name=name, make=make) for name, make in MADE.items()]
    monkeypatch.setattr(parts, "parts", lambda _asked: iter(made))
    monkeypatch.setattr(parts.Asked, "here", None)
    path = tmp_path / "r.tar.gz"
    words = ["--json"] if as_json else []
    done = CliRunner().invoke(main, [*words, "report", "--output", str(path)])
    assert 0 == done.exit_code, done.output
    missing = {
        "gone.txt": "no answer",
        "file.txt": "/x: No such file or directory",
        "bug.txt": "internal error KeyError",
        "leak.txt": commands.HELD,
    }
    with tarfile.open(path) as archive:
        names = {member.name for member in archive.getmembers()}
        manifest = archive.extractfile("r/manifest.json")
        assert manifest is not None
        told = json.load(manifest)
    assert {"r/README.txt", "r/good.txt", "r/manifest.json"} == names
    assert missing == told["missing"]
    assert ["README.txt", "good.txt"] == told["parts"]
    if as_json:
        assert {"file": str(path), "missing": missing} == json.loads(done.output)
    else:
        assert all(f"without {name}: {why}" in done.output for name, why in missing.items())
        assert done.output.endswith(f"written: {path}\n")


def test_a_report_is_refused_before_anything_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where the file is there already."""
    monkeypatch.setattr(parts, "parts", raising(AssertionError()))
    path = tmp_path / "r.tar.gz"
    path.write_text("precious")
    done = CliRunner().invoke(main, ["report", "-o", str(path)])
    assert (1, "precious") == (done.exit_code, path.read_text())
    assert "exists, and is not overwritten" in done.output
    assert "next: name another file" in done.output
