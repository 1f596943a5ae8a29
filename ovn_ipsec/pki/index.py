# SPDX-License-Identifier: Apache-2.0
"""Pure: the ledger of an authority's folder: its authorities, and every certificate they signed.

What is not in the ledger cannot be revoked, so a certificate is entered before it is handed out;
and a ledger that cannot be read is an error, never an empty one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from ..model.chassis import ChassisName
from .errors import PkiError
from .values import checked_name, numbered

VERSION = 2
"""An index of version 1 has no journal; who only knows that refuses ours."""
KEEP = timedelta(days=30)
"""How long the entry of an expired certificate stays that says nothing of its chassis any more."""
_KEY_ID = re.compile(r"[0-9a-f]{64}\Z")


class Role(StrEnum):
    """What an authority of the folder does."""

    SIGNING = "signing"
    """Signs, and is trusted."""
    NEXT = "next"
    """Is trusted already; signs from the switch of a rollover on."""
    OLD = "old"
    """Is still trusted, does not sign any more."""
    DROPPED = "dropped"
    """Neither; its key is gone."""


class Origin(StrEnum):
    """Who made the key of a certificate."""

    ISSUE = "issue"
    """It was made here."""
    SIGN = "sign"
    """The chassis made it, and asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityEntry:
    """One authority."""

    number: int
    role: Role
    name: str
    """As given by the operator, without the number."""
    not_after: datetime

    @property
    def title(self) -> str:
        """Its name in its certificate, which no other authority of the folder has."""
        return numbered(self.name, self.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One certificate."""

    chassis: ChassisName
    serial: int
    authority: int
    origin: Origin
    key_id: str
    """SHA-256 of its public key, in hex."""
    not_before: datetime
    not_after: datetime
    revoked: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The ledger."""

    authorities: tuple[AuthorityEntry, ...]
    """In the order of their numbers."""
    certificates: tuple[Entry, ...] = ()
    """In the order in which they were signed."""
    revoked_names: Mapping[ChassisName, datetime] = field(default_factory=dict)
    """Chassis that were revoked as such, and when: they get no certificate until readmitted."""
    crl_number: int = 0
    crl_until: datetime
    journal: int | None = 0
    """Number of the file with what was signed since these were written; None: there is none."""

    @property
    def signing(self) -> AuthorityEntry:
        """The authority that signs."""
        return next(entry for entry in self.authorities if entry.role is Role.SIGNING)

    def in_role(self, role: Role) -> AuthorityEntry | None:
        """The authority in a role, if there is one."""
        return next((entry for entry in self.authorities if entry.role is role), None)

    @property
    def trusted(self) -> tuple[AuthorityEntry, ...]:
        """The authorities that chassis must trust, the one that signs first."""
        kept = [entry for entry in self.authorities if entry.role is not Role.DROPPED]
        return tuple(sorted(kept, key=lambda entry: entry.role is not Role.SIGNING))

    def newest(self) -> dict[ChassisName, Entry]:
        """The certificate of each chassis that was signed last."""
        return {entry.chassis: entry for entry in self.certificates}

    def laggards(self, number: int, now: datetime) -> tuple[ChassisName, ...]:
        """Chassis whose newest certificate, neither expired nor revoked, is of one authority."""
        newest = self.newest().values()
        return tuple(sorted(e.chassis for e in newest if e.authority == number and alive(e, now)))

    def with_role(self, number: int, role: Role) -> Index:
        """Give an authority another role."""
        return replace(
            self,
            authorities=tuple(
                replace(entry, role=role) if entry.number == number else entry
                for entry in self.authorities
            ),
        )

    def with_certificates(self, entries: Iterable[Entry]) -> Index:
        """Enter what was signed."""
        return replace(self, certificates=(*self.certificates, *entries))

    def with_revoked(self, serials: frozenset[int], now: datetime) -> Index:
        """Mark certificates as revoked."""
        marked = (
            replace(entry, revoked=now.replace(microsecond=0)) if entry.serial in serials else entry
            for entry in self.certificates
        )
        return replace(self, certificates=tuple(marked))

    def pruned(self, now: datetime) -> Index:
        """Leave out what expired a month ago, except the newest entry of each chassis."""
        newest = self.newest()

        def is_kept(entry: Entry) -> bool:
            last = newest[entry.chassis] is entry and entry.revoked is None
            return last or now < entry.not_after + KEEP

        return replace(self, certificates=tuple(filter(is_kept, self.certificates)))


def alive(entry: Entry, now: datetime) -> bool:
    """Neither expired nor revoked."""
    return entry.revoked is None and now < entry.not_after


def format_serial(serial: int) -> str:
    """Write a serial number as hex, as `openssl x509 -serial` does but in small letters."""
    return f"{serial:040x}"


def format_index(index: Index) -> str:
    """Write the ledger as JSON, a line for each certificate."""
    head = {
        "version": VERSION,
        "authorities": [_plain(entry) for entry in index.authorities],
        "barred": {name: _moment(since) for name, since in index.revoked_names.items()},
        "crl_number": index.crl_number,
        "crl_until": _moment(index.crl_until),
        "journal": index.journal or 0,
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    certificates = [format_entry(entry) for entry in index.certificates]
    lines.append('"certificates": [\n' + ",\n".join(certificates) + "\n]")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def format_entry(entry: Entry) -> str:
    """Write one certificate as JSON, in one line."""
    return json.dumps(_plain(entry))


def parse_entries(where: str, lines: Iterable[str]) -> tuple[Entry, ...]:
    """Read what `format_entry` has written, a line each.

    Raises:
        PkiError: A line is anything else; nothing is guessed.
    """
    with _reading(where):
        return tuple(_entry(json.loads(line)) for line in lines)


@contextmanager
def _reading(where: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, PkiError) as error:
        cause = str(error)[:120] or type(error).__name__
        raise PkiError(
            where,
            f"cannot be read as the index of an authority: {cause}",
            next_step="restore a good copy; without it nothing here can be revoked or renewed",
        ) from error


def parse_index(where: str, text: str) -> Index:
    """Read the ledger.

    Raises:
        PkiError: It is not as `format_index` writes it; nothing is guessed.
    """
    with _reading(where):
        document = json.loads(text)
        version = _checked_version(document)
        index = Index(
            authorities=tuple(map(_authority, document["authorities"])),
            certificates=tuple(map(_entry, document["certificates"])),
            revoked_names={checked_name(k): _when(v) for k, v in document["barred"].items()},
            crl_number=int(document["crl_number"]),
            crl_until=_when(document["crl_until"]),
            journal=None if version == 1 else _count(document["journal"]),
        )
        _check_roles(index)
    return index


def _checked_version(document: dict[str, Any]) -> int:
    version = document["version"]
    if version not in range(1, VERSION + 1):
        raise ValueError(f"version {version!r}, expected at most {VERSION}")
    return int(version)


def _count(found: Any) -> int:
    if not isinstance(found, int) or found < 0:
        raise ValueError(f"journal {found!r:.40}, expected a number")
    return found


def _check_roles(index: Index) -> None:
    roles = [entry.role for entry in index.authorities]
    busy = roles.count(Role.NEXT) + roles.count(Role.OLD)
    if roles.count(Role.SIGNING) != 1 or busy > 1:
        raise ValueError("expected one authority that signs, and at most one beside it")


def _authority(found: dict[str, Any]) -> AuthorityEntry:
    return AuthorityEntry(
        number=int(found["number"]),
        role=Role(found["role"]),
        name=str(found["name"]),
        not_after=_when(found["not_after"]),
    )


def _entry(found: dict[str, Any]) -> Entry:
    if not _KEY_ID.match(found["key_id"]):
        raise ValueError("key_id is not a SHA-256 in hex")
    return Entry(
        chassis=checked_name(found["chassis"]),
        serial=int(found["serial"], 16),
        authority=int(found["authority"]),
        origin=Origin(found["origin"]),
        key_id=found["key_id"],
        not_before=_when(found["not_before"]),
        not_after=_when(found["not_after"]),
        revoked=None if found["revoked"] is None else _when(found["revoked"]),
    )


def _when(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no time zone")
    return when.astimezone(UTC)


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds")


def _plain(entry: AuthorityEntry | Entry) -> dict[str, Any]:
    values = {each.name: getattr(entry, each.name) for each in fields(entry)}
    if isinstance(entry, Entry):
        values["serial"] = format_serial(entry.serial)
    return {k: _moment(v) if isinstance(v, datetime) else v for k, v in values.items()}
