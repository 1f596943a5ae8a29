# SPDX-License-Identifier: Apache-2.0
"""The keys of pairs, and the file that holds the secret they come from."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.errors import InvariantError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki import files
from ovn_ipsec.pki.errors import PkiError
from ovn_ipsec.pki.psk import psk_for_pair

SECRET = b"0123456789abcdef"
NAMES = st.from_regex(r"[A-Za-z0-9._-]{1,40}", fullmatch=True).map(ChassisName)
HV1, HV2 = ChassisName("hv1"), ChassisName("hv2")


def test_the_key_is_hkdf_as_rfc_5869_has_it():
    """Computed here by hand: extract, then the first block of expand."""
    prk = hmac.digest(b"ovn-ipsec psk 1", SECRET, hashlib.sha256)
    expected = hmac.digest(prk, b"\x00\x03hv1\x00\x03hv2\x01", hashlib.sha256)
    assert expected == psk_for_pair(SECRET, HV1, HV2)


@given(NAMES, NAMES)
def test_the_order_of_the_ends_does_not_matter(a: ChassisName, b: ChassisName):
    """And the key has 32 bytes."""
    if a == b:
        with pytest.raises(InvariantError):
            psk_for_pair(SECRET, a, b)
        return
    key = psk_for_pair(SECRET, a, b)
    assert (32, key) == (len(key), psk_for_pair(SECRET, b, a))


@given(st.sets(st.frozensets(NAMES, min_size=2, max_size=2), min_size=2, max_size=6))
def test_every_pair_has_a_key_of_its_own(pairs: set[frozenset[ChassisName]]):
    """Even where the names, written one behind the other, are the same text."""
    assert len(pairs) == len({psk_for_pair(SECRET, *pair) for pair in pairs})


def test_names_that_run_together_are_told_apart():
    """The lengths are a part of it."""
    one = psk_for_pair(SECRET, ChassisName("a"), ChassisName("bc"))
    other = psk_for_pair(SECRET, ChassisName("ab"), ChassisName("c"))
    assert one != other


@given(st.binary(min_size=16, max_size=64), st.binary(min_size=16, max_size=64))
def test_another_secret_gives_another_key(one: bytes, other: bytes):
    """Unless they are the same to HMAC, which pads with zeros."""
    same = one.ljust(64, b"\0") == other.ljust(64, b"\0")
    assert same == (psk_for_pair(one, HV1, HV2) == psk_for_pair(other, HV1, HV2))


def test_a_short_secret_is_refused():
    """Without being shown."""
    with pytest.raises(PkiError) as caught:
        psk_for_pair(b"hunter2", HV1, HV2)
    assert "hunter2" not in str(caught.value)


def secret_file(tmp_path: Path, data: bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("data", "secret"),
    [
        (SECRET, SECRET),
        (SECRET + b"\n", SECRET),
        (SECRET + b"\r\n", SECRET),
        (SECRET + b"\n\n", SECRET + b"\n"),
    ],
)
def test_a_secret_is_read_without_one_newline(tmp_path: Path, data: bytes, secret: bytes):
    """A second one is a part of it."""
    assert secret == files.read_secret_file(secret_file(tmp_path, data))


@pytest.mark.parametrize("data", [b"", b"\n", b"hunter2-hunter2\n", b"hunter2" * 1000])
def test_a_secret_of_a_wrong_length_is_refused(tmp_path: Path, data: bytes):
    """The error names the file, and nothing of what is in it."""
    path = secret_file(tmp_path, data)
    with pytest.raises(PkiError) as caught:
        files.read_secret_file(str(path))
    assert str(path) in str(caught.value)
    assert "hunter" not in f"{caught.value!r}{caught.value}{vars(caught.value)}"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o777])
def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, mode: int):
    """With the command that mends it; another key is better."""
    with pytest.raises(PkiError, match=f"mode {mode:04o}") as caught:
        files.read_secret_file(secret_file(tmp_path, SECRET, mode))
    assert "chmod 0600" in caught.value.next_step


def test_a_secret_of_another_user_is_refused(tmp_path: Path, monkeypatch):
    """Who owns a file may read it, whatever its mode."""
    path = secret_file(tmp_path, SECRET)
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PkiError, match="another user"):
        files.read_secret_file(path)


@pytest.mark.parametrize("name", [".", "absent", "a\0b"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str):
    """A folder, nothing, and a name that cannot be."""
    with pytest.raises(PkiError):
        files.read_secret_file(f"{tmp_path}/{name}")


def test_a_pipe_does_not_hold_the_reader_up(tmp_path: Path):
    """It is refused at once."""
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o600)
    with pytest.raises(PkiError, match="not a regular file"):
        files.read_secret_file(path)
