# SPDX-License-Identifier: Apache-2.0
"""What a chassis proves itself with, on a disk of its own: made, asked for, read, replaced."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controller.credentials import keypair
from controller.credentials.enrolment import Enrolment
from controller.credentials.keeper import (
    LOOK_S,
    NO_FILES,
    NO_SECRET,
    SETTLE_S,
    SLOW_S,
    CredentialInputs,
    CredentialKeeper,
)
from controller.credentials.keypair import KeyPair
from controller.credentials.own_pin import SWITCH_S, OwnPin
from controller.plan.credentials.pins import parse_pin
from ovn_ipsec.errors import EdgeError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Auth, Revocation
from ovn_ipsec.pki.errors import PkiError
from ovn_ipsec.pki.profile import certificate_pem
from ovn_ipsec.pki.request import check_request
from ovn_ipsec.schema.open_vswitch import CredentialFiles
from tests.contracts.ike_backend import DAY, NOW, Authority
from tests.fakes.files import FakeWatch
from tests.worlds import A, B

YEAR = timedelta(days=365)


# --- pins ----------------------------------------------------------------------------------------


def test_a_pin_is_made_once_and_kept(tmp_path: Path) -> None:
    """In a file of our own; what is published can be pinned, and its key is the daemon's."""
    pin = OwnPin(tmp_path)
    assert pin.refresh(A, "", 0, NOW)
    assert parse_pin(A, pin.text, NOW).der
    assert pin.problem == ""
    assert (tmp_path / "pinned.pem").stat().st_mode & 0o777 == 0o600
    assert not pin.refresh(A, pin.text, 1, NOW)
    again = OwnPin(tmp_path)
    again.refresh(A, "", 0, NOW)
    assert (again.text, again.credential) == (pin.text, pin.credential)
    assert again.key is not None
    assert "KeyPair(...)" in repr(again._current)


def test_another_name_or_a_damaged_file_makes_another_pin(tmp_path: Path) -> None:
    """Nobody could use it."""
    pin = OwnPin(tmp_path)
    pin.refresh(A, "", 0, NOW)
    assert pin.refresh(B, "", 1, NOW)
    assert parse_pin(B, pin.text, NOW).der
    for damage in (b"junk", (tmp_path / "pinned.pem").read_bytes()[:300]):
        (tmp_path / "pinned.pem").write_bytes(damage)
        (tmp_path / "pinned.pem").chmod(0o600)
        fresh = OwnPin(tmp_path)
        fresh.refresh(B, "", 0, NOW)
        assert parse_pin(B, fresh.text, NOW).der
    key = keypair.make_key()
    keypair.store(tmp_path / "pinned.pem", KeyPair(key, pin.text))
    fresh = OwnPin(tmp_path)
    fresh.refresh(B, "", 0, NOW)
    assert fresh.text != pin.text


def test_a_pin_that_has_expired_meanwhile_is_made_anew(tmp_path: Path) -> None:
    """Nobody would take it."""
    pin = OwnPin(tmp_path)
    pin.refresh(A, "", 0, NOW)
    again = OwnPin(tmp_path)
    again.refresh(A, "", 0, NOW + 2 * YEAR)
    assert again.text not in ("", pin.text)
    assert again.problem == ""


def test_a_pin_is_published_before_it_is_used(tmp_path: Path) -> None:
    """When it is old, or by order; over a restart, too."""
    pin = OwnPin(tmp_path)
    pin.refresh(A, "", 0, NOW)
    old, first = pin.credential, pin.text
    pin.renew()
    assert not pin.refresh(A, first, 1, NOW)
    assert pin.text != first
    assert not pin.refresh(A, first, 2, NOW)
    assert not pin.refresh(A, pin.text, 3, NOW)
    assert not pin.refresh(A, pin.text, 3 + SWITCH_S - 1, NOW)
    again = OwnPin(tmp_path)
    assert again.refresh(A, pin.text, 0, NOW)
    assert (again.credential, again.text) == (old, pin.text)
    assert pin.refresh(A, pin.text, 3 + SWITCH_S, NOW)
    assert pin.credential != old
    assert not (tmp_path / "pinned-next.pem").exists()
    late = NOW + 0.95 * YEAR
    second = pin.text
    assert not pin.refresh(A, second, 100, late)
    assert pin.text != second
    assert pin.refresh(A, pin.text, 101, NOW + YEAR), "the old one has expired: no time to wait"


