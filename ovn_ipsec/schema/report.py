# SPDX-License-Identifier: Apache-2.0
"""Pure: Chassis_Private.external_ids to and from Digest, for northd_ext and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial

from ..model.key import Key, Party, one_of
from ..model.mtu import LINK_MAX, MTU_MIN
from ..model.policy import GENERATION_MAX, Auth, Phase, Profile
from ..model.status import Digest, PairCounts, Room
from ..model.text import printable as printable  # noqa: PLC0414 - where others look for it
from . import fields as parse
from .fields import Place

TABLE = "Chassis_Private"
GENERATION = "ovn-ipsec-generation"
PHASE = "ovn-ipsec-phase"
PAIRS = "ovn-ipsec-pairs"
ACROSS = "ovn-ipsec-pairs-across"
PROBLEM = "ovn-ipsec-problem"
WARNING = "ovn-ipsec-warning"
AGENT = "ovn-ipsec-agent"
EXPIRES = "ovn-ipsec-expires"
PROFILES = "ovn-ipsec-profiles"
AUTHS = "ovn-ipsec-auths"
MTU = "ovn-ipsec-mtu"
KEYS = (GENERATION, PHASE, PAIRS, ACROSS, PROBLEM, WARNING, AGENT, EXPIRES, PROFILES, AUTHS, MTU)
REQUEST = "ovn-ipsec-csr"
"""PEM: the certificate request of the controller."""
ANSWER = "ovn-ipsec-crt"
"""PEM: the certificate signed by northd_ext."""
PIN = "ovn-ipsec-cert"
"""Chassis.external_ids: PEM, the certificate that peers pin."""
PROBLEM_MAX = 400
COUNT_MAX = 10_000_000
_ALL = frozenset(Profile)
_WAYS = frozenset(Auth)
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def format_digest(digest: Digest) -> dict[str, str]:
    """Format all keys; absent ones (no problem, no warning, no certificate) are omitted."""
    keys = {
        GENERATION: str(digest.generation),
        PHASE: str(digest.phase),
        PAIRS: _words(digest.counts),
        AGENT: printable(digest.agent, 120),
        PROFILES: " ".join(sorted(digest.profiles)),
        AUTHS: " ".join(sorted(digest.auths)),
    }
    if digest.across != PairCounts():
        keys[ACROSS] = _words(digest.across)
    if digest.problem:
        keys[PROBLEM] = printable(digest.problem, PROBLEM_MAX)
    if digest.warning:
        keys[WARNING] = printable(digest.warning, PROBLEM_MAX)
    if digest.expires is not None:
        keys[EXPIRES] = digest.expires.astimezone(UTC).strftime(_TIME)
    if digest.room is not None:
        keys[MTU] = _words(digest.room)
    return keys


def parse_digest(row: str, external_ids: Mapping[str, str]) -> Digest | None:
    """Parse the digest of one chassis.

    Args:
        row: The chassis' name, for errors.
        external_ids: Chassis_Private.external_ids.

    Returns:
        None if the chassis has no controller of ours.

    Raises:
        InputError: A key is missing or invalid.
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
        across=_parse_counts(*value(ACROSS)),
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
        room=_parse_room(*value(MTU)) if MTU in external_ids else None,
    )


def _words(counts: PairCounts | Room) -> str:
    return " ".join(f"{field.name}={getattr(counts, field.name)}" for field in fields(counts))


def _parse_counts(place: Place, text: str) -> PairCounts:
    known = {field.name for field in fields(PairCounts)}
    counts: dict[str, int] = {}
    for part in text.split():
        name, _, number = part.partition("=")
        if name not in known:
            place.refuse(text, f"expected words of {', '.join(sorted(known))} as name=number")
        counts[name] = parse.integer(place, number, 0, COUNT_MAX)
    return PairCounts(**counts)


def _parse_room(place: Place, text: str) -> Room:
    """Parse the words that this release knows; no decision depends on those of another."""
    words = dict(part.partition("=")[::2] for part in text.split())
    return Room(
        underlay=parse.integer(place, words.get("underlay", ""), MTU_MIN, LINK_MAX),
        inner=parse.integer(place, words.get("inner", ""), 0, LINK_MAX),
        larger=parse.integer(place, words.get("larger", "0"), 0, COUNT_MAX),
    )


