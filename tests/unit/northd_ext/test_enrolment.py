# SPDX-License-Identifier: Apache-2.0
"""northd_ext.enrolment: whose request is answered, and whose is refused with a reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from northd_ext import enrolment
from northd_ext.enrolment import (
    ASK_BURST,
    ASK_EVERY_S,
    BATCH,
    LOOK_S,
    RETRY_S,
    TOTAL_BURST,
    TOTAL_EVERY_S,
    Enrolment,
    why_unsafe,
)
from northd_ext.observe.views import Asked, Remote
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki import issuance
from ovn_ipsec.pki.authority import Shape
from ovn_ipsec.pki.errors import PkiError
from ovn_ipsec.pki.folder import CaFolder
from ovn_ipsec.pki.index import format_serial
from ovn_ipsec.pki.keys import new_key
from ovn_ipsec.pki.request import REQUEST_MAX, Request, check_request, make_request
from ovn_ipsec.pki.values import KeyKind

NOW = datetime(2027, 1, 1, tzinfo=UTC)
SAFE = [Remote(target="pssl:6642", role="ovn-controller")]


@pytest.fixture
def folder(tmp_path: Path) -> CaFolder:
    """An authority."""
    made = CaFolder(tmp_path / "ca")
    made.init(Shape(name="test", life=timedelta(days=900)), KeyKind.ECDSA_P256, NOW)
    return made


@pytest.fixture
def authority(folder: CaFolder) -> Enrolment:
    """The authority as northd_ext has it."""
    made = Enrolment(folder, insecure=False)
    assert made.look(0.0)
    return made


def asks(name: str, asked_name: str | None = None, answer: str = "") -> Asked:
    """A row that asks for a certificate, with a key of its own."""
    request = make_request(new_key(KeyKind.ECDSA_P256), ChassisName(asked_name or name))
    return Asked(name=name, request=request, answer=answer)


def test_request_is_answered_once(authority: Enrolment) -> None:
    """The certificate is the row's until the row carries it, and another request gets another."""
    row = asks("h1")
    (certificate,) = authority.answer([row], SAFE, NOW).values()
    found = x509.load_pem_x509_certificate(certificate.encode())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["h1"]
    assert authority.answer([row], SAFE, NOW) == {"h1": certificate}
    told = Asked(name="h1", request=row.request, answer=certificate)
    assert authority.answer([told], SAFE, NOW) == {}
    again = Enrolment(CaFolder(authority._folder.path), insecure=False)
    again.look(0.0)
    assert again.answer([told], SAFE, NOW) == {}
    assert authority.answer([asks("h1")], SAFE, NOW)["h1"] != certificate


def test_name_of_another_is_refused_and_stays_so(authority: Enrolment) -> None:
    """A chassis gets a certificate in its own name only; the reason stays with the request."""
    rows = [asks("h1", "h2"), asks("../h3", "h3"), Asked(name="h4", request="junk", answer="")]
    for _ in range(2):
        assert authority.answer(rows, SAFE, NOW) == {}
        assert [error.row for error in authority.refusals] == ["h1", "../h3", "h4"]
    assert "expected one SAN DNS name" in authority.refusals[0].reason
    assert "junk" not in str(authority.refusals[2])
    assert authority.answer([], SAFE, NOW) == {}
    assert authority.refusals == ()


@pytest.mark.parametrize(
    ("remotes", "word"),
    [
        ([], "Connection table"),
        ([Remote(target="ptcp:6642", role="ovn-controller")], "ptcp:6642"),
        ([*SAFE, Remote(target="pssl:16642", role="")], "pssl:16642"),
        (SAFE, ""),
    ],
)
def test_southbound_that_does_not_tell_chassis_apart(
    folder: CaFolder, remotes: list[Remote], word: str
) -> None:
    """Nothing is signed over it, unless told so in so many words."""
    assert word in why_unsafe(remotes)
    assert bool(why_unsafe(remotes)) is bool(word)
    careful, careless = Enrolment(folder, insecure=False), Enrolment(folder, insecure=True)
    for made in (careful, careless):
        made.look(0.0)
    row = asks("h1")
    assert bool(careful.answer([row], remotes, NOW)) is not bool(word)
    assert [word in error.reason for error in careful.refusals] == ([True] if word else [])
    assert careless.answer([row], remotes, NOW)


