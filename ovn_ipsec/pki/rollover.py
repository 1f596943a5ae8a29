# SPDX-License-Identifier: Apache-2.0
"""Shell: replaces an authority by another; every pair can authenticate throughout.

    start    the new authority is trusted, the old one still signs; give ca.pem to every chassis
    switch   the new one signs; renew every chassis
    finish   the old one is dropped, and its key with it; give ca.pem to every chassis again

Pairs could not authenticate if a chassis used a certificate of the new authority before all trusted
it, or if the old one was no longer trusted while a chassis still used its certificate.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import NoReturn

from .authority import Shape
from .errors import PkiError
from .folder import CaFolder
from .index import AuthorityEntry, Index, Role
from .values import KeyKind

STATUS = "ovn-ipsec pki status"
NAMED = 20
"""How many laggards an error names."""


def start(
    folder: CaFolder, *, life: timedelta, kind: KeyKind | None, name: str | None, now: datetime
) -> AuthorityEntry:
    """Make the next authority; it is trusted, and does not sign yet.

    Args:
        folder: The folder.
        life: How long the new authority lives.
        kind: Kind of its key; None: as that of the old one.
        name: Its name; None: that of the old one.
        now: Wall time, aware.

    Raises:
        PkiError: A rollover is under way already.
    """
    with folder.writing() as index:
        if index.in_role(Role.NEXT):
            _refuse(folder, "a rollover has started already", "ovn-ipsec pki rollover switch")
        if index.in_role(Role.OLD):
            _refuse(folder, "the last rollover is not finished", "ovn-ipsec pki rollover finish")
        old = folder.authority(index.signing)
        shape = Shape(name=name or index.signing.name, life=life, permitted=old.permitted)
        number = max(entry.number for entry in index.authorities) + 1
        entry = folder.found(shape, kind or old.key_kind, number, Role.NEXT, now)
        _save(folder, _with(index, entry), now)
    return entry


def switch(folder: CaFolder, now: datetime) -> AuthorityEntry:
    """Have the next authority sign from now on.

    Raises:
        PkiError: There is none.
    """
    with folder.writing() as index:
        coming = index.in_role(Role.NEXT)
        if coming is None:
            _refuse(folder, "no rollover has started", STATUS)
        resting = index.with_role(index.signing.number, Role.OLD)
        _save(folder, resting.with_role(coming.number, Role.SIGNING), now)
    return coming


def finish(folder: CaFolder, now: datetime) -> AuthorityEntry:
    """Drop the old authority.

    Raises:
        PkiError: There is none, or chassis still use its certificates; they are named.
    """
    with folder.writing() as index:
        if index.in_role(Role.NEXT):
            _refuse(folder, "the new authority does not sign yet", "ovn-ipsec pki rollover switch")
        old = index.in_role(Role.OLD)
        if old is None:
            _refuse(folder, "no rollover is under way", STATUS)
        if laggards := index.laggards(old.number, now):
            more = f" and {len(laggards) - NAMED} more" if len(laggards) > NAMED else ""
            _refuse(
                folder,
                f"{len(laggards)} chassis still have a certificate of {old.title}: "
                f"{', '.join(laggards[:NAMED])}{more}",
                "ovn-ipsec pki renew CHASSIS, for each; or revoke CHASSIS, if it is gone",
            )
        _drop(folder, index, old, now)
    return old


def cancel(folder: CaFolder, now: datetime) -> AuthorityEntry:
    """Drop the next authority, which has signed nothing.

    Raises:
        PkiError: There is none.
    """
    with folder.writing() as index:
        coming = index.in_role(Role.NEXT)
        if coming is None:
            _refuse(folder, "there is no rollover to cancel", STATUS)
        _drop(folder, index, coming, now)
    return coming


def _refuse(folder: CaFolder, what: str, next_step: str) -> NoReturn:
    raise PkiError(str(folder.path), what, next_step=next_step)


def _with(index: Index, entry: AuthorityEntry) -> Index:
    return replace(index, authorities=(*index.authorities, entry))


def _drop(folder: CaFolder, index: Index, entry: AuthorityEntry, now: datetime) -> None:
    _save(folder, index.with_role(entry.number, Role.DROPPED), now)
    folder.forget_key(entry)


def _save(folder: CaFolder, index: Index, now: datetime) -> None:
    folder.publish(folder.save_with_crl(index, now))
