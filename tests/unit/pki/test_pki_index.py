# SPDX-License-Identifier: Apache-2.0
"""The ledger: read as it was written, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki.errors import PkiError
from ovn_ipsec.pki.index import (
    AuthorityEntry,
    Entry,
    Index,
    Origin,
    Role,
    format_entry,
    format_index,
    format_serial,
    parse_entries,
    parse_index,
)
from ovn_ipsec.pki.ledger import Ledger

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TIMES = st.integers(0, 2**32).map(lambda when: datetime.fromtimestamp(when, UTC))
NAMES = (
    st.text("AZaz09._-", min_size=1, max_size=20)
    .filter(lambda name: name not in (".", ".."))
    .map(ChassisName)
)
ENTRIES = st.builds(
    Entry,
    chassis=NAMES,
    serial=st.integers(1, 2**159),
    authority=st.integers(1, 9),
    origin=st.sampled_from(Origin),
    key_id=st.text("0123456789abcdef", min_size=64, max_size=64),
    not_before=TIMES,
    not_after=TIMES,
    revoked=st.none() | TIMES,
)
ROLES = st.sampled_from([[Role.SIGNING], [Role.DROPPED, Role.SIGNING], [Role.OLD, Role.SIGNING]])


def authorities(roles: list[Role]) -> tuple[AuthorityEntry, ...]:
    return tuple(
        AuthorityEntry(number=number, role=role, name="Tést CA", not_after=NOW)
        for number, role in enumerate(roles, 1)
    )


def entry(chassis: str, serial: int, **changes: Any) -> Entry:
    good = Entry(
        chassis=ChassisName(chassis),
        serial=serial,
        authority=1,
        origin=Origin.ISSUE,
        key_id="0" * 64,
        not_before=NOW,
        not_after=NOW + 365 * DAY,
    )
    return replace(good, **changes)


def ledger(*entries: Entry) -> Index:
    return Index(authorities=authorities([Role.SIGNING]), certificates=entries, crl_until=NOW)


@given(
    st.builds(
        Index,
        authorities=ROLES.map(authorities),
        certificates=st.lists(ENTRIES, max_size=5).map(tuple),
        revoked_names=st.dictionaries(NAMES, TIMES, max_size=3),
        crl_number=st.integers(0, 1000),
        crl_until=TIMES,
    )
)
def test_books_are_read_as_they_were_written(index: Index):
    """Every field, in the same order."""
    assert index == parse_index("index.json", format_index(index))


GOOD = format_index(replace(ledger(entry("hv1", 5)), revoked_names={ChassisName("hv2"): NOW}))


@given(st.integers(0, len(GOOD) - 2))
def test_half_written_books_are_no_books(length: int):
    """And above all not empty ones."""
    with pytest.raises(PkiError, match=r"index.json: cannot be read") as caught:
        parse_index("index.json", GOOD[:length])
    assert "good copy" in caught.value.next_step


@given(st.text(max_size=200))
def test_no_text_raises_anything_else(text: str):
    """Whatever somebody's editor made of it."""
    with pytest.raises(PkiError):
        parse_index("index.json", text)


def changed(**changes: Any) -> str:
    return json.dumps({**json.loads(GOOD), **changes})


def changed_entry(**changes: Any) -> str:
    document = json.loads(GOOD)
    return changed(certificates=[{**document["certificates"][0], **changes}])


def with_roles(*roles: str) -> str:
    one = json.loads(GOOD)["authorities"][0]
    return changed(authorities=[{**one, "role": role} for role in roles])


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[]", "list indices"),
        ("[" * 100_000, ""),
        (changed(version=3), "version 3, expected at most 2"),
        (changed(authorities=[]), "expected one authority that signs"),
        (with_roles("signing", "signing"), "expected one authority that signs"),
        (with_roles("signing", "old", "next"), "at most one beside it"),
        (with_roles("boss"), "'boss'"),
        (changed(certificates=None), "NoneType"),
        (changed(barred=[]), "'list'"),
        (changed(barred={"..": "2030-01-01T00:00:00Z"}), "not a chassis name"),
        (changed(crl_until="2030-01-01T00:00:00"), "has no time zone"),
        (changed(journal=-1), "journal -1, expected a number"),
        (changed(journal="1"), "expected a number"),
        (changed_entry(key_id="junk"), "not a SHA-256"),
        (changed_entry(chassis="../x"), "not a chassis name"),
        (changed_entry(serial=5), "int()"),
        (changed_entry(not_after="soon"), "isoformat"),
        (changed_entry(revoked="soon"), "isoformat"),
    ],
)
def test_books_that_are_not_ours_are_refused(text: str, cause: str):
    """Nothing in them is guessed."""
    with pytest.raises(PkiError) as caught:
        parse_index("index.json", text)
    assert cause in str(caught.value)


