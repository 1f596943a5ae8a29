# SPDX-License-Identifier: Apache-2.0
"""An authority in a folder: what it issues, signs, renews and revokes, and what it leaves there."""

from __future__ import annotations

import contextlib
import json
import stat
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ovn_ipsec.errors import Retry
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki import files, issuance, rollover, stock
from ovn_ipsec.pki.authority import Shape
from ovn_ipsec.pki.errors import BusyError, PkiError
from ovn_ipsec.pki.folder import CaFolder
from ovn_ipsec.pki.index import Origin, format_index, format_serial
from ovn_ipsec.pki.issuance import IssueOptions
from ovn_ipsec.pki.keys import key_id, new_key, read_private
from ovn_ipsec.pki.request import Request, check_request, make_request
from ovn_ipsec.pki.values import KeyKind

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HV1, HV2 = ChassisName("hv1"), ChassisName("hv2")
SHAPE = Shape(name="Test CA", life=3650 * DAY)
WISH = IssueOptions()


@pytest.fixture
def folder(tmp_path: Path) -> CaFolder:
    made = CaFolder(tmp_path / "ca")
    made.init(SHAPE, KeyKind.ECDSA_P256, NOW)
    return made


@cache
def key(number: int = 0) -> Any:
    return new_key(KeyKind.ECDSA_P256)


def request(chassis: ChassisName = HV1, number: int = 0) -> Request:
    return check_request(make_request(key(number), chassis), chassis)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def bundle(folder: CaFolder) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(folder.bundle_path.read_bytes())


def revoked(folder: CaFolder) -> set[int]:
    blocks = folder.crl_path.read_bytes().split(b"-----BEGIN")[1:]
    lists = [x509.load_pem_x509_crl(b"-----BEGIN" + block) for block in blocks]
    return {one.serial_number for found in lists for one in found}


def state(path: Path) -> dict[str, bytes]:
    return {
        str(found.relative_to(path)): found.read_bytes()
        for found in path.rglob("*")
        if found.is_file()
    }