def test_a_disk_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """And tried again."""
    folder = tmp_path / "state"
    pin = OwnPin(folder)
    assert not pin.refresh(A, "", 0, NOW)
    assert "pinned.pem" in pin.problem
    assert pin.text == ""
    pin.refresh(A, "", 1, NOW)
    folder.mkdir(mode=0o700)
    assert pin.refresh(A, "", 2, NOW)
    assert pin.problem == ""


def test_a_pair_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """One that is not there is none; one that cannot be deleted is said."""
    path = tmp_path / "pair.pem"
    assert keypair.load(path) is None
    keypair.store(path, KeyPair(keypair.make_key(), "text\n"))
    found = keypair.load(path)
    assert found is not None
    assert found.text == "text\n"
    path.chmod(0o644)
    with pytest.raises(PkiError):
        keypair.load(path)
    keypair.remove(path)
    keypair.remove(path)
    path.mkdir()
    with pytest.raises(EdgeError):
        keypair.remove(path)


# --- enrolment -----------------------------------------------------------------------------------


class Signer:
    """An authority that answers requests, as northd_ext does."""

    def __init__(self, name: str = "signer", now: datetime = NOW) -> None:
        self.authority = Authority(name, now=now)
        self.bundle = certificate_pem(self.authority.certificate)

    def sign(self, request: str, name: str = A, now: datetime = NOW, days: int = 30) -> str:
        """A certificate for the key of a request."""
        public = check_request(request, A).public_key

        class Holder:
            """What issue() wants of a key."""

            @staticmethod
            def public_key() -> object:
                return public

        return certificate_pem(self.authority.issue(name, key=Holder(), now=now, days=days)[0])


def test_a_certificate_is_asked_for_checked_used_and_kept(tmp_path: Path) -> None:
    """The request stays the same over a restart until it is answered."""
    signer, asking = Signer(), Enrolment(tmp_path)
    assert not asking.refresh(A, signer.bundle, "", NOW)
    assert "waiting" in asking.problem
    restarted = Enrolment(tmp_path)
    restarted.refresh(A, signer.bundle, "", NOW)
    assert restarted.request == asking.request != ""
    answer = signer.sign(asking.request)
    assert restarted.refresh(A, signer.bundle, answer, NOW)
    assert (restarted.request, restarted.problem) == ("", "")
    assert restarted.key is not None
    assert not restarted.refresh(A, signer.bundle, answer, NOW)
    third = Enrolment(tmp_path)
    assert third.refresh(A, signer.bundle, "", NOW)
    assert third.credential == restarted.credential
    assert third.request == ""


def test_an_answer_that_is_not_good_is_refused(tmp_path: Path) -> None:
    """By its reason; and it waits on."""
    signer, other, asking = Signer(), Signer("other"), Enrolment(tmp_path)
    asking.refresh(A, signer.bundle, "", NOW)
    request = asking.request
    stranger = certificate_pem(signer.authority.issue(A, now=NOW)[0])
    for words, answer in {
        "not for the key": stranger,
        "not signed by a CA": other.sign(request),
        "lack the chassis name": signer.sign(request, name=B),
        "expired": signer.sign(request, now=NOW - 90 * DAY),
        "holds no certificate": "junk",
        "longer than": "x" * 70_000,
        "cannot be parsed": "\xff",
    }.items():
        assert not asking.refresh(A, signer.bundle, answer, NOW)
        assert words in asking.problem
        assert asking.request == request
    assert not asking.refresh(A, "junk", signer.sign(request), NOW)
    assert "ovn-ipsec-ca" in asking.problem
    assert asking.refresh(A, signer.bundle, signer.sign(request), NOW)
    assert asking.problem == ""


