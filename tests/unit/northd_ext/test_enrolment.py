# SPDX-License-Identifier: Apache-2.0
"""northd_ext.enrolment: whose request is answered, and whose is refused with a reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from northd_ext.enrolment import LOOK_S, RETRY_S, Enrolment, why_unsafe
from northd_ext.views import Asked, Remote
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki import office
from ovn_ipsec.pki.authority import Shape
from ovn_ipsec.pki.keys import new_key
from ovn_ipsec.pki.request import make_request
from ovn_ipsec.pki.store import CaFolder
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
    """It is in quarantine as soon as the books say so, and may not ask again."""
    row = asks("h1")
    assert authority.answer([row], SAFE, NOW)
    office.revoke(folder, "h1", NOW)
    assert not authority.look(LOOK_S / 2)
    assert authority.look(LOOK_S)
    assert authority.signing.barred == {"h1"}
    assert authority.answer([row, asks("h2")], SAFE, NOW).keys() == {"h2"}
    assert [error.row for error in authority.refusals] == ["h1"]


def test_folder_that_cannot_be_read_changes_nothing(folder: CaFolder, authority: Enrolment) -> None:
    """What was known stays; it is said, and tried again later."""
    before = authority.signing
    hidden = folder.path.with_name("hidden")
    folder.path.rename(hidden)
    assert not authority.look(LOOK_S)
    assert "index.json" in authority.problem
    assert authority.signing == before
    assert authority.wake_at() == LOOK_S + RETRY_S
    assert authority.answer([asks("h1")], SAFE, NOW) == {}
    hidden.rename(folder.path)
    assert not authority.look(LOOK_S + RETRY_S)
    assert authority.problem == ""
    assert authority.answer([asks("h1")], SAFE, NOW)