def test_what_is_secret_is_private(folder: CaFolder):
    """Folders 0700, keys and ledger 0600, whatever the umask."""
    issuance.issue(folder, HV1, WISH, NOW)
    for path in [folder.path, *folder.path.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir():
            assert mode == 0o700
        elif path.name in ("key.pem", "index.json", "lock"):
            assert mode == 0o600
        else:
            assert b"PRIVATE KEY" not in path.read_bytes()


def test_no_key_is_in_a_representation(folder: CaFolder):
    """Nor in what a function gives back."""
    done = issuance.issue(folder, HV1, WISH, NOW)
    secrets = [
        line for path in folder.path.rglob("key.pem") for line in path.read_text().split("\n")
    ]
    shown = f"{done!r}{folder!r}{folder.read()!r}{folder.authority(folder.read().signing)!r}"
    assert not any(secret in shown for secret in secrets if secret)


def test_an_authority_is_only_made_in_an_empty_folder(folder: CaFolder, tmp_path: Path):
    """Neither over another one nor over half of one; and each says what to do."""
    with pytest.raises(PkiError, match="holds an authority already"):
        folder.init(SHAPE, KeyKind.ECDSA_P256, NOW)
    folder.index_path.unlink()
    with pytest.raises(PkiError, match="without an index"):
        folder.init(SHAPE, KeyKind.ECDSA_P256, NOW)
    with pytest.raises(PkiError, match="not a name"):
        CaFolder(tmp_path / "x").init(Shape(name="", life=DAY), KeyKind.ECDSA_P256, NOW)
    assert not (tmp_path / "x").exists()
    with pytest.raises(PkiError, match="cannot make this folder"):
        CaFolder(tmp_path / "a" / "b").init(SHAPE, KeyKind.ECDSA_P256, NOW)


def test_what_is_no_authority_is_never_an_empty_one(folder: CaFolder, tmp_path: Path):
    """No folder, an empty one, one that others can look into, a torn index."""
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(PkiError) as caught:
            issuance.issue(CaFolder(path), HV1, WISH, NOW)
        assert "pki init" in caught.value.next_step or "chmod" in caught.value.next_step
    text = folder.index_path.read_bytes()
    folder.index_path.write_bytes(text[: len(text) // 2])
    with pytest.raises(PkiError, match="cannot be read as the index"):
        issuance.issue(folder, HV1, WISH, NOW)
    folder.path.chmod(0o755)
    with pytest.raises(PkiError, match="mode 0755"):
        folder.read()


def test_a_chassis_gets_key_certificate_and_bundle(folder: CaFolder):
    """They fit each other; and the ledger says so."""
    done = issuance.issue(folder, HV1, WISH, NOW)
    own = folder.issued_path(HV1)
    assert [own / name for name in ("key.pem", "cert.pem", "ca.pem")] == list(done.written)
    found = certificate(own / "cert.pem")
    made = read_private("k", (own / "key.pem").read_bytes())
    assert found.public_key() == made.public_key()
    found.verify_directly_issued_by(bundle(folder)[0])
    assert (own / "ca.pem").read_bytes() == folder.bundle_path.read_bytes()
    (entry,) = folder.read().certificates
    assert done.entry == entry
    assert (found.serial_number, key_id(made.public_key()), Origin.ISSUE) == (
        entry.serial,
        entry.key_id,
        entry.origin,
    )
    assert format_serial(entry.serial) in issuance.describe(entry)


def test_a_certificate_may_go_elsewhere(folder: CaFolder, tmp_path: Path):
    """Then nothing of it but the certificate is kept."""
    out = tmp_path / "out"
    issuance.issue(folder, HV1, IssueOptions(out=out, kind=KeyKind.ED25519), NOW)
    assert {"key.pem", "cert.pem", "ca.pem"} == {path.name for path in out.iterdir()}
    assert not folder.issued_path(HV1).exists()


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "a\nb", "ä", "x" * 254])
def test_a_junk_name_gets_nothing(folder: CaFolder, name: str):
    """And leaves nothing behind."""
    before = state(folder.path)
    with pytest.raises(PkiError, match="not a chassis name"):
        issuance.issue(folder, name, WISH, NOW)
    assert before == state(folder.path)


def test_the_longest_name_is_as_good_as_any(folder: CaFolder):
    """It names a folder, too."""
    assert len(issuance.issue(folder, "h" * 253, WISH, NOW).written) == 3


def test_who_has_a_certificate_renews_it(folder: CaFolder):
    """Issuing again is for who has none that is good."""
    issuance.issue(folder, HV1, WISH, NOW)
    with pytest.raises(PkiError, match="has a certificate until 2031-01-01") as caught:
        issuance.issue(folder, HV1, WISH, NOW)
    assert caught.value.next_step == "ovn-ipsec pki renew hv1"
    issuance.issue(folder, HV1, WISH, NOW + 366 * DAY)


def test_two_names_that_differ_in_case_are_one_to_daemons(folder: CaFolder):
    """The second chassis could speak for the first."""
    issuance.issue(folder, HV1, WISH, NOW)
    with pytest.raises(PkiError, match="differs only in case from hv1"):
        issuance.issue(folder, "HV1", WISH, NOW)


def test_a_renewal_has_another_key_and_the_old_certificate_stays(folder: CaFolder):
    """Make before break: both are good."""
    old = issuance.issue(folder, HV1, WISH, NOW).entry
    new = issuance.renew(folder, HV1, WISH, NOW + DAY).entry
    assert old.key_id != new.key_id
    assert [old, new] == list(folder.read().certificates)
    assert new.serial == certificate(folder.issued_path(HV1) / "cert.pem").serial_number


def test_a_renewal_may_keep_the_key(folder: CaFolder):
    """The key's file is not written again."""
    old = issuance.issue(folder, HV1, WISH, NOW).entry
    before = (folder.issued_path(HV1) / "key.pem").stat().st_ino
    done = issuance.renew(folder, HV1, IssueOptions(same_key=True), NOW + DAY)
    assert old.key_id == done.entry.key_id
    assert ["cert.pem", "ca.pem"] == [path.name for path in done.written]
    assert before == (folder.issued_path(HV1) / "key.pem").stat().st_ino


def test_who_has_nothing_has_nothing_to_renew(folder: CaFolder):
    """The error says what to do instead."""
    with pytest.raises(PkiError) as caught:
        issuance.renew(folder, HV1, WISH, NOW)
    assert caught.value.next_step == "ovn-ipsec pki issue hv1"


def test_a_key_that_a_chassis_made_is_not_made_here(folder: CaFolder):
    """A renewal of it keeps it, and asks first."""
    issuance.sign(folder, request(), 365 * DAY, NOW)
    with pytest.raises(PkiError, match="made its own key"):
        issuance.renew(folder, HV1, WISH, NOW)
    entry = issuance.renew(folder, HV1, IssueOptions(same_key=True), NOW).entry
    assert (key_id(key(0).public_key()), Origin.SIGN) == (entry.key_id, entry.origin)
    assert not (folder.issued_path(HV1) / "key.pem").exists()


def test_a_signed_request_is_in_the_books(folder: CaFolder):
    """Each time it is signed."""
    for _ in range(2):
        found = x509.load_pem_x509_certificate(issuance.sign(folder, request(), DAY, NOW).encode())
        assert folder.read().certificates[-1].serial == found.serial_number
    assert len(folder.read().certificates) == 2


def test_who_asks_again_gets_the_same_answer(folder: CaFolder):
    """While it need not be renewed, by the same key, of the authority that signs."""
    (first,) = issuance.sign_all(folder, [request()], 10 * DAY, NOW)
    before = folder.index_path.stat().st_ino
    assert (first,) == issuance.sign_all(folder, [request()], 10 * DAY, NOW + 6 * DAY)
    assert before == folder.index_path.stat().st_ino
    (late,) = issuance.sign_all(folder, [request()], 10 * DAY, NOW + 9 * DAY)
    (rekeyed,) = issuance.sign_all(folder, [request(number=1)], 10 * DAY, NOW + 9 * DAY)
    (dead,) = issuance.sign_all(folder, [request(number=1)], 10 * DAY, NOW + 30 * DAY)
    assert len({first, late, rekeyed, dead}) == 4
    rollover.start(folder, life=3650 * DAY, kind=None, name=None, now=NOW + 30 * DAY)
    assert (dead,) == issuance.sign_all(folder, [request(number=1)], DAY, NOW + 30 * DAY)
    rollover.switch(folder, NOW + 30 * DAY)
    assert (dead,) != issuance.sign_all(folder, [request(number=1)], DAY, NOW + 30 * DAY)


def test_one_refusal_does_not_stop_the_others(folder: CaFolder):
    """Answers come in the order of the requests."""
    issuance.issue(folder, "HV1", WISH, NOW)
    refusal, answer = issuance.sign_all(folder, [request(), request(HV2, 1)], DAY, NOW)
    assert isinstance(refusal, PkiError)
    assert "BEGIN CERTIFICATE" in str(answer)
    assert ["HV1", "hv2"] == [entry.chassis for entry in folder.read().certificates]
    assert () == issuance.sign_all(folder, [], DAY, NOW)


def test_a_revoked_chassis_cannot_just_ask_again(folder: CaFolder):
    """Neither with its key nor with another, until somebody readmits it."""
    issuance.sign(folder, request(), 30 * DAY, NOW)
    issuance.renew(folder, HV1, IssueOptions(same_key=True), NOW)
    done = issuance.revoke(folder, HV1, NOW + DAY)
    assert (HV1, 2) == (done.chassis, len(done.entries))
    assert {entry.serial for entry in done.entries} == revoked(folder)
    for number in (0, 1):
        with pytest.raises(PkiError, match="was revoked at 2030-01-02 00:00 UTC"):
            issuance.sign(folder, request(number=number), DAY, NOW + DAY)
        (answer,) = issuance.sign_all(folder, [request(number=number)], DAY, NOW + DAY)
        assert isinstance(answer, PkiError)
    with pytest.raises(PkiError, match="was revoked"):
        issuance.issue(folder, HV1, WISH, NOW + DAY)
    with pytest.raises(PkiError, match="was revoked") as caught:
        issuance.issue(folder, "Hv1", WISH, NOW + DAY)
    assert "ovn-ipsec pki readmit hv1" == caught.value.next_step
    issuance.readmit(folder, HV1, NOW + DAY)
    with pytest.raises(PkiError, match="key is that of a revoked certificate"):
        issuance.sign(folder, request(), DAY, NOW + DAY)
    issuance.sign(folder, request(number=1), DAY, NOW + DAY)
    with pytest.raises(PkiError, match="nothing to readmit"):
        issuance.readmit(folder, HV1, NOW)


def test_what_is_revoked_stays_revoked(folder: CaFolder):
    """Revoking again is no mistake, and changes no date."""
    issuance.issue(folder, HV1, WISH, NOW)
    issuance.revoke(folder, HV1, NOW)
    assert () == issuance.revoke(folder, HV1, NOW + DAY).entries
    assert folder.read().certificates[0].revoked == NOW


def test_a_list_leaves_out_what_has_expired(folder: CaFolder):
    """And each is numbered higher than the one before."""
    issuance.issue(folder, HV1, IssueOptions(life=DAY), NOW)
    issuance.revoke(folder, HV1, NOW)
    before = folder.read().crl_number
    after = issuance.refresh(folder, NOW + DAY)
    assert (set(), before + 1, NOW + 31 * DAY) == (
        revoked(folder),
        after.crl_number,
        after.crl_until,
    )


@pytest.mark.parametrize("form", ["{}", "serial:{}", "0x{}", "SERIAL:{}", "colons"])
def test_one_certificate_is_revoked_by_its_serial(folder: CaFolder, form: str):
    """However openssl wrote it; the chassis may ask again."""
    entry = issuance.issue(folder, HV1, WISH, NOW).entry
    digits = format_serial(entry.serial)
    spelled = ":".join(digits[i : i + 2] for i in range(0, 40, 2)).upper()
    text = spelled if form == "colons" else form.format(digits)
    done = issuance.revoke(folder, text, NOW)
    assert (None, (entry,), {entry.serial}) == (done.chassis, done.entries, revoked(folder))
    issuance.issue(folder, HV1, WISH, NOW)


def test_what_is_unknown_is_not_revoked(folder: CaFolder):
    """A mistyped name does not pass for success."""
    for text in ("hv9", "ab", "::", "serial:hv1", "\x1b[2J"):
        with pytest.raises(PkiError, match="neither a chassis"):
            issuance.revoke(folder, text, NOW)


def test_a_word_that_means_two_things_is_not_guessed(folder: CaFolder):
    """A chassis could call itself by another's serial number."""
    entry = issuance.issue(folder, HV1, WISH, NOW).entry
    digits = format_serial(entry.serial)
    issuance.issue(folder, digits, WISH, NOW)
    with pytest.raises(PkiError, match="both a chassis and a serial number") as caught:
        issuance.revoke(folder, digits, NOW)
    assert f"serial:{digits}" in caught.value.next_step
    assert (entry,) == issuance.revoke(folder, f"serial:{digits}", NOW).entries


def test_old_certificates_are_not_kept_for_ever(folder: CaFolder, monkeypatch):
    """Neither in the ledger nor as files."""
    monkeypatch.setattr("ovn_ipsec.pki.folder.JOURNAL_MIN", 2)
    for day in range(0, 100, 10):
        issuance.sign(folder, request(), 10 * DAY, NOW + day * DAY)
    entries = folder.read().certificates
    assert len(entries) == 4
    kept = {path.name for path in (folder.path / "certificates").iterdir()}
    assert kept == {f"{format_serial(entry.serial)}.pem" for entry in entries}


def test_two_writers_do_not_mix(folder: CaFolder):
    """The second one may try again."""
    with folder.writing(), pytest.raises(BusyError):
        issuance.sign_all(folder, [request()], DAY, NOW)
    issuance.issue(folder, HV1, WISH, NOW)


def test_what_an_operator_does_waits_for_who_signs(folder: CaFolder, monkeypatch):
    """To revoke is the last thing that may fail because the ledger is busy."""
    issuance.issue(folder, HV1, WISH, NOW)
    for act in (
        lambda: issuance.revoke(folder, HV1, NOW),
        lambda: issuance.readmit(folder, HV1, NOW),
        lambda: issuance.renew(folder, HV1, WISH, NOW),
        lambda: issuance.refresh(folder, NOW),
        lambda: issuance.sign(folder, request(HV2), DAY, NOW),
        lambda: issuance.issue(folder, "hv3", WISH, NOW),
        lambda: rollover.start(folder, life=DAY, kind=None, name=None, now=NOW),
    ):
        other = contextlib.ExitStack()
        other.enter_context(CaFolder(folder.path).writing())
        monkeypatch.setattr(time, "sleep", lambda _seconds, other=other: other.close())
        act()


# --- the journal ---------------------------------------------------------------------------------


def journal(folder: CaFolder) -> Path:
    (path,) = folder.path.glob("signed-*.jsonl")
    return path


def test_what_is_signed_is_entered_behind_the_books(folder: CaFolder):
    """Not written with all of them; every reader finds it, one that has read before the news."""
    reader = CaFolder(folder.path)
    assert reader.read().certificates == ()
    before = folder.index_path.stat()
    for number in range(5):
        issuance.sign(folder, request(ChassisName(f"hv{number}"), number), DAY, NOW)
        names = [entry.chassis for entry in reader.read().certificates]
        assert names == [f"hv{one}" for one in range(number + 1)]
    assert folder.index_path.stat() == before
    assert len(journal(folder).read_text().splitlines()) == 5
    assert journal(folder).stat().st_mode & 0o777 == 0o600
    assert CaFolder(folder.path).read() == folder.read() == reader.read()
    issuance.revoke(reader, "hv0", NOW)
    assert journal(folder).read_bytes() == b""
    assert [entry.revoked for entry in folder.read().certificates] == [NOW, *[None] * 4]


@pytest.mark.slow
def test_the_cost_of_a_signature_does_not_grow_with_the_books(folder: CaFolder):
    """Beside 2000 certificates as beside none it is one line, and one line is read of it."""
    one = issuance.issue(folder, HV1, WISH, NOW).entry
    many = [replace(one, chassis=ChassisName(f"old{n}"), serial=n + 1) for n in range(2000)]
    with folder.writing() as index:
        folder.save(replace(index, certificates=tuple(many)))
    folder.read()
    inode = folder.index_path.stat().st_ino
    for number in range(300):
        issuance.sign_all(folder, [request(ChassisName(f"hv{number}"), 0)], DAY, NOW)
    assert folder.index_path.stat().st_ino == inode
    assert len(folder.read().certificates) == 2300
    for number in range(300, 501):
        issuance.sign_all(folder, [request(ChassisName(f"hv{number}"), 0)], DAY, NOW)
    assert folder.index_path.stat().st_ino != inode, "a fourth of them: now it is worth it"
    assert len(folder.read().certificates) == 2501


def test_a_line_that_a_kill_has_left_unfinished_does_not_count(folder: CaFolder):
    """It was not handed out; the next one takes its place."""
    issuance.sign(folder, request(), DAY, NOW)
    path = journal(folder)
    whole = path.read_bytes()
    for torn in (whole[:40], b"\x00" * 512):
        path.write_bytes(whole + torn)
        fresh = CaFolder(folder.path)
        assert len(fresh.read().certificates) == 1
        issuance.sign(fresh, request(HV2, 1), DAY, NOW)
        assert [entry.chassis for entry in folder.read().certificates] == [HV1, HV2]
        assert path.read_bytes().startswith(whole)
        path.write_bytes(whole)
        folder._shelf.ledger = None


@pytest.mark.parametrize("damage", ["gone", "short", "junk"])
def test_a_journal_that_is_damaged_is_not_an_empty_one(folder: CaFolder, damage: str):
    """What it held could not be revoked any more."""
    issuance.sign(folder, request(), DAY, NOW)
    assert len(folder.read().certificates) == 1
    path = journal(folder)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "short" else path.read_bytes() + b"junk\n")
    for _ in range(2):
        with pytest.raises(PkiError, match=path.name):
            folder.read()
        if damage == "short":
            break