def test_renewal_comes_in_time_and_the_old_one_stays_until_then(tmp_path: Path) -> None:
    """By its age, by order, and never with the same key; an old answer is no answer."""
    signer, asking = Signer(), Enrolment(tmp_path)
    asking.refresh(A, signer.bundle, "", NOW)
    answer = signer.sign(asking.request)
    asking.refresh(A, signer.bundle, answer, NOW)
    first = asking.credential
    late = NOW + 28 * DAY
    assert not asking.refresh(A, signer.bundle, answer, late)
    assert (asking.credential, asking.problem) == (first, "")
    assert asking.request
    newer = signer.sign(asking.request, now=late)
    assert asking.refresh(A, signer.bundle, newer, late)
    assert asking.credential is not None
    assert first is not None
    assert asking.credential.key_id != first.key_id
    assert not asking.refresh(A, signer.bundle, newer, late)
    assert asking.request == ""
    asking.renew()
    asking.refresh(A, signer.bundle, newer, late)
    assert asking.request
    asking.refresh(A, signer.bundle, newer, late + 99 * DAY)
    assert "expired" in asking.problem
    assert asking.credential is not None


def test_another_authority_in_front_asks_for_its_certificate(tmp_path: Path) -> None:
    """Once for one bundle; and when the old one has gone, what is in use stays in use."""
    old, new, asking = Signer("old"), Signer("new"), Enrolment(tmp_path)
    asking.refresh(A, old.bundle, "", NOW)
    first = old.sign(asking.request)
    asking.refresh(A, old.bundle, first, NOW)
    assert asking.refresh(A, old.bundle + new.bundle, first, NOW), "trust both"
    assert asking.request == ""
    asking.refresh(A, new.bundle + old.bundle, first, NOW)
    assert asking.request
    still_old = old.sign(asking.request)
    assert asking.refresh(A, new.bundle + old.bundle, still_old, NOW)
    asking.refresh(A, new.bundle + old.bundle, still_old, NOW)
    assert asking.request == "", "it was asked for that bundle already"
    held = asking.credential
    assert not asking.refresh(A, new.bundle, still_old, NOW)
    assert "not signed by a CA" in asking.problem
    assert asking.credential is held
    assert asking.refresh(A, new.bundle, new.sign(asking.request), NOW)
    assert asking.problem == ""


def test_damaged_files_and_another_name_make_another_request(tmp_path: Path) -> None:
    """And a folder that is not there is said."""
    signer, asking = Signer(), Enrolment(tmp_path)
    asking.refresh(A, signer.bundle, "", NOW)
    request = asking.request
    renamed = Enrolment(tmp_path)
    renamed.refresh(B, signer.bundle, "", NOW)
    assert renamed.request != request
    for name in ("enrolled.pem", "enrolling.pem"):
        (tmp_path / name).write_text("junk")
        (tmp_path / name).chmod(0o600)
    fresh = Enrolment(tmp_path)
    fresh.refresh(A, signer.bundle, "", NOW)
    assert fresh.request
    keypair.store(tmp_path / "enrolling.pem", KeyPair(keypair.make_key(), "junk"))
    other = Enrolment(tmp_path)
    other.refresh(A, signer.bundle, "", NOW)
    assert other.request not in ("junk", "")
    homeless = Enrolment(tmp_path / "none")
    homeless.refresh(A, signer.bundle, "", NOW)
    assert "enrolling.pem" in homeless.problem


# --- all of it -----------------------------------------------------------------------------------


def files(folder: Path, authority: Authority, days: int = 30) -> CredentialFiles:
    """Certificate files of chassis A."""
    certificate, key = authority.issue(A, now=NOW, days=days)
    parts = {
        "certificate": certificate.public_bytes(Encoding.PEM),
        "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "ca_cert": authority.certificate.public_bytes(Encoding.PEM),
    }
    for name, data in parts.items():
        (folder / name).write_bytes(data)
    return CredentialFiles(**{name: str(folder / name) for name in parts})


