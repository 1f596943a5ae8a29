# SPDX-License-Identifier: Apache-2.0
"""Pure: SB_Global.external_ids to and from ClusterPolicy, which no chassis may write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from ..errors import InputError
from ..model.key import Key, Party, one_of
from ..model.policy import (
    GENERATION_MAX,
    Auth,
    ClassName,
    ClassPair,
    ClusterPolicy,
    Mode,
    Phase,
    Profile,
    Treatment,
    class_pair,
)
from . import fields as parse
from .fields import Place
from .tuning import SWITCHES, format_tuning, parse_tuning

TABLE = "SB_Global"
SCHEMA = "ovn-ipsec-schema"
GENERATION = "ovn-ipsec-generation"
PHASE = "ovn-ipsec-phase"
DEFAULT = "ovn-ipsec-default"
FLOOR = "ovn-ipsec-floor"
AUTH = "ovn-ipsec-auth"
TUNING = "ovn-ipsec-tuning"
PAIRS = "ovn-ipsec-pairs"
RULES = "ovn-ipsec-rules"
VNIS = "ovn-ipsec-vnis"
AUTHORITIES = "ovn-ipsec-ca"
QUARANTINE = "ovn-ipsec-quarantine"
REVOKED = "ovn-ipsec-revoked"
ORIGIN = "ovn-ipsec-origin"
KEYS = (
    SCHEMA,
    GENERATION,
    PHASE,
    DEFAULT,
    FLOOR,
    AUTH,
    TUNING,
    PAIRS,
    RULES,
    VNIS,
    AUTHORITIES,
    QUARANTINE,
    REVOKED,
    ORIGIN,
)
VERSION = "1"
CLASS_NAME = re.compile(r"[a-z0-9]{1,16}\Z")
TEXT_MAX = 1 << 20
"""Maximum length of `-pairs` in characters."""
_UUID = re.compile(r"([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?\Z")
_VNI_MAX = (1 << 24) - 1


def format_policy(policy: ClusterPolicy) -> dict[str, str]:
    """Format all keys; an empty value is written as an empty text, to replace an older one."""
    return {
        SCHEMA: VERSION,
        GENERATION: str(policy.generation),
        PHASE: policy.phase,
        DEFAULT: _format_treatment(Treatment(mode=policy.default, profile=policy.profile)),
        FLOOR: policy.floor,
        AUTH: " ".join(policy.auth),
        TUNING: format_tuning(policy.tuning),
        PAIRS: format_pairs(policy.pairs),
        RULES: "\n".join(policy.rules),
        VNIS: " ".join(map(str, sorted(policy.vnis))),
        AUTHORITIES: policy.authorities,
        QUARANTINE: " ".join(sorted(policy.quarantine)),
        REVOKED: " ".join(sorted(policy.revoked or ())),
        ORIGIN: policy.origin,
    }


def format_pairs(pairs: Mapping[ClassPair, Treatment]) -> str:
    """Format the matrix as `CLASS:CLASS=MODE[/PROFILE]` words, sorted."""
    return " ".join(
        f"{one}:{other}={_format_treatment(pairs[one, other])}" for one, other in sorted(pairs)
    )


def _format_treatment(treatment: Treatment) -> str:
    if treatment.profile is Profile.DEFAULT:
        return str(treatment.mode)
    return f"{treatment.mode}/{treatment.profile}"


def parse_policy(external_ids: Mapping[str, str]) -> ClusterPolicy | None:
    """Parse the policy.

    Returns:
        None if northd_ext has never written here. That means "not said", not "off": a reader that
        knows an earlier policy goes on with it.

    Raises:
        InputError: A key is missing or invalid, or the schema is of another version.
    """

    def value(key: str) -> tuple[Place, str]:
        place = Place(table=TABLE, row=".", key=key)
        if key not in external_ids:
            place.refuse("", "missing")
        return place, external_ids[key]

    if SCHEMA not in external_ids:
        return None
    place, version = value(SCHEMA)
    if version != VERSION:
        place.refuse(version, f"this program speaks schema {VERSION}; upgrade it")
    default = _parse_treatment(*value(DEFAULT))
    return ClusterPolicy(
        generation=parse.generation(*value(GENERATION)),
        phase=parse.word(*value(PHASE), Phase),
        default=default.mode,
        profile=default.profile,
        floor=parse.word(*value(FLOOR), Mode),
        auth=_parse_auth(*value(AUTH)),
        tuning=parse_tuning(*value(TUNING)),
        pairs=_parse_pairs(*value(PAIRS)),
        rules=tuple(value(RULES)[1].splitlines()),
        vnis=frozenset(_parse_vnis(*value(VNIS))),
        authorities=value(AUTHORITIES)[1],
        quarantine=parse.chassis_names(*value(QUARANTINE)),
        revoked=parse.chassis_names(*value(REVOKED)) if REVOKED in external_ids else None,
        origin=_parse_origin(*value(ORIGIN)) if ORIGIN in external_ids else "",
    )


def readable_generation(external_ids: Mapping[str, str]) -> int:
    """The generation of a policy that does not parse, if at least that can be read; else 0."""
    place = Place(table=TABLE, row=".", key=GENERATION)
    try:
        return parse.generation(place, external_ids.get(GENERATION, ""))
    except InputError:
        return 0


def _parse_origin(place: Place, text: str) -> str:
    if not _UUID.match(text):
        place.refuse(text[:80], "expected a UUID")
    return text


def _parse_auth(place: Place, text: str) -> tuple[Auth, ...]:
    auth = tuple(dict.fromkeys(parse.word(place, word, Auth) for word in text.split()))
    if not auth:
        place.refuse(text, f"expected one or more of {', '.join(Auth)}")
    return auth


def _parse_treatment(place: Place, text: str) -> Treatment:
    mode, slash, profile = text.partition("/")
    return Treatment(
        mode=parse.word(place, mode, Mode),
        profile=parse.word(place, profile, Profile) if slash else Profile.DEFAULT,
    )


def _parse_pairs(place: Place, text: str) -> dict[ClassPair, Treatment]:
    if len(text) > TEXT_MAX:
        place.refuse(text[:80], f"longer than {TEXT_MAX} characters")
    pairs: dict[ClassPair, Treatment] = {}
    for part in text.split():
        names, sign, treatment = part.partition("=")
        one, _, other = names.partition(":")
        if not (sign and CLASS_NAME.match(one) and CLASS_NAME.match(other)):
            place.refuse(part[:80], "expected CLASS:CLASS=MODE or CLASS:CLASS=MODE/PROFILE")
        pairs[class_pair(ClassName(one), ClassName(other))] = _parse_treatment(place, treatment)
    return pairs


def _parse_vnis(place: Place, text: str) -> list[int]:
    return [parse.integer(place, word, 1, _VNI_MAX) for word in text.split()]


_key = partial(
    Key,
    column="SB_Global.external_ids",
    default="the policy cannot be read, and the last obeyed one stays in force",
    writer=Party.NORTHD,
    readers=(Party.CONTROLLER, Party.NORTHD, Party.COMMAND),
)
_TREATMENT = "`MODE` or `MODE/PROFILE`"
_PHASES = "explanation/phases.md"
_CLASSES = "explanation/classes.md"
_PUT_OUT = "howto/rollover.md#quarantine-a-chassis"
_NAMES = "chassis names, separated by spaces; may be empty"
DOCUMENTED = (
    Key(
        column="SB_Global.ipsec",
        name="",
        meaning="The northbound's switch, copied by ovn-northd. Encryption follows the keys"
        " below instead; tunnel ports that ovn-ipsec-controller makes follow the switch, as"
        " those of ovn-controller do.",
        values=one_of(("true", "false")),
        default="`false`",
        example="true",
        writer=Party.OVN_NORTHD,
        readers=(Party.CONTROLLER, Party.OVN_CONTROLLER),
    ),
    Key(
        column="SB_Global.options",
        name="ipsec_<setting>",
        meaning="The northbound's options of that name, copied by ovn-northd; of them only"
        f" {one_of(f'ipsec_{name}' for name in SWITCHES)} make a difference to tunnel ports that"
        " ovn-ipsec-controller makes.",
        values="as in `NB_Global.options`",
        default="the option is not set",
        example="true",
        writer=Party.OVN_NORTHD,
        readers=(Party.CONTROLLER, Party.OVN_CONTROLLER),
    ),
    _key(
        name=SCHEMA,
        meaning="The version of the format of the other keys. A controller that knows only"
        " another version reports that, and keeps what it last obeyed.",
        values=f"`{VERSION}`",
        default="no policy was ever stated, which does not mean `off`",
        example=VERSION,
        page="explanation/guard.md#how-long-it-stays-in-place",
    ),
    _key(
        name=GENERATION,
        meaning="Identifies one policy. A controller refuses an older one that would weaken"
        " something.",
        values=f"a whole number from 0 to {GENERATION_MAX}, in general milliseconds since 1970",
        example="1764230000000",
        page="explanation/phases.md#generations",
    ),
    _key(
        name=PHASE,
        meaning="The step of the rollout.",
        values=one_of(Phase),
        example=Phase.ENFORCE,
        page=_PHASES,
    ),
    _key(
        name=DEFAULT,
        meaning=f"How pairs are treated whose classes `{PAIRS}` does not name.",
        values=_TREATMENT,
        example="require/cnsa",
        page=_CLASSES,
    ),
    _key(
        name=FLOOR,
        meaning="The weakest mode that any pair may have, whatever an Encap row says. Rules with"
        " `remote:` do not lower it; they are obeyed all the same.",
        values=one_of(Mode),
        example=Mode.REQUIRE,
        page=_CLASSES,
    ),
    _key(
        name=AUTH,
        meaning="How chassis authenticate: they use the first method, and accept the others, too.",
        values=f"one or more of {one_of(Auth)}, separated by spaces",
        example="ca pinned",
        page="howto/authentication.md#change-it-live",
    ),
    _key(
        name=TUNING,
        meaning="The `ipsec_` options of the northbound that differ from their defaults, with times"
        " in seconds.",
        values="`NAME=VALUE`, separated by spaces; may be empty",
        example="dpd-delay=10 salifetime=3600",
    ),
    _key(
        name=PAIRS,
        meaning="The matrix of classes: every pair of classes whose treatment is not the"
        " default, with that treatment.",
        values=f"`CLASS:CLASS=MODE[/PROFILE]`, separated by spaces; at most {TEXT_MAX}"
        " characters, may be empty",
        example="a1b2c3:d4e5f6=require/cnsa rest:rest=off",
        page=_CLASSES,
    ),
    _key(
        name=RULES,
        meaning="The rules behind the matrix, for people, and for an ovn-ipsec-northd that finds"
        " those of the northbound invalid. Those with `remote:` are not in the matrix: controllers"
        " read them here.",
        values="`PRIORITY RULE` on each line, the highest priority first; may be empty",
        example="100 zone:dc1 zone:dc2 require profile=cnsa",
        page="reference/policy.md",
    ),
    _key(
        name=VNIS,
        meaning="Logical networks, by their tunnel keys, whose packets every guard drops if they"
        " are in clear.",
        values=f"numbers from 1 to {_VNI_MAX}, separated by spaces; may be empty",
        example="3 17",
        page="explanation/guard.md#protected-networks",
    ),
    _key(
        name=AUTHORITIES,
        meaning="The authorities that sign the requests of chassis. Empty: there is none.",
        values="certificates in PEM; may be empty",
        example="",
        page="howto/authentication.md#certificates-that-nobody-carries-around",
    ),
    _key(
        name=QUARANTINE,
        meaning="Chassis in quarantine, listed by the operator or revoked by the authority.",
        values=_NAMES,
        example="hv3",
        page=_PUT_OUT,
    ),
    _key(
        name=REVOKED,
        meaning="Those of them that the certificate authority has revoked.",
        values=_NAMES,
        default="an older ovn-ipsec-northd did not say",
        example="hv3",
        page=_PUT_OUT,
    ),
    _key(
        name=ORIGIN,
        meaning="The northbound from which the policy came: the UUID of its NB_Global row.",
        values="a UUID",
        default="an older ovn-ipsec-northd did not say",
        example="0ad7f3a1-8d4f-4c53-9a55-1b1f4f2f6f21",
        readers=(Party.NORTHD,),
        page="explanation/phases.md#a-northbound-that-is-another-database",
    ),
)
"""What people are told of these keys."""