def test_books_of_an_older_program_are_taken_over(folder: CaFolder):
    """With the first certificate they are ours, and the older program refuses them."""
    entry = issuance.issue(folder, HV1, WISH, NOW).entry
    document = json.loads(format_index(folder.read()))
    del document["journal"]
    folder.index_path.write_text(json.dumps({**document, "version": 1}))
    journal(folder).unlink()
    old = CaFolder(folder.path)
    assert old.read().certificates == (entry,)
    issuance.sign(old, request(HV2), DAY, NOW)
    assert json.loads(folder.index_path.read_text())["version"] == 2
    assert [one.chassis for one in folder.read().certificates] == [HV1, HV2]


def test_books_that_are_written_while_they_are_read_are_read_again(folder: CaFolder, monkeypatch):
    """Journal and index belong together; an index that never stays the same is an error."""
    issuance.sign(folder, request(), DAY, NOW)
    reader, real = CaFolder(folder.path), files.tail
    writes: list[int] = []

    def tail(path: Path, start: int) -> bytes:
        if len(writes) < 6:
            writes.append(1)
            if len(writes) % 2:
                with folder.writing() as index:
                    folder.save(index)
        return real(path, start)

    monkeypatch.setattr(files, "tail", tail)
    assert [entry.chassis for entry in reader.read().certificates] == [HV1]
    number = iter(range(10**6))
    monkeypatch.setattr(CaFolder, "_stamp", lambda _self: next(number))
    with pytest.raises(PkiError, match="does not stay as it is"):
        CaFolder(folder.path).read()


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_name_gets_a_few_certificates_and_no_more(folder: CaFolder):
    """Whoever asks with another key each time: so many in an hour, and so many good ones."""
    got, refused = 0, []
    for minute in range(0, 60 * 24 * 20, 7):
        now = NOW + timedelta(minutes=minute)
        (answer,) = issuance.sign_all(folder, [request(number=minute)], 30 * DAY, now)
        got += isinstance(answer, str)
        if isinstance(answer, issuance.LimitError):
            refused.append(answer)
            assert answer.until > now
            assert answer.retry is Retry.LATER
    assert got == issuance.LIVE_MAX
    assert "got 3 certificates within an hour" in str(refused[0])
    assert "again at 2030-01-01 01:00 UTC" in str(refused[0])
    assert "has 5 valid certificates" in str(refused[-1])
    (other,) = issuance.sign_all(folder, [request(HV2, 1)], DAY, NOW)
    assert isinstance(other, str), "it is the name's limit, and nobody else's"
    issuance.renew(folder, HV1, IssueOptions(same_key=True), NOW + DAY)
    live = folder.ledger().live(HV1, NOW + 20 * DAY)
    for entry in live[:2]:
        issuance.revoke(folder, f"serial:{format_serial(entry.serial)}", NOW + 20 * DAY)
    (again,) = issuance.sign_all(folder, [request(number=10**6)], DAY, NOW + 20 * DAY)
    assert isinstance(again, str), "a revoked one makes room"