@pytest.fixture(autouse=True)
def watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are watched by a fake."""
    monkeypatch.setattr("controller.credentials.keeper.FileWatch", FakeWatch)


def inputs(*ways: Auth, **more: object) -> CredentialInputs:
    return CredentialInputs(chassis=A, ways=ways, **more)  # type: ignore[arg-type]


def test_without_anything_each_way_says_what_it_needs(tmp_path: Path) -> None:
    """And it is looked at again in a while."""
    keeper = CredentialKeeper(tmp_path)
    assert (keeper.problems(), keeper.auths, keeper.request, keeper.pin) == ([], set(), "", "")
    assert keeper.expires is None
    assert not keeper.refresh(inputs(Auth.CA, Auth.PSK), 10, NOW)
    assert keeper.problems() == [NO_FILES, NO_SECRET]
    assert (keeper.auths, keeper.keys, keeper.wake_at()) == (set(), {}, 10 + SLOW_S)


def test_files_are_read_when_they_change_and_bad_ones_are_refused(tmp_path: Path) -> None:
    """The old ones stay in use; what expires is said."""
    keeper, authority = CredentialKeeper(tmp_path), Authority(now=NOW)
    given = inputs(Auth.CA, files=files(tmp_path, authority))
    assert keeper.refresh(given, 0, NOW)
    assert not keeper.refresh(given, 0.1, NOW)
    assert not keeper.refresh(given, 5, NOW)
    assert (keeper.problems(), keeper.auths, len(keeper.keys)) == ([], {Auth.CA}, 1)
    assert keeper.expires == NOW + 30 * DAY
    held = keeper.credentials
    (tmp_path / "private_key").write_text("junk")
    assert not keeper.refresh(given, 10, NOW)
    assert keeper.credentials == held
    assert any("private key" in word for word in keeper.problems())
    assert not keeper.refresh(given, 20, NOW)
    files(tmp_path, authority)
    assert keeper.refresh(given, 30, NOW)
    assert keeper.problems() == []
    keeper.refresh(given, 40, NOW + 60 * DAY)
    assert "expired" in keeper.problems()[0]
    assert keeper.auths == set()


def test_what_is_demanded_of_peers_is_a_change_like_another(tmp_path: Path) -> None:
    """Every connection has to be made again."""
    keeper, authority = CredentialKeeper(tmp_path), Authority(now=NOW)
    given = inputs(Auth.CA, files=files(tmp_path, authority))
    keeper.refresh(given, 0, NOW)
    assert keeper.refresh(replace(given, revocation=Revocation.STRICT), 0.1, NOW)
    assert keeper.credentials.revocation is Revocation.STRICT


def test_files_are_looked_at_when_something_happened_to_them(tmp_path: Path) -> None:
    """A moment later, for they change one after the other; often where none can be watched."""
    keeper, authority = CredentialKeeper(tmp_path), Authority(now=NOW)
    given = inputs(Auth.CA, files=files(tmp_path, authority), psk_file="/psk", crl_file="/crl")
    keeper.refresh(given, 0, NOW)
    watch = keeper.watch
    assert isinstance(watch, FakeWatch)
    assert [Path(path).name for path in watch.paths] == [
        "certificate", "private_key", "ca_cert", "psk", "crl",
    ]  # fmt: skip
    keeper.heed(1)
    assert keeper.wake_at() == SLOW_S
    files(tmp_path, authority)
    for now in (1.0, 1.2):
        watch.happened = True
        keeper.heed(now)
        assert keeper.wake_at() == 1 + SETTLE_S
        assert not keeper.refresh(given, now, NOW)
    assert keeper.refresh(given, 1 + SETTLE_S, NOW)
    watch.works = False
    keeper.refresh(given, 20, NOW)
    assert keeper.wake_at() == 20 + LOOK_S


def test_the_end_of_a_certificate_is_said_once_each_time_that_it_is_nearer(tmp_path: Path) -> None:
    """In the log and, until it has come, as a warning; another certificate ends that."""
    keeper, authority = CredentialKeeper(tmp_path), Authority(now=NOW)
    given = inputs(Auth.CA, files=files(tmp_path, authority, days=365))

    def after(days: float) -> list[tuple[str, str]]:
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                keeper.refresh(given, keeper.wake_at(), NOW + days * DAY)
        found = [one for one in logs if one["event"] == "certificate_ends"]
        return [(one["log_level"], one["how"]) for one in found]

    assert (after(334), keeper.warning) == ([], "")
    assert after(336) == [("warning", "expiring")]
    assert keeper.warning == "the certificate expires at 2031-01-01T00:00:00Z"
    assert (after(337), keeper.problems()) == ([], [])
    assert after(359) == [("warning", "urgent")]
    assert keeper.warning == "the certificate expires at 2031-01-01T00:00:00Z"
    assert after(365) == [("error", "expired")]
    assert (keeper.warning, keeper.problems() != []) == ("", True)
    authority.issue(A)
    files(tmp_path, authority, days=800)
    assert (after(366), keeper.warning, keeper.problems()) == ([], "", [])


def test_what_is_not_used_to_prove_oneself_is_not_warned_of(tmp_path: Path) -> None:
    """Nor is what renews itself and is not late: a short life is not the end of a long one."""
    keeper, authority = CredentialKeeper(tmp_path), Authority(now=NOW)
    given = files(tmp_path, authority, days=40)
    keeper.refresh(inputs(Auth.PSK, Auth.CA, files=given), 0, NOW + 39.9 * DAY)
    assert (keeper.warning, keeper.expires) == ("", None)
    keeper.refresh(inputs(Auth.CA, Auth.PSK, files=given), 1, NOW + 35 * DAY)
    assert keeper.warning == ""
    keeper.refresh(inputs(Auth.CA, Auth.PSK, files=given), 20, NOW + 37 * DAY)
    assert keeper.warning


def test_a_pin_that_waits_is_looked_at_often(tmp_path: Path) -> None:
    """It is used SWITCH_S after it was published."""
    keeper = CredentialKeeper(tmp_path)
    keeper.refresh(inputs(Auth.PINNED), 0, NOW)
    keeper.refresh(inputs(Auth.PINNED, pin=keeper.pin), 1, NOW)
    assert keeper.wake_at() == 1 + SLOW_S
    keeper.renew()
    keeper.refresh(inputs(Auth.PINNED), 2, NOW)
    keeper.refresh(inputs(Auth.PINNED, pin=keeper.pin), 3, NOW)
    assert keeper.wake_at() == 3 + LOOK_S
    assert keeper.refresh(inputs(Auth.PINNED, pin=keeper.pin), 3 + SWITCH_S, NOW)
    assert keeper.wake_at() == 3 + SWITCH_S + LOOK_S
    keeper.refresh(inputs(Auth.PINNED, pin=keeper.pin), 5 + SWITCH_S, NOW)
    assert keeper.wake_at() == 5 + SWITCH_S + SLOW_S


def test_a_secret_is_read_when_it_changes_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    """The old one stays in use."""
    keeper, path = CredentialKeeper(tmp_path), tmp_path / "psk"
    given = inputs(Auth.PSK, psk_file=str(path))
    assert not keeper.refresh(given, 0, NOW)
    assert "psk" in keeper.problems()[0]
    assert not keeper.refresh(given, keeper.wake_at(), NOW)
    path.touch(mode=0o600)
    path.write_text("the first secret\n")
    assert keeper.refresh(given, keeper.wake_at(), NOW)
    assert not keeper.refresh(given, keeper.wake_at(), NOW)
    assert (keeper.problems(), keeper.auths, keeper.expires) == ([], {Auth.PSK}, None)
    path.write_text("short")
    assert not keeper.refresh(given, keeper.wake_at(), NOW)
    assert "too short" in keeper.problems()[0]
    assert keeper.auths == {Auth.PSK}
    path.write_text("the first secret")
    assert not keeper.refresh(given, keeper.wake_at(), NOW), "the same secret"
    assert keeper.problems() == []


def test_a_secret_that_is_configured_no_more_is_used_no_more(tmp_path: Path) -> None:
    """An unset psk-file is an order; one that cannot be read is none."""
    keeper, path = CredentialKeeper(tmp_path), tmp_path / "psk"
    path.touch(mode=0o600)
    path.write_text("the first secret")
    keeper.refresh(inputs(Auth.PSK, psk_file=str(path)), 0, NOW)
    path.unlink()
    assert not keeper.refresh(inputs(Auth.PSK, psk_file=str(path)), keeper.wake_at(), NOW)
    assert not keeper.refresh(inputs(Auth.PSK, psk_file=str(path) + "2"), 20, NOW)
    assert keeper.auths == {Auth.PSK}
    assert keeper.refresh(inputs(Auth.PSK), 21, NOW)
    assert (keeper.credentials.secrets, keeper.auths) == ((), set())
    assert keeper.problems() == [NO_SECRET]
    assert not keeper.refresh(inputs(Auth.PSK, psk_file=str(path)), 22, NOW)
    path.touch(mode=0o600)
    path.write_text("the first secret")
    assert keeper.refresh(inputs(Auth.PSK, psk_file=str(path)), 40, NOW), "and it may come back"


@pytest.mark.parametrize("which", ["certificate", "private_key", "ca_cert", "all"])
def test_files_that_are_configured_no_more_are_used_no_more(tmp_path: Path, which: str) -> None:
    """All three or one of them; the key goes, too. Other files that cannot be read are no order."""
    keeper, authority = CredentialKeeper(tmp_path), Authority(now=NOW)
    given = files(tmp_path, authority)
    keeper.refresh(inputs(Auth.CA, files=given), 0, NOW)
    elsewhere = CredentialFiles(certificate="/none", private_key="/none", ca_cert="/none")
    assert not keeper.refresh(inputs(Auth.CA, files=elsewhere), 1, NOW)
    assert keeper.auths == {Auth.CA}
    left = None if which == "all" else replace(given, **{which: ""})
    assert keeper.refresh(inputs(Auth.CA, files=left), 2, NOW)
    assert (keeper.credentials.ca, keeper.keys, keeper.auths) == (None, {}, set())
    assert keeper.problems() == [NO_FILES]
    assert keeper.refresh(inputs(Auth.CA, files=given), 3, NOW)
    assert keeper.auths == {Auth.CA}


def test_a_revocation_list_that_is_configured_no_more_is_given_to_no_other_daemon(
    tmp_path: Path,
) -> None:
    """One that cannot be read any more stays."""
    keeper, path = CredentialKeeper(tmp_path), tmp_path / "crl.pem"
    path.write_bytes(crl_pem(Authority("one", now=NOW)))
    given = inputs(Auth.PSK, crl_file=str(path))
    keeper.refresh(given, 0, NOW)
    path.unlink()
    keeper.refresh(given, keeper.wake_at(), NOW)
    assert len(keeper.crls) == 1
    keeper.refresh(inputs(Auth.PSK), 20, NOW)
    assert (keeper.crls, keeper.problems()) == ((), [NO_SECRET])


def test_without_an_authority_what_was_enrolled_is_used_no_more(tmp_path: Path) -> None:
    """Where the southbound says so; one that was not read says nothing."""
    signer, keeper = Signer(), CredentialKeeper(tmp_path)
    asked = inputs(Auth.CA, authorities=signer.bundle)
    keeper.refresh(asked, 0, NOW)
    answer = signer.sign(keeper.request)
    keeper.refresh(replace(asked, answer=answer), 1, NOW)
    held = keeper.credentials.ca
    assert not keeper.refresh(replace(asked, authorities=None), 2, NOW)
    assert (keeper.credentials.ca, keeper.request, keeper.auths) == (held, "", {Auth.CA})
    assert keeper.refresh(replace(asked, authorities=""), 3, NOW)
    assert (keeper.credentials.ca, keeper.keys) == (None, {})
    assert keeper.problems() == [NO_FILES]
    assert keeper.refresh(asked, 4, NOW), "it is still on the disk"
    assert keeper.credentials.ca == held
    fresh = CredentialKeeper(tmp_path)
    assert not fresh.refresh(replace(asked, authorities=None), 0, NOW)
    assert fresh.refresh(asked, 1, NOW)


# --- another name --------------------------------------------------------------------------------


def test_a_renamed_chassis_begins_anew_and_finds_its_old_name_again(tmp_path: Path) -> None:
    """In one folder: nothing of one name stands for another, and nothing of it is destroyed."""
    signer = Signer()

    def keeper_of(chassis: ChassisName, answer: str = "") -> CredentialKeeper:
        found = CredentialKeeper(tmp_path)
        asked = inputs(Auth.CA, Auth.PINNED, authorities=signer.bundle, answer=answer)
        found.refresh(replace(asked, chassis=chassis), 0, NOW)
        return found

    first = keeper_of(A)
    pin, answer = first.pin, signer.sign(first.request)
    first = keeper_of(A, answer)
    assert first.credentials.ca is not None
    first.renew()
    first.refresh(inputs(Auth.CA, Auth.PINNED, authorities=signer.bundle, answer=answer), 1, NOW)
    assert first.request
    late = signer.sign(first.request)
    with structlog.testing.capture_logs() as logs:
        other = keeper_of(B, late)
    assert other.credentials.ca is None
    assert other.request not in ("", first.request)
    assert parse_pin(B, other.pin, NOW).der
    assert sum(one["event"] == "key_put_aside" for one in logs) == 4
    assert all(
        "it belongs to chA, but this chassis is now chB" in str(one)
        for one in logs
        if "reason" in one and one["event"] == "key_put_aside"
    )
    assert "enrolling" not in "".join(other.problems())
    again = keeper_of(A, late)
    assert again.credentials.ca is not None
    assert again.pin not in ("", other.pin)
    assert parse_pin(A, again.pin, NOW).der
    assert again.credentials.pinned == first.credentials.pinned
    assert pin
    assert keeper_of(B).pin == other.pin
    assert keeper_of(B).request == other.request


def test_one_keeper_that_is_given_another_name_begins_anew(tmp_path: Path) -> None:
    """Files of the operator, too: they may be of the old name."""
    keeper, authority = CredentialKeeper(tmp_path), Authority(now=NOW)
    given = inputs(Auth.CA, files=files(tmp_path, authority))
    keeper.refresh(given, 0, NOW)
    assert keeper.refresh(replace(given, chassis=B), 1, NOW)
    assert (keeper.credentials.ca, keeper.keys) == (None, {})
    assert "lack the chassis name chB" in keeper.problems()[0]


def test_what_is_damaged_is_kept_beside_what_takes_its_place(tmp_path: Path) -> None:
    """Somebody may want to look; where it cannot be put aside nothing is written over it."""
    pin = OwnPin(tmp_path)
    pin.refresh(A, "", 0, NOW)
    path = tmp_path / "pinned.pem"
    path.write_bytes(b"junk")
    fresh = OwnPin(tmp_path)
    fresh.refresh(A, "", 0, NOW)
    assert (tmp_path / "pinned.pem.damaged").read_bytes() == b"junk"
    assert fresh.text not in ("", pin.text)
    path.write_bytes(b"junk again")
    (tmp_path / "pinned.pem.damaged").unlink()
    (tmp_path / "pinned.pem.damaged").mkdir()
    stuck = OwnPin(tmp_path)
    stuck.refresh(A, "", 0, NOW)
    assert "cannot be moved away" in stuck.problem
    assert path.read_bytes() == b"junk again"


def test_a_pin_counts_when_it_is_published(tmp_path: Path) -> None:
    """It is offered while policy asks for it, and its key is the daemon's."""
    keeper = CredentialKeeper(tmp_path)
    assert keeper.refresh(inputs(Auth.PINNED), 0, NOW)
    assert keeper.auths == set()
    assert "not in our Chassis row" in keeper.problems()[0]
    assert keeper.pin
    keeper.refresh(inputs(Auth.PINNED, pin=keeper.pin), 1, NOW)
    assert (keeper.auths, keeper.problems(), len(keeper.keys)) == ({Auth.PINNED}, [], 1)
    assert keeper.expires is not None
    text = keeper.pin
    keeper.renew()
    keeper.refresh(inputs(Auth.PINNED, pin=text), 1.1, NOW)
    assert keeper.pin != text
    keeper.refresh(inputs(Auth.CA, pin=text), 3, NOW)
    assert (keeper.pin, keeper.keys) == ("", {})


