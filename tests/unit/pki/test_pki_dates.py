# SPDX-License-Identifier: Apache-2.0
"""Dates of certificates and revocation lists: the same with every version of the library."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from ovn_ipsec.pki.dates import next_update, not_after, not_before

BEGIN, END = datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)


class New:
    """As from version 42 on: the old names warn, so nobody may ask for them."""

    def __init__(self, **dates: datetime | None) -> None:
        for name, date in dates.items():
            setattr(self, f"{name}_utc", date)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name) if not name.endswith("_utc") else AttributeError(name)


def old(**dates: datetime | None) -> Any:
    """As up to version 41: moments in UTC that do not say so."""
    return SimpleNamespace(
        **{name: date and date.replace(tzinfo=None) for name, date in dates.items()}
    )


def test_dates_are_aware_whichever_version_says_them():
    """What is compared with the clock has a zone."""
    for kind in (New, old):
        found: Any = kind(not_valid_before=BEGIN, not_valid_after=END)
        assert (BEGIN, END) == (not_before(found), not_after(found))
        assert END == next_update(kind(next_update=END))


def test_a_list_need_not_say_when_the_next_one_comes():
    """None stays None, and never a date."""
    for kind in (New, old):
        found: Any = kind(next_update=None)
        assert next_update(found) is None