_key = partial(
    Key,
    column="Chassis_Private.external_ids",
    writer=Party.CONTROLLER,
    readers=(Party.NORTHD, Party.COMMAND),
)
_ENROLMENT = "howto/authentication.md#certificates-that-nobody-carries-around"
DOCUMENTED = (
    _key(
        name=AGENT,
        meaning="Program, version and IKE daemon, for people.",
        values="text of at most 120 characters",
        default="the chassis has no ovn-ipsec-controller",
        example="ovn-ipsec-controller 0.1.0 charon-systemd 6.0.1",
        readers=(Party.CONTROLLER, Party.NORTHD, Party.COMMAND),
    ),
    _key(
        name=GENERATION,
        meaning="The generation of the policy that every pair of this chassis follows.",
        values=f"a whole number from 0 to {GENERATION_MAX}",
        default="the report cannot be read",
        example="1764230000000",
        page="explanation/phases.md",
    ),
    _key(
        name=PHASE,
        meaning="The phase that the chassis has applied: this acknowledges a step of the rollout.",
        values=one_of(Phase),
        default="the report cannot be read",
        example=Phase.ENFORCE,
        page="explanation/phases.md",
    ),
    _key(
        name=PAIRS,
        meaning="The number of pairs of this chassis in each state.",
        values=f"`STATE=NUMBER`, separated by spaces, of "
        f"{one_of(field.name for field in fields(PairCounts))}",
        default="no pairs",
        example="clear=0 pending=0 blocked=0 encrypted=2 lingering=0 quarantined=0",
        page="howto/diagnose.md",
    ),
    _key(
        name=ACROSS,
        meaning="Those of them with chassis of other availability zones: no gate waits for these.",
        values="as `ovn-ipsec-pairs`",
        default="no such pairs",
        example="clear=0 pending=0 blocked=0 encrypted=2 lingering=0 quarantined=0",
        page="howto/ovn-ic.md",
    ),
    _key(
        name=PROBLEM,
        meaning="What is wrong on this chassis.",
        values=f"text of at most {PROBLEM_MAX} characters",
        default="nothing is wrong",
        example="the IKE daemon does not answer",
        page="howto/diagnose.md",
    ),
    _key(
        name=WARNING,
        meaning="What will become wrong unless someone acts.",
        values=f"text of at most {PROBLEM_MAX} characters",
        default="nothing will be wrong soon",
        example="the certificate ends on 2027-01-31",
        page="howto/rollover.md",
    ),
    _key(
        name=EXPIRES,
        meaning="When the chassis' own certificate expires.",
        values="a time in UTC",
        default="it has no certificate",
        example="2027-01-31T00:00:00Z",
        page="howto/rollover.md",
    ),
    _key(
        name=PROFILES,
        meaning="Cipher suites that its IKE daemon can do.",
        values=f"{one_of(Profile)}, separated by spaces",
        default=f"`{Profile.DEFAULT}`",
        example="aes256-sha256 chacha20 cnsa default",
        page="reference/policy.md#profiles",
    ),
    _key(
        name=AUTHS,
        meaning="Methods with which it could authenticate here and now.",
        values=f"{one_of(Auth)}, separated by spaces",
        default="none",
        example="ca psk",
        page="howto/authentication.md",
    ),
    _key(
        name=MTU,
        meaning="How large packets may be: the MTU of the underlay as seen from this chassis, the"
        " largest packet of a workload that every pair carries in one piece, and the number of"
        " interfaces of workloads that let larger ones through.",
        values=f"`underlay=BYTES inner=BYTES larger=NUMBER`; at most {LINK_MAX} bytes",
        default="it has no pairs, or what they take is not known",
        example="underlay=1500 inner=1408 larger=0",
        readers=(Party.COMMAND,),
        page="howto/mtu.md",
    ),
    _key(
        name=REQUEST,
        meaning="The chassis' certificate request.",
        values="a certificate request in PEM",
        default="it requests none",
        example="-----BEGIN CERTIFICATE REQUEST-----…",
        readers=(Party.NORTHD,),
        page=_ENROLMENT,
    ),
    _key(
        name=ANSWER,
        meaning="The certificate that the authority has signed.",
        values="a certificate in PEM",
        default="none has been signed",
        example="-----BEGIN CERTIFICATE-----…",
        writer=Party.NORTHD,
        readers=(Party.CONTROLLER, Party.NORTHD),
        page=_ENROLMENT,
    ),
    _key(
        column="Chassis.external_ids",
        name=PIN,
        meaning="With `pinned`: the certificate that peers accept from this chassis.",
        values="a certificate in PEM",
        default="peers that use `pinned` refuse the chassis",
        example="-----BEGIN CERTIFICATE-----…",
        readers=(Party.CONTROLLER,),
        page="howto/authentication.md#pins",
    ),
)
"""What people are told of these keys."""