def test_files_go_before_enrolment_and_what_was_enrolled_stays(tmp_path: Path) -> None:
    """An operator's files are what he wants."""
    signer, keeper = Signer(), CredentialKeeper(tmp_path)
    asked = inputs(Auth.CA, authorities=signer.bundle)
    keeper.refresh(asked, 0, NOW)
    assert "waiting" in keeper.problems()[0]
    answer = signer.sign(keeper.request)
    assert keeper.refresh(inputs(Auth.CA, authorities=signer.bundle, answer=answer), 1, NOW)
    assert (keeper.auths, keeper.request, keeper.problems()) == ({Auth.CA}, "", [])
    enrolled = keeper.credentials.ca
    folder = tmp_path / "files"
    folder.mkdir()
    given = files(folder, Authority(now=NOW))
    assert keeper.refresh(inputs(Auth.CA, authorities=signer.bundle, files=given), 3, NOW)
    assert keeper.credentials.ca != enrolled
    assert len(keeper.keys) == 1
    assert keeper.refresh(inputs(Auth.CA, authorities=signer.bundle), 5, NOW)
    assert keeper.credentials.ca == enrolled
    assert x509.load_der_x509_certificate(keeper.credentials.ca.certificate_der)


def crl_pem(authority: Authority, **how: object) -> bytes:
    der = authority.revoked(now=NOW, **how)  # type: ignore[arg-type]
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)


