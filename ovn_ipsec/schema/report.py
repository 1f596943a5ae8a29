# SPDX-License-Identifier: Apache-2.0
"""Pure: Chassis_Private.external_ids to and from Digest, for northd_ext and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime

from ..model.policy import Auth, Phase, Profile
from ..model.status import Digest, PairCounts
from ..model.text import printable as printable  # noqa: PLC0414 - where others look for it
from . import fields as parse
from .fields import Place

TABLE = "Chassis_Private"
GENERATION = "ovn-ipsec-generation"
PHASE = "ovn-ipsec-phase"
PAIRS = "ovn-ipsec-pairs"
PROBLEM = "ovn-ipsec-problem"
WARNING = "ovn-ipsec-warning"
AGENT = "ovn-ipsec-agent"
EXPIRES = "ovn-ipsec-expires"
PROFILES = "ovn-ipsec-profiles"
AUTHS = "ovn-ipsec-auths"
KEYS = (GENERATION, PHASE, PAIRS, PROBLEM, WARNING, AGENT, EXPIRES, PROFILES, AUTHS)
REQUEST = "ovn-ipsec-csr"
"""PEM: the certificate that the controller asks for."""
ANSWER = "ovn-ipsec-crt"
"""PEM: the certificate that northd_ext has signed."""
PIN = "ovn-ipsec-cert"
"""Chassis.external_ids: PEM, the certificate that peers pin."""
PROBLEM_MAX = 400
_ALL = frozenset(Profile)
_WAYS = frozenset(Auth)
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def format_digest(digest: Digest) -> dict[str, str]:
    """Format all keys; absent ones (no problem, no warning, no certificate) are left out."""
    words = [f"{field.name}={getattr(digest.counts, field.name)}" for field in fields(PairCounts)]
    keys = {
        GENERATION: str(digest.generation),
        PHASE: str(digest.phase),
        PAIRS: " ".join(words),
        AGENT: printable(digest.agent, 120),
        PROFILES: " ".join(sorted(digest.profiles)),
        AUTHS: " ".join(sorted(digest.auths)),
    }
    if digest.problem:
        keys[PROBLEM] = printable(digest.problem, PROBLEM_MAX)
    if digest.warning:
        keys[WARNING] = printable(digest.warning, PROBLEM_MAX)
    if digest.expires is not None:
        keys[EXPIRES] = digest.expires.astimezone(UTC).strftime(_TIME)
    return keys


def parse_digest(row: str, external_ids: Mapping[str, str]) -> Digest | None:
    """Parse the digest of one chassis.

    Args:
        row: The chassis' name, for errors.
        external_ids: Chassis_Private.external_ids.

    Returns:
        None when the chassis has no controller of ours.

    Raises:
        InputError: A key is missing or junk.
    """

    def value(key: str) -> tuple[Place, str]:
        return Place(table=TABLE, row=row, key=key), external_ids.get(key, "")

    if AGENT not in external_ids:
        return None
    expires = None
    if EXPIRES in external_ids:
        place, text = value(EXPIRES)
        try:
            expires = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
        except ValueError:
            place.refuse(text, "expected a time such as 2027-01-31T00:00:00Z")
    return Digest(
        generation=parse.generation(*value(GENERATION)),
        phase=parse.word(*value(PHASE), Phase),
        counts=_parse_counts(*value(PAIRS)),
        agent=printable(external_ids[AGENT], 120),
        problem=printable(external_ids.get(PROBLEM, ""), PROBLEM_MAX),
        warning=printable(external_ids.get(WARNING, ""), PROBLEM_MAX),
        expires=expires,
        profiles=frozenset(
            Profile(word) for word in external_ids.get(PROFILES, "default").split() if word in _ALL
        ),
        auths=frozenset(
            Auth(word) for word in external_ids.get(AUTHS, "").split() if word in _WAYS
        ),
    )


def _parse_counts(place: Place, text: str) -> PairCounts:
    known = {field.name for field in fields(PairCounts)}
    counts: dict[str, int] = {}
    for part in text.split():
        name, _, number = part.partition("=")
        if name not in known:
            place.refuse(text, f"expected words of {', '.join(sorted(known))} as name=number")
        counts[name] = parse.integer(place, number, 0, 10_000_000)
    return PairCounts(**counts)