def test_serials_are_written_as_openssl_does():
    """All digits, so that they can be compared by eye."""
    assert format_serial(255) == "0" * 38 + "ff"


def test_the_newest_certificate_is_the_one_signed_last():
    """Not the one that lasts longest."""
    old, new = entry("hv1", 1), entry("hv1", 2, not_after=NOW + DAY)
    other = entry("hv2", 3)
    assert {"hv1": new, "hv2": other} == ledger(old, other, new).newest()


def test_books_of_the_first_version_have_no_journal():
    """They are read, and written as ours."""
    document = json.loads(format_index(ledger(entry("hv1", 1))))
    del document["journal"]
    found = parse_index("index.json", json.dumps({**document, "version": 1}))
    assert found.journal is None
    assert parse_index("index.json", format_index(found)) == replace(found, journal=0)


def test_a_line_of_the_journal_is_read_as_it_was_written():
    """And junk in one is an error."""
    written = [entry("hv1", 1), entry("hv2", 2)]
    lines = [format_entry(one) for one in written]
    assert parse_entries("journal", lines) == tuple(written)
    assert not any("\n" in line for line in lines)
    for junk in ("", "{}", lines[0][:20], "[]", lines[0].replace("hv1", "..")):
        with pytest.raises(PkiError, match="journal: cannot be read"):
            parse_entries("journal", [lines[0], junk])


def test_a_name_has_one_spelling_among_the_living():
    """DNS names have no case; those whose certificate is dead have none."""
    found = Ledger(
        ledger(
            entry("hv1", 1),
            entry("HV2", 2, revoked=NOW),
            entry("HV3", 3, not_after=NOW),
            entry("HV4", 4),
        )
    )
    names = [ChassisName(name) for name in ("HV1", "hv2", "hv3", "hv4", "hv1", "HV4", "hv5")]
    assert [found.twin(name, NOW) for name in names] == ["hv1", None, None, "HV4", None, None, None]


def test_what_is_entered_is_found_as_what_was_written():
    """By name, newest last; by key; and in the whole."""
    old, dead = entry("hv1", 1), entry("hv1", 2, revoked=NOW, key_id="1" * 64)
    new, other = entry("hv1", 3), entry("hv2", 4)
    written = replace(ledger(old, dead), revoked_names={ChassisName("hv9"): NOW})
    found = Ledger(written)
    assert found.index is written
    found.enter([new, other])
    assert found.index.certificates == (old, dead, new, other)
    assert found.index is found.index
    assert (found.entered, found.written) == (2, written)
    assert found.newest(new.chassis) == new
    assert found.newest(ChassisName("hv3")) is None
    assert found.live(new.chassis, NOW) == [old, new]
    assert found.live(ChassisName("hv3"), NOW) == []
    assert (found.is_revoked("1" * 64), found.is_revoked("0" * 64)) == (True, False)
    assert found.revocation(ChassisName("HV9")) == ("hv9", NOW)
    assert found.revocation(new.chassis) is None


def test_what_says_nothing_any_more_is_left_out():
    """A month after it expired: not the last word on a chassis, unless that was its revocation."""
    gone = {"not_before": NOW - 400 * DAY, "not_after": NOW - 30 * DAY}
    recent = {**gone, "not_after": NOW - 29 * DAY}
    kept = [
        entry("hv1", 2),
        entry("hv2", 3, **gone),
        entry("hv3", 4, **recent),
        entry("hv3", 5),
        entry("hv4", 6, **recent, revoked=NOW - 300 * DAY),
    ]
    dropped = [entry("hv1", 1, **gone), entry("hv5", 7, **gone, revoked=NOW - 300 * DAY)]
    index = ledger(*dropped, *kept)
    assert tuple(kept) == index.pruned(NOW).certificates


def test_the_one_that_signs_is_first_among_the_trusted():
    """A stock chassis reads no further."""
    index = Index(authorities=authorities([Role.DROPPED, Role.OLD, Role.SIGNING]), crl_until=NOW)
    assert [3, 2] == [one.number for one in index.trusted]
    assert (index.authorities[1], None) == (index.in_role(Role.OLD), index.in_role(Role.NEXT))
    assert index.signing.title == "Tést CA G3"