def test_revocation_lists_are_read_when_they_change(tmp_path: Path) -> None:
    """Several in one file; a bad one is refused, a late one said."""
    keeper, path = CredentialKeeper(tmp_path), tmp_path / "crl.pem"
    given = inputs(Auth.PSK, crl_file=str(path))
    keeper.refresh(given, 0, NOW)
    assert "cannot read the CRL" in "; ".join(keeper.problems())
    one, other = Authority("one", now=NOW), Authority("other", now=NOW)
    path.write_bytes(crl_pem(one) + b"\n" + crl_pem(other))
    for _ in range(2):
        keeper.refresh(given, keeper.wake_at(), NOW)
    assert (len(keeper.crl.crls), keeper.problems()) == (2, [NO_SECRET])
    for junk in (b"junk", b"junk\n-----END X509 CRL-----\n"):
        path.write_bytes(junk)
        keeper.refresh(given, keeper.wake_at(), NOW)
        assert "holds no CRL" in keeper.problems()[1]
        assert len(keeper.crl.crls) == 2
    path.write_bytes(crl_pem(one, days=1))
    keeper.refresh(given, keeper.wake_at(), NOW + 2 * DAY)
    assert "out of date: CN=one since 2030-01-02" in keeper.problems()[1]
    path.write_bytes(_large(one))
    keeper.refresh(given, keeper.wake_at(), NOW)
    assert "more than 65535 bytes" in keeper.problems()[1]


def _large(authority: Authority) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.name)
    builder = builder.last_update(NOW - DAY).next_update(NOW + DAY)
    big = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"x" * 66_000)
    builder = builder.add_extension(big, critical=False)
    return builder.sign(authority.key, SHA256()).public_bytes(Encoding.PEM)