def test_revoked_chassis_is_barred_and_gets_nothing(folder: CaFolder, authority: Enrolment) -> None:
    """It is in quarantine as soon as the ledger says so, and may not ask again."""
    row = asks("h1")
    assert authority.answer([row], SAFE, NOW)
    issuance.revoke(folder, "h1", NOW)
    assert not authority.look(LOOK_S / 2)
    assert authority.look(LOOK_S)
    assert authority.signing.revoked == {"h1"}
    assert authority.answer([row, asks("h2")], SAFE, NOW).keys() == {"h2"}
    assert [error.row for error in authority.refusals] == ["h1"]


def test_folder_that_cannot_be_read_changes_nothing(folder: CaFolder, authority: Enrolment) -> None:
    """What was known stays; it is said, and tried again later."""
    before = authority.signing
    hidden = folder.path.with_name("hidden")
    folder.path.rename(hidden)
    assert not authority.look(LOOK_S)
    assert authority.problem == f"{folder.path}: no such folder"
    assert authority.signing == before
    assert authority.wake_at() == LOOK_S + RETRY_S
    assert authority.answer([asks("h1")], SAFE, NOW) == {}
    hidden.rename(folder.path)
    assert not authority.look(LOOK_S + RETRY_S)
    assert authority.problem == ""
    assert authority.answer([asks("h1")], SAFE, NOW)


