# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec pki rollover`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from ...clock import utc_now
from ..program import Group
from .options import Pki, authority_facts, authority_life, authority_line, key_type, kind, tell

if TYPE_CHECKING:
    from ...pki.index import AuthorityEntry


@click.group(cls=Group, short_help="Replace the authority without losing a packet.")
def rollover() -> None:
    """Replace this authority with a new one, without losing a packet.

    In this order: start, and copy ca.pem to every chassis; switch, and renew the certificate of
    every chassis; finish, and copy ca.pem to every chassis again.
    """


@rollover.command(short_help="Create the new authority; both are trusted.")
@click.option("--name", help="Name of the new authority (default: that of the old one).")
@key_type
@authority_life
@click.pass_obj
def start(pki: Pki, name: str | None, key_type: str | None, life: timedelta) -> None:
    """Create the new authority. Both are trusted, and the old one still signs."""
    from ...pki import rollover as steps  # noqa: PLC0415 - --help stays quick

    folder = pki.folder
    entry = steps.start(folder, life=life, kind=kind(key_type), name=name, now=utc_now())
    tell(
        pki,
        {"trusted": authority_facts(entry), "bundle": str(folder.bundle_path)},
        f"{authority_line(entry)}: trusted, does not sign yet",
        f"    next: copy {folder.bundle_path} to every chassis; then",
        "          ovn-ipsec pki rollover switch",
    )


@rollover.command(short_help="Let the new authority sign.")
@click.pass_obj
def switch(pki: Pki) -> None:
    """Let the new authority sign, once every chassis trusts it."""
    from ...pki import rollover as steps  # noqa: PLC0415 - --help stays quick

    entry = steps.switch(pki.folder, utc_now())
    tell(
        pki,
        {"signs": authority_facts(entry)},
        f"{authority_line(entry)}: signs from here on",
        "    next: ovn-ipsec pki renew CHASSIS..., for every chassis; then",
        "          ovn-ipsec pki rollover finish, which names those that are missing",
    )


@rollover.command(short_help="Drop the old authority and its key.")
@click.pass_obj
def finish(pki: Pki) -> None:
    """Drop the old authority and its key, once no chassis has a certificate of it."""
    from ...pki import rollover as steps  # noqa: PLC0415 - --help stays quick

    _dropped(pki, steps.finish(pki.folder, utc_now()))


@rollover.command(short_help="Drop the new authority before it signs.")
@click.pass_obj
def cancel(pki: Pki) -> None:
    """Drop the new authority while it has not signed anything."""
    from ...pki import rollover as steps  # noqa: PLC0415 - --help stays quick

    _dropped(pki, steps.cancel(pki.folder, utc_now()))


def _dropped(pki: Pki, entry: AuthorityEntry) -> None:
    bundle = pki.folder.bundle_path
    tell(
        pki,
        {"dropped": authority_facts(entry), "bundle": str(bundle)},
        f"{authority_line(entry)}: dropped",
        f"    next: copy {bundle} to every chassis",
    )
