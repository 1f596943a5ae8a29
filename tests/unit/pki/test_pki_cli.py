# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec pki` as a person or a program uses it."""

from __future__ import annotations

import json
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from ovn_ipsec.cli.__main__ import main
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki.dates import not_after
from ovn_ipsec.pki.folder import CaFolder
from ovn_ipsec.pki.index import format_serial
from ovn_ipsec.pki.keys import new_key
from ovn_ipsec.pki.request import make_request
from ovn_ipsec.pki.values import KeyKind

CSR = make_request(new_key(KeyKind.ECDSA_P256), ChassisName("hv3"))

APART: Any = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
"""Keeps standard error apart, as click does by itself from 8.2 on."""


class Shell:
    """Runs commands on one authority."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ca = path / "ca"

    def run(
        self, *words: str, before: tuple[str, ...] = (), apart: bool = False, **more: Any
    ) -> Result:
        """Run one; whatever it prints holds no key."""
        result = CliRunner(**(APART if apart else {})).invoke(
            main, [*before, "pki", "--ca", str(self.ca), *words], catch_exceptions=False, **more
        )
        keys = [path.read_text().split("\n") for path in self.path.rglob("*key.pem")]
        secrets = {line for key in keys for line in key if line and "-----" not in line}
        assert not any(secret in result.output for secret in secrets)
        return result

    def ok(self, *words: str, **more: Any) -> str:
        """Run one that does well."""
        result = self.run(*words, **more)
        assert result.exit_code == 0, result.output
        return result.output

    def refused(self, *words: str, code: int = 1, **more: Any) -> str:
        """Run one that does not."""
        result = self.run(*words, **more)
        assert result.exit_code == code
        return result.output


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path)
    made.ok("init")
    return made


COMMANDS: list[list[str]] = [
    [],
    *([name] for name in ("export-stock", "init", "issue", "readmit", "refresh", "renew")),
    *([name] for name in ("revoke", "rollover", "sign", "status")),
    *(["rollover", name] for name in ("start", "switch", "finish", "cancel")),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_that_fits_a_line(words: list[str]):
    """Without an authority; and in the list of commands nothing is cut off."""
    result = CliRunner().invoke(main, ["pki", *words, "--help"])
    assert result.exit_code == 0
    assert "..." not in result.output.partition("Commands:")[2]


def test_an_authority_is_made_and_issues(shell: Shell):
    """It names the files, and shows no key."""
    text = shell.ok("issue", "hv1", "hv2")
    assert text.count("key.pem") == 2
    assert "valid until" in text
    assert (shell.ca / "issued" / "hv2" / "key.pem").exists()


def test_options_reach_what_is_made(tmp_path: Path):
    """Name, kind, life and limits."""
    shell = Shell(tmp_path)
    shell.ok(
        *("init", "--name", "My CA", "--key-type", "ed25519", "--life", "30d"),
        *("--permit", "example.org"),
    )
    index = CaFolder(shell.ca).read()
    signing = CaFolder(shell.ca).authority(index.signing)
    assert ("My CA G1", KeyKind.ED25519, ("example.org",)) == (
        signing.name,
        signing.key_kind,
        signing.permitted,
    )
    assert "may only sign names at or below example.org" in shell.refused("issue", "hv1")
    out = tmp_path / "out"
    shell.ok("issue", "hv1.example.org", "--key-type", "ecdsa-p256", "--out", str(out))
    found = x509.load_pem_x509_certificate((out / "cert.pem").read_bytes())
    assert not_after(found) == index.signing.not_after


@pytest.mark.parametrize("life", ["5", "59m", "3651d", "-1d", "soon", "1w", ""])
def test_a_life_out_of_range_is_refused(shell: Shell, life: str):
    """With the range."""
    text = shell.refused("issue", "hv1", "--life", life, code=64)
    assert "expected a time from 1h to 3650d, such as 36h or 90d" in text


@pytest.mark.parametrize("command", ["issue", "renew"])
def test_one_folder_is_for_one_chassis(shell: Shell, command: str):
    """The next one would overwrite the key of the first."""
    assert "--out is for one" in shell.refused(command, "a", "b", "--out", "x", code=64)


def test_a_renewal_needs_to_know_which_key(shell: Shell):
    """The same, or one of another kind."""
    shell.ok("issue", "hv1")
    shell.ok("renew", "hv1", "--same-key")
    shell.ok("renew", "hv1", "--key-type", "ed25519")
    text = shell.refused("renew", "hv1", "--same-key", "--key-type", "ed25519", code=64)
    assert "cannot be combined" in text


def test_an_error_says_what_to_do_next(shell: Shell):
    """Exit 1, on standard error."""
    shell.ok("issue", "hv1")
    result = shell.run("issue", "hv1", apart=True)
    assert (1, "") == (result.exit_code, result.stdout)
    assert [
        "ovn-ipsec: hv1: has a certificate until",
        "    next: ovn-ipsec pki renew hv1",
    ] == [line.split(" 20")[0] for line in result.stderr.splitlines()]
    assert "next" not in shell.refused("issue", "../x")


def test_a_request_is_signed(shell: Shell):
    """From standard input to standard output, or from a file to a file."""
    result = shell.run("sign", "-", input=CSR, apart=True)
    assert ("signed for hv3\n", 0) == (result.stderr, result.exit_code)
    x509.load_pem_x509_certificate(result.stdout.encode())
    path, out = shell.path / "csr.pem", shell.path / "cert.pem"
    path.write_text(f"Certificate Request:\n    Data:\n{CSR}")
    shell.ok("sign", str(path), "--chassis", "hv3", "--out", str(out))
    x509.load_pem_x509_certificate(out.read_bytes())
    text = shell.refused("sign", str(path), "--chassis", "hv1")
    assert f"{path}: its names are 'hv3'; expected one SAN DNS name, or a CN: hv1" in text
    assert "next: have the chassis make one for its name" in text


@pytest.mark.parametrize("junk", [b"", b"\xff\xfe\x00", b"x" * 10_000])
def test_a_request_that_is_none_is_refused(shell: Shell, junk: bytes):
    """Whatever the bytes."""
    assert "expected" in shell.refused("sign", "-", input=junk)


def test_a_folder_of_something_else_keeps_its_mode(shell: Shell, tmp_path: Path):
    """Nobody is told to change the mode of what is no authority, such as /etc."""
    other = tmp_path / "other"
    other.mkdir(mode=0o755)
    (other / "file").touch()
    shell.ca = other
    text = shell.refused("init")
    assert "not empty, and without an index" in text
    assert "chmod" not in text
    text = shell.refused("issue", "hv1")
    assert "no authority here: no index.json" in text
    assert "chmod" not in text


@pytest.mark.parametrize("name", ["key.pem", "cert.pem"])
@pytest.mark.parametrize("content", [None, b"", b"junk"])
def test_a_broken_authority_is_to_be_restored(shell: Shell, name: str, content: bytes | None):
    """The file is named, and what to do."""
    path = shell.ca / "authorities" / "1" / name
    path.unlink()
    if content is not None:
        path.touch(mode=0o600)
        path.write_bytes(content)
    text = shell.refused("issue", "hv1")
    assert f"{path}: " in text
    assert "next: restore key.pem and cert.pem from a copy of the folder" in text


def test_a_key_of_another_authority_is_named(shell: Shell):
    """With the folder that both files are in."""
    shell.ok("issue", "hv1")
    path = shell.ca / "authorities" / "1"
    (path / "key.pem").write_bytes((shell.ca / "issued" / "hv1" / "key.pem").read_bytes())
    text = shell.refused("issue", "hv2")
    assert f"{path}: the authority's key is not that of its certificate" in text
    assert "next: restore" in text


def test_revoking_and_readmitting(shell: Shell):
    """Each says what follows."""
    shell.ok("issue", "hv1")
    text = shell.ok("revoke", "hv1")
    assert "ovn-ipsec pki readmit hv1" in text
    assert "crl.pem" in text
    assert "already revoked" in shell.ok("revoke", "hv1")
    assert "was revoked" in shell.refused("issue", "hv1")
    shell.ok("readmit", "hv1")
    shell.ok("issue", "hv1")
    serial = format_serial(CaFolder(shell.ca).read().certificates[-1].serial)
    assert "gets no" not in shell.ok("revoke", serial)
    assert "valid until" in shell.ok("refresh")


def test_a_rollover_by_hand(shell: Shell):
    """Every step names the next one, and status knows where it is."""
    shell.ok("issue", "hv1")
    assert "rollover switch" in shell.ok("rollover", "start")
    assert "rollover: started" in shell.ok("status")
    assert "dropped" in shell.ok("rollover", "cancel")
    shell.ok("rollover", "start", "--name", "New", "--key-type", "ed25519")
    assert "rollover finish" in shell.ok("rollover", "switch")
    assert "rollover: switched, 1 chassis to renew" in shell.ok("status")
    assert "hv1" in shell.refused("rollover", "finish")
    shell.ok("renew", "hv1")
    assert "ovn-ipsec pki rollover finish" in shell.ok("status")
    assert "OVN IPsec CA G1" in shell.ok("rollover", "finish")


def test_status_for_people(shell: Shell):
    """A table, and nothing when there is nothing."""
    assert "no certificates yet" in shell.ok("status")
    shell.ok("issue", "hv1")
    shell.ok("sign", "-", input=CSR)
    text = shell.ok("status")
    for word in ("hv1", "here", "on the chassis", "364", "valid", "signing: OVN IPsec CA G1"):
        assert word in text


@pytest.mark.parametrize("where", ["before", "after"])
def test_status_for_programs(shell: Shell, where: str):
    """With the flag on either side."""
    shell.ok("issue", "hv1", "--life", "1d")
    words = ["status", "--json"] if where == "after" else ["status"]
    document = json.loads(shell.ok(*words, before=("--json",) if where == "before" else ()))
    (one,) = document["certificates"]
    assert ("hv1", "valid", 0, 1) == (
        one["chassis"],
        one["state"],
        one["days_left"],
        one["authority"],
    )
    assert ([], 0, "none") == (
        document["findings"],
        document["exit"],
        document["rollover"]["stage"],
    )


def test_status_tells_degraded_from_unknown(shell: Shell):
    """1 with what to do, 2 when it cannot tell."""
    (shell.ca / "crl.pem").unlink()
    text = shell.refused("status")
    assert "crl.pem: does not match the index" in text
    assert "next: ovn-ipsec pki refresh" in text
    document = json.loads(shell.refused("status", "--json"))
    assert ("crl.pem", 1) == (document["findings"][0]["subject"], document["exit"])
    (shell.ca / "index.json").write_text("{")
    assert "cannot be read" in shell.refused("status", code=2)


def test_a_stock_chassis_is_told_what_to_run(shell: Shell):
    """The command is a whole one."""
    shell.ok("issue", "hv1")
    out = shell.path / "stock"
    text = shell.ok("export-stock", "hv1", "--out", str(out), "--target", "/etc/keys/")
    assert text.endswith("other_config:ca_cert=/etc/keys/ovn-ipsec-ca.pem\n")
    assert "note: with strongSwan" in text
    assert (out / "ovn-ipsec-key.pem").exists()


def test_the_group_stands_alone():
    """Without the flags of the program in front of it."""
    from ovn_ipsec.cli.pki import command  # noqa: PLC0415 - only here

    result = CliRunner().invoke(command, ["--ca", "/nonexistent", "status"])
    assert (2, True) == (result.exit_code, "no such folder" in result.output)


def test_programs_get_one_object_from_every_command(shell: Shell, tmp_path: Path):
    """Wherever --json stands; an error is one too, and the exit status stays."""

    def told(*words: str, code: int = 0) -> dict[str, Any]:
        result = shell.run(*words, "--json", apart=True)
        assert (result.exit_code, result.stderr) == (code, "")
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    (tmp_path / "csr.pem").write_text(CSR)
    assert told("init", code=1)["next_step"]
    (issued,) = told("issue", "hv1")["issued"]
    assert (issued["chassis"], len(issued["files"])) == ("hv1", 3)
    assert told("renew", "hv1")["issued"][0]["serial"] != issued["serial"]
    signed = told("sign", str(tmp_path / "csr.pem"))
    assert (signed["chassis"], signed["file"]) == ("hv3", None)
    assert x509.load_pem_x509_certificate(signed["certificate"].encode())
    out = str(tmp_path / "stock")
    assert "ovs-vsctl" in told("export-stock", "hv1", "--out", out)["command"]
    assert told("refresh")["crl"] == str(shell.ca / "crl.pem")
    assert told("rollover", "start")["trusted"]["not_after"]
    assert told("rollover", "cancel")["dropped"]["name"]
    told("rollover", "start")
    assert told("rollover", "switch")["signs"]["name"]
    assert "error" in told("rollover", "finish", code=1)
    revoked = told("revoke", "hv3")
    assert (revoked["chassis"], len(revoked["revoked"])) == ("hv3", 1)
    assert told("readmit", "hv3") == {"chassis": "hv3"}
    assert told("status")["exit"] == 0