def test_one_that_asks_twice_at_once_gets_one(folder: CaFolder):
    """Whatever the order."""
    answers = issuance.sign_all(folder, [request(), request(number=1)], DAY, NOW)
    assert [isinstance(answer, str) for answer in answers] == [True, False]
    spelled = request(ChassisName("HV2"), 2), request(HV2, 3)
    answers = issuance.sign_all(folder, spelled, DAY, NOW)
    assert "differs only in case from HV2" in str(answers[1])


class Killed(BaseException):
    """What no code catches."""


class Saboteur:
    """Kills when the n-th file from now is put in place; never while n is negative."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = -1
        self._replace = Path.replace
        patch.setattr(Path, "replace", lambda *paths: self._act(*paths))  # noqa: PLW0108 - a method

    def _act(self, path: Path, target: Path) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1
        self._replace(path, target)


STEPS: dict[str, tuple[list[str], Any]] = {
    "issue": ([], lambda ca: issuance.issue(ca, HV2, WISH, NOW)),
    "sign": ([], lambda ca: issuance.sign(ca, request(HV2), DAY, NOW)),
    "renew": ([], lambda ca: issuance.renew(ca, HV1, WISH, NOW)),
    "revoke": ([], lambda ca: issuance.revoke(ca, HV1, NOW)),
    "readmit": (["revoke"], lambda ca: issuance.readmit(ca, HV1, NOW)),
    "start": ([], lambda ca: rollover.start(ca, life=DAY, kind=None, name=None, now=NOW)),
    "cancel": (["start"], lambda ca: rollover.cancel(ca, NOW)),
    "switch": (["start"], lambda ca: rollover.switch(ca, NOW)),
    "finish": (["start", "switch", "renew"], lambda ca: rollover.finish(ca, NOW)),
}
"""What is done, and what is done before it."""


@pytest.mark.parametrize("name", STEPS)
def test_a_kill_at_any_file_leaves_the_old_books_or_the_new_ones(
    folder: CaFolder, monkeypatch, name: str
):
    """What they name is there; the same step works the next time, and refresh does the rest."""
    issuance.issue(folder, HV1, WISH, NOW)
    prior, step = STEPS[name]
    for other in prior:
        STEPS[other][1](folder)
    saboteur = Saboteur(monkeypatch)
    before = folder.read()
    kills = 0
    while folder.read() == before:
        saboteur.left = kills
        kills += 1
        with contextlib.suppress(Killed):
            step(folder)
        index = folder.read()
        assert all(folder.certificate(e).serial_number == e.serial for e in index.certificates)
        assert all(folder.authority(entry) for entry in index.trusted)
    assert kills > 1
    saboteur.left = -1
    assert () == folder.stale(issuance.refresh(folder, NOW))


def test_files_that_do_not_follow_from_the_books_are_noticed(folder: CaFolder):
    """Missing, torn, of another time, or not what they should be."""
    index = folder.read()
    assert () == folder.stale(index)
    old = folder.crl_path.read_bytes()
    for content in (b"", old[:40] + b"\n" + old[70:], old * 2):
        folder.crl_path.write_bytes(content)
        assert ("crl.pem",) == folder.stale(index)
    folder.crl_path.write_bytes(old)
    index = issuance.refresh(folder, NOW)
    folder.crl_path.write_bytes(old)
    folder.bundle_path.write_bytes(b"")
    assert ("ca.pem", "crl.pem") == folder.stale(index)
    folder.crl_path.unlink()
    folder.bundle_path.unlink()
    assert ("ca.pem", "crl.pem") == folder.stale(index)


def test_a_file_of_the_folder_that_is_junk_is_named(folder: CaFolder):
    """A certificate, and a key that others may read."""
    entry = issuance.issue(folder, HV1, WISH, NOW).entry
    path = folder.path / "certificates" / f"{format_serial(entry.serial)}.pem"
    path.write_text("junk")
    with pytest.raises(PkiError, match="expected a certificate in PEM"):
        issuance.renew(folder, HV1, IssueOptions(same_key=True), NOW)
    (folder.path / "authorities" / "1" / "key.pem").chmod(0o644)
    with pytest.raises(PkiError, match="others may read this secret"):
        issuance.renew(folder, HV1, WISH, NOW)


def start(folder: CaFolder, **changes: Any) -> None:
    rollover.start(
        folder, **{"life": 3650 * DAY, "kind": None, "name": None, "now": NOW, **changes}
    )


def test_a_rollover_first_trusts_then_signs_then_drops(folder: CaFolder):
    """At each step every certificate in use is of a trusted authority."""
    issuance.issue(folder, HV1, WISH, NOW)
    start(folder)
    assert ["Test CA G1", "Test CA G2"] == names(folder)
    assert authority_of(issuance.issue(folder, HV2, WISH, NOW)) == 1
    with pytest.raises(PkiError, match="started already"):
        start(folder)
    with pytest.raises(PkiError, match="does not sign yet"):
        rollover.finish(folder, NOW)
    rollover.switch(folder, NOW)
    assert ["Test CA G2", "Test CA G1"] == names(folder)
    with pytest.raises(PkiError, match="is not finished"):
        start(folder)
    with pytest.raises(PkiError, match="no rollover has started"):
        rollover.switch(folder, NOW)
    with pytest.raises(PkiError, match=r"2 chassis still have .* Test CA G1: hv1, hv2"):
        rollover.finish(folder, NOW)
    assert authority_of(issuance.renew(folder, HV1, WISH, NOW)) == 2
    with pytest.raises(PkiError, match=r"1 chassis still have .* Test CA G1: hv2"):
        rollover.finish(folder, NOW)
    issuance.revoke(folder, HV2, NOW)
    rollover.finish(folder, NOW)
    assert ["Test CA G2"] == names(folder)
    assert not (folder.path / "authorities" / "1" / "key.pem").exists()
    with pytest.raises(PkiError, match="no rollover is under way"):
        rollover.finish(folder, NOW)


def names(folder: CaFolder) -> list[str]:
    return [found.subject.rfc4514_string()[3:13] for found in bundle(folder)]


def authority_of(done: issuance.Issued) -> int:
    return done.entry.authority


def test_laggards_are_named_but_not_all_of_a_thousand(folder: CaFolder):
    """Only those whose certificate still counts."""
    for number in range(22):
        issuance.issue(folder, f"hv{number:02}", IssueOptions(life=DAY), NOW)
    start(folder)
    rollover.switch(folder, NOW)
    with pytest.raises(PkiError, match="hv19 and 2 more"):
        rollover.finish(folder, NOW)
    rollover.finish(folder, NOW + DAY)


def test_a_rollover_may_change_the_kind_and_the_name(folder: CaFolder):
    """And be cancelled while nothing depends on it."""
    start(folder, kind=KeyKind.ED25519, name="New CA")
    rollover.cancel(folder, NOW)
    assert ["Test CA G1"] == names(folder)
    with pytest.raises(PkiError, match="no rollover to cancel"):
        rollover.cancel(folder, NOW)
    start(folder, kind=KeyKind.ED25519, name="New CA")
    assert "New CA G3" == rollover.switch(folder, NOW).title
    assert KeyKind.ED25519 is folder.authority(folder.read().signing).key_kind


def test_a_revocation_by_the_old_authority_is_still_listed(folder: CaFolder):
    """Each authority lists its own."""
    old = issuance.issue(folder, HV1, WISH, NOW).entry
    start(folder)
    rollover.switch(folder, NOW)
    new = issuance.renew(folder, HV1, WISH, NOW).entry
    issuance.revoke(folder, HV1, NOW)
    assert {old.serial, new.serial} == revoked(folder)
    assert folder.crl_path.read_bytes().count(b"BEGIN X509 CRL") == 2


def export(folder: CaFolder, name: str = HV1, target: str = "/etc/ipsec.d") -> stock.Export:
    return stock.export(folder, name, folder.path.parent / "out", target, NOW)


def test_a_stock_chassis_gets_three_files_and_a_command(folder: CaFolder):
    """An RSA key in PEM, with no remark."""
    issuance.issue(folder, HV1, IssueOptions(kind=KeyKind.RSA_3072), NOW)
    done = export(folder)
    cert, key_path, ca = done.written
    assert certificate(cert).public_key() == read_private("k", key_path.read_bytes()).public_key()
    certificate(cert).verify_directly_issued_by(certificate(ca))
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    assert done.remarks == ()
    assert done.command.startswith("ovs-vsctl set Open_vSwitch . \\\n")
    for setting in (
        "certificate=/etc/ipsec.d/ovn-ipsec-cert.pem",
        "private_key=/etc/ipsec.d/ovn-ipsec-key.pem",
        "ca_cert=/etc/ipsec.d/ovn-ipsec-ca.pem",
    ):
        assert f"other_config:{setting}" in done.command


def test_what_a_stock_chassis_cannot_do_is_said(folder: CaFolder):
    """Another key than RSA with strongSwan, two authorities, a key that is not here."""
    issuance.sign(folder, request(), 365 * DAY, NOW)
    start(folder)
    done = export(folder)
    assert [stock.TWO_AUTHORITIES, stock.OWN_KEY] == [done.remarks[0], done.remarks[2]]
    assert "--key-type rsa-3072 hv1" in done.remarks[1]
    assert len(done.written) == 2


def test_a_stock_chassis_gets_nothing_that_cannot_work(folder: CaFolder):
    """A name too long for a CN, a path that a shell would take apart, no certificate, no key."""
    issuance.issue(folder, "h" * 65, WISH, NOW)
    with pytest.raises(PkiError, match="takes 64 characters"):
        export(folder, "h" * 65)
    for target in ("/etc/$(x)", "etc", "/", "/a b", "/a\n"):
        with pytest.raises(PkiError, match="expected an absolute path"):
            export(folder, target=target)
    with pytest.raises(PkiError, match="has no valid certificate"):
        export(folder)
    issuance.issue(folder, HV1, WISH, NOW)
    issuance.renew(folder, HV1, IssueOptions(out=folder.path.parent / "elsewhere"), NOW)
    with pytest.raises(PkiError, match="not the key of the newest certificate"):
        export(folder)


def test_the_books_are_text_that_a_person_can_read(folder: CaFolder):
    """A line for each certificate, and no key."""
    issuance.issue(folder, HV1, WISH, NOW)
    issuance.refresh(folder, NOW)
    text = folder.index_path.read_text()
    assert "hv1" == json.loads(text)["certificates"][0]["chassis"]
    assert "PRIVATE" not in text
    assert [True] == ["hv1" in line for line in text.splitlines() if "serial" in line]