def test_books_that_cannot_be_written_are_tried_again_later(
    authority: Enrolment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at every look, and it is said all the while; nobody has asked in vain."""
    tries: list[int] = []

    def full(*_: object) -> None:
        tries.append(1)
        raise PkiError("index.json", "No space left on device")

    real = enrolment.sign_all
    monkeypatch.setattr(enrolment, "sign_all", full)
    rows = [asks(f"h{number}") for number in range(BATCH)]
    now = 0.0
    while now < 2 * RETRY_S:
        authority.look(now)
        assert authority.answer(rows, SAFE, NOW) == {}
        assert "No space" in authority.problem
        now += LOOK_S
    assert len(tries) == 2
    monkeypatch.setattr(enrolment, "sign_all", real)
    authority.look(now)
    assert authority.answer(rows, SAFE, NOW).keys() == {row.name for row in rows}
    authority.look(now + LOOK_S)
    assert authority.problem == ""


def test_a_certificate_revoked_by_its_number_bars_a_key_and_no_chassis(
    folder: CaFolder, authority: Enrolment
) -> None:
    """Quarantine is for chassis that an operator has named; this one may ask with another key."""
    row = asks("h1")
    authority.answer([row], SAFE, NOW)
    (entry,) = folder.read().certificates
    issuance.revoke(folder, f"serial:{format_serial(entry.serial)}", NOW)
    authority.look(LOOK_S)
    assert authority.signing.revoked == frozenset()
    fresh = Enrolment(folder, insecure=False)
    fresh.look(0.0)
    assert fresh.answer([row], SAFE, NOW) == {}
    assert "revoked certificate" in fresh.refusals[0].reason
    assert fresh.answer([asks("h1")], SAFE, NOW).keys() == {"h1"}


def test_one_cause_is_one_refusal(folder: CaFolder) -> None:
    """However many ask over a southbound that tells nobody apart."""
    careful = Enrolment(folder, insecure=False)
    careful.look(0.0)
    careful.answer([asks(f"h{number}") for number in range(3)], [], NOW)
    (refused,) = careful.refusals
    assert "and those of 2 more" in refused.reason
    assert careful.answer([], [], NOW) == {}
    assert careful.refusals == ()


class Counted:
    """How often requests were parsed."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        patch.setattr("northd_ext.enrolment.check_request", self._check)

    def _check(self, pem: str, chassis: ChassisName) -> Request:
        self.names.append(chassis)
        return check_request(pem, chassis)


def test_a_bad_request_is_parsed_once(
    authority: Enrolment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is kept of it is no longer than a request can be."""
    counted = Counted(monkeypatch)
    rows = [
        Asked(name="h1", request="junk", answer=""),
        Asked(name="h2", request="x" * 10_000_000, answer=""),
    ]
    for now in range(100):
        authority.look(float(now))
        authority.answer(rows, SAFE, NOW)
    assert counted.names == ["h1", "h2"]
    assert [error.row for error in authority.refusals] == ["h1", "h2"]
    assert len(authority._cases["h2"].request) == REQUEST_MAX + 1
    authority.answer([Asked(name="h2", request="x" * 20_000_000, answer="")], SAFE, NOW)
    assert len(counted.names) == 2


def test_a_chassis_that_changes_its_request_all_the_time_waits(
    authority: Enrolment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself: it is looked at some times and then once a minute, whatever it asks for.

    Taking the request back does not help; another chassis is answered meanwhile.
    """
    counted = Counted(monkeypatch)
    for second in range(300):
        authority.look(float(second))
        for part in range(5):
            row = Asked(name="rogue", request=f"junk {second} {part}", answer="")
            authority.answer([row] if part % 2 else [], SAFE, NOW)
    assert ASK_BURST <= len(counted.names) <= ASK_BURST + 300 / ASK_EVERY_S
    assert authority.answer([row, asks("h1")], SAFE, NOW).keys() == {"h1"}
    authority.look(300 + ASK_BURST * ASK_EVERY_S)
    authority.answer([], SAFE, NOW)
    assert not authority._cases, "and it is forgotten when it has stopped"


def test_keys_without_number_get_a_few_certificates(folder: CaFolder, authority: Enrolment) -> None:
    """One name, another key each time: refused until there is room, and not asked in between."""
    got: set[str] = set()
    for minute in range(180):
        authority.look(60.0 * minute)
        wall = NOW + timedelta(minutes=minute)
        got.update(authority.answer([asks("h1")], SAFE, wall).values())
    assert len(got) == issuance.LIVE_MAX == len(folder.read().certificates)
    (refused,) = authority.refusals
    assert "the limit is 5; again at" in refused.reason


def test_a_chassis_that_had_enough_is_answered_when_its_time_has_come(
    authority: Enrolment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same request, without being asked again; until then it is not looked at."""
    counted = Counted(monkeypatch)
    for _ in range(issuance.HOURLY_MAX):
        assert authority.answer([asks("h1")], SAFE, NOW)
    row = asks("h1")
    for minute in range(60):
        authority.look(60.0 * minute)
        assert authority.answer([row], SAFE, NOW + timedelta(minutes=minute)) == {}
    assert len(counted.names) == issuance.HOURLY_MAX + 1
    authority.look(3600.0)
    assert authority.answer([row], SAFE, NOW + timedelta(hours=1)).keys() == {"h1"}


def test_all_are_answered_in_turns_and_at_a_limited_rate(authority: Enrolment) -> None:
    """A few in each pass; those that wait go before those that ask anew."""
    rows = [asks(f"h{number:03}") for number in range(TOTAL_BURST + 20)]
    answered: dict[str, str] = {}
    passes = 0
    while len(answered) < TOTAL_BURST:
        found = authority.answer(rows, SAFE, NOW).keys() - answered.keys()
        assert len(found) <= BATCH
        answered |= dict.fromkeys(found, "")
        passes += 1
        rows[0] = asks("h000")
    assert passes == TOTAL_BURST // BATCH
    assert authority.answer(rows, SAFE, NOW).keys() <= answered.keys()
    authority.look(30 * TOTAL_EVERY_S)
    late = authority.answer(rows, SAFE, NOW).keys() - answered.keys()
    assert len(late) == 20


def test_books_that_somebody_writes_in_are_no_fault(folder: CaFolder, authority: Enrolment) -> None:
    """It is tried again in the next pass, and waits for nobody."""
    row = asks("h1")
    with CaFolder(folder.path).writing():
        for _ in range(2 * ASK_BURST):
            assert authority.answer([row], SAFE, NOW) == {}
    assert (authority.problem, authority.refusals) == ("", ())
    assert authority.answer([row], SAFE, NOW).keys() == {"h1"}
