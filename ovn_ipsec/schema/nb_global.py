# SPDX-License-Identifier: Apache-2.0
"""Pure: NB_Global columns to EncryptionPolicy, and the state that is reported to the operator.

Logical_Switch.other_config:ovn-ipsec is also read here: it says of a network what a rule could say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TypeVar

from ..errors import InputError
from ..model.chassis import ChassisName
from ..model.key import Key, Party, one_of
from ..model.policy import (
    GENERATION_MAX,
    HOLD_S,
    Auth,
    EncryptionPolicy,
    Mode,
    Profile,
    Rollout,
    network_rule,
)
from . import fields as parse
from . import rules
from .fields import Place
from .tuning import documented as documented_settings
from .tuning import parse_settings

TABLE = "NB_Global"
MODE = "ovn-ipsec-mode"
ROLLOUT = "ovn-ipsec-rollout"
AUTH = "ovn-ipsec-auth"
PROFILE = "ovn-ipsec-profile"
HOLD = "ovn-ipsec-hold"
QUARANTINE = "ovn-ipsec-quarantine"
READMIT = "ovn-ipsec-readmit"
CONFIRM = "ovn-ipsec-confirm"
_HOLD_MAX_S = 86_400
NETWORK_TABLE = "Logical_Switch"
NETWORK_MODE = "ovn-ipsec"
EVALUATED_BY = "ovn-ipsec-evaluate"
"""In Logical_Switch.external_ids."""
STOCK_PREFIX = "ipsec_"
OWN_PREFIX = "ovn-ipsec-"

STATE = "ovn-ipsec-state"
STATES = ("off", "preparing", "establishing", "established", "enforced", "relaxing")
"""What STATE says, apart from whether the cluster is degraded."""
GENERATION = "ovn-ipsec-generation"
SUMMARY = "ovn-ipsec-summary"
ERROR = "ovn-ipsec-error"
REPORT_KEYS = (STATE, GENERATION, SUMMARY, ERROR)
STATES = ("off", "preparing", "establishing", "established", "enforced", "relaxing")
"""What STATE can be, in the order of a rollout."""
DEGRADED = " (degraded)"
"""Stands behind a state while something that should hold does not."""

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedPolicy:
    """What NB_Global asks for, and what of it could not be understood."""

    policy: EncryptionPolicy | None
    """None if a key that the policy needs is invalid: the last good policy stays in force."""
    errors: tuple[InputError, ...]
    quarantine: frozenset[ChassisName] | None = None
    """The operator's list, whatever else is invalid; None if the list itself is invalid."""
    readmit: frozenset[ChassisName] = frozenset()
    """Chassis that the certificate authority has revoked but that are to be admitted again."""
    confirm: int | None = None
    """The generation in force that the operator confirms, after which this northbound is obeyed."""

    @property
    def listed(self) -> frozenset[ChassisName] | None:
        """The operator's list of chassis in quarantine; None if it is invalid."""
        if self.quarantine is None and self.policy is not None:
            return self.policy.quarantine
        return self.quarantine

    @property
    def is_off(self) -> bool:
        """Whether the switch is off."""
        return self.policy is not None and not self.policy.enabled


def parse_policy(ipsec: bool, options: Mapping[str, str]) -> ParsedPolicy:
    """Parse the switch and the options.

    Args:
        ipsec: NB_Global.ipsec.
        options: NB_Global.options, any keys.

    Returns:
        The policy, or None if mode, rollout, auth, profile, hold or any rule is invalid while the
        switch is on; an invalid tuning key is reported and left at its default. The lists of
        chassis and the confirmation are parsed independently.
    """
    errors: list[InputError] = []

    def word(key: str, kind: type[E], default: E) -> E:
        if key not in options:
            return default
        try:
            return parse.word(Place(table=TABLE, row=".", key=key), options[key], kind)
        except InputError as error:
            errors.append(error)
            return default

    mode = word(MODE, Mode, Mode.REQUIRE)
    if mode is Mode.OFF:
        reason = "expected require or prefer; the switch is column ipsec"
        errors.append(InputError(table=TABLE, row=".", key=MODE, text=mode, reason=reason))
    rollout = word(ROLLOUT, Rollout, Rollout.GATED)
    auth = word(AUTH, Auth, Auth.CA)
    profile = word(PROFILE, Profile, Profile.DEFAULT)
    hold_s = HOLD_S
    try:
        if HOLD in options:
            place = Place(table=TABLE, row=".", key=HOLD)
            hold_s = parse.duration_s(place, options[HOLD], 0, _HOLD_MAX_S)
    except InputError as error:
        errors.append(error)
    quarantine = _names(QUARANTINE, options, errors)
    stated, refused = rules.parse_rules(TABLE, options)
    errors.extend(refused)
    fatal = bool(errors)
    readmit = _names(READMIT, options, errors)
    confirm = _confirmed(options, errors)
    errors.extend(_unknown(options))
    stock = {
        key.removeprefix(STOCK_PREFIX): text
        for key, text in options.items()
        if key.startswith(STOCK_PREFIX)
    }
    tuning, bad_settings = parse_settings(TABLE, ".", STOCK_PREFIX, stock)
    errors.extend(bad_settings)
    policy = EncryptionPolicy(
        enabled=ipsec,
        mode=mode,
        rollout=rollout,
        auth=auth,
        tuning=tuning,
        profile=profile,
        rules=tuple(stated),
        quarantine=quarantine or frozenset(),
        hold_s=hold_s,
    )
    return ParsedPolicy(
        policy=None if fatal and ipsec else policy,
        errors=tuple(errors),
        quarantine=quarantine,
        readmit=readmit or frozenset(),
        confirm=confirm,
    )


def _names(
    key: str, options: Mapping[str, str], errors: list[InputError]
) -> frozenset[ChassisName] | None:
    """A list of chassis, empty if there is none; None, and an error, if it is invalid."""
    try:
        return parse.chassis_names(Place(table=TABLE, row=".", key=key), options.get(key, ""))
    except InputError as error:
        errors.append(error)
        return None


def _confirmed(options: Mapping[str, str], errors: list[InputError]) -> int | None:
    if CONFIRM not in options:
        return None
    try:
        return parse.generation(Place(table=TABLE, row=".", key=CONFIRM), options[CONFIRM])
    except InputError as error:
        errors.append(error)
        return None


def _unknown(options: Mapping[str, str]) -> list[InputError]:
    known = (MODE, ROLLOUT, AUTH, PROFILE, HOLD, QUARANTINE, READMIT, CONFIRM)
    return [
        InputError(table=TABLE, row=".", key=key, text=options[key], reason="not a known option")
        for key in sorted(options)
        if key.startswith(OWN_PREFIX) and key not in known and not rules.is_rule_key(key)
    ]


def parse_networks(
    texts: Mapping[str, str | None],
) -> tuple[dict[str, Mode], tuple[InputError, ...]]:
    """Parse what logical switches ask for.

    Args:
        texts: Logical_Switch.other_config:ovn-ipsec by name, any text; None if there is none.

    Returns:
        require or prefer for each that asks for it; and, by name, an error for each that has
        another value: including ``off``, since a network can only strengthen, and including names
        that no rule can write, because SB carries them as rules.
    """
    modes: dict[str, Mode] = {}
    errors: list[InputError] = []
    for name, text in sorted(texts.items()):
        if text is None:
            continue
        try:
            modes[name] = _parse_network(name, text)
        except InputError as error:
            errors.append(error)
    return modes, tuple(errors)


def _parse_network(name: str, text: str) -> Mode:
    row = "".join(c if c.isprintable() else "?" for c in name[:80])
    place = Place(table=NETWORK_TABLE, row=row, key=f"other_config:{NETWORK_MODE}")
    if text not in (Mode.REQUIRE, Mode.PREFER):
        place.refuse(text, "expected require or prefer")
    try:
        rules.parse_rule(place, 1, str(network_rule(name, Mode(text))))
    except rules.RuleError as error:
        place.refuse(text, f"a rule cannot contain the network's name: {error.reason}")
    return Mode(text)


_READERS = (Party.NORTHD, Party.COMMAND)
_POLICY = "reference/policy.md"
_option = partial(
    Key, column="NB_Global.options", writer=Party.OPERATOR, readers=(Party.NORTHD, Party.COMMAND)
)
_report = partial(
    Key, column="NB_Global.external_ids", writer=Party.NORTHD, readers=(Party.NORTHD, Party.COMMAND)
)
_OPTIONS = (
    Key(
        column="NB_Global.ipsec",
        name="",
        meaning="The switch, as in stock OVN: whether the tunnels of the cluster are encrypted.",
        values=one_of(("true", "false")),
        default="`false`",
        example="true",
        writer=Party.OPERATOR,
        readers=(*_READERS, Party.OVN_NORTHD),
        page="explanation/phases.md",
    ),
    _option(
        name=MODE,
        meaning="How pairs that no rule matches are treated: encrypted or dropped (`require`),"
        " or encrypted if both ends can (`prefer`). It decides where a rollout ends: `require`"
        " at `enforced`, `prefer` at `established` unless a rule asks for more.",
        values=one_of((Mode.REQUIRE, Mode.PREFER)),
        default=f"`{Mode.REQUIRE}`",
        example=Mode.PREFER,
        page=_POLICY,
    ),
    _option(
        name=f"{rules.PREFIX}<priority>",
        meaning="One rule: which pairs it matches and how they are treated. The highest-priority"
        " rule that matches decides. `ovn-ipsec policy add` checks a rule before it writes it.",
        values=f"`SELECTOR SELECTOR MODE [profile=NAME]`, at most {rules.TEXT_MAX} characters;"
        f" priority 1 to {rules.PRIORITY_MAX}",
        default="no rule",
        example="zone:dc1 zone:dc2 require profile=cnsa",
        page=_POLICY,
    ),
    _option(
        name=PROFILE,
        meaning="Cipher suite of pairs whose rule does not name one.",
        values=one_of(Profile),
        default=f"`{Profile.DEFAULT}`",
        example=Profile.CNSA,
        page="reference/policy.md#profiles",
    ),
    _option(
        name=AUTH,
        meaning="How chassis authenticate to each other.",
        values=one_of(Auth),
        default=f"`{Auth.CA}`",
        example=Auth.PINNED,
        page="howto/authentication.md",
    ),
    _option(
        name=ROLLOUT,
        meaning="Whether clear text is denied only once the wanted pairs are up, or at once.",
        values=one_of(Rollout),
        default=f"`{Rollout.GATED}`",
        example=Rollout.IMMEDIATE,
        page="explanation/phases.md#for-whom-a-gate-waits",
    ),
    _option(
        name=HOLD,
        meaning="How long a chassis still counts as a member of a network after its last port of"
        " that network has left.",
        values=f"a time from 0 to {_HOLD_MAX_S} s: seconds, or a number with `s`, `m`, `h` or `d`",
        default=f"{HOLD_S} s",
        example="10m",
        page="howto/one-tenant.md#when-workloads-move",
    ),
    _option(
        name=QUARANTINE,
        meaning="Chassis with which no other communicates: every peer ends its SAs, and clear"
        " text is denied, too.",
        values="chassis names, separated by spaces or commas",
        default="no chassis is in quarantine",
        example="hv3 hv7",
        page="howto/rollover.md#quarantine-a-chassis",
    ),
    _option(
        name=READMIT,
        meaning="Chassis that a certificate authority has put into quarantine and that are"
        " admitted again although that authority is no longer there.",
        values="chassis names, separated by spaces or commas",
        default="chassis that the authority has revoked stay in quarantine",
        example="hv3",
        page="howto/rollover.md#quarantine-a-chassis",
    ),
    _option(
        name=CONFIRM,
        meaning="The generation in force, when this northbound is to be followed although it was"
        f" emptied, restored or is another one. `{ERROR}` names the number.",
        values=f"a whole number from 0 to {GENERATION_MAX}",
        default="a northbound in doubt weakens nothing",
        example="1764230000000",
        page="howto/diagnose.md#the-northbound-was-emptied-or-restored",
    ),
    Key(
        column=f"{NETWORK_TABLE}.other_config",
        name=NETWORK_MODE,
        meaning="The least that applies to pairs that carry the traffic of this network:"
        " shorthand for a rule `network:NAME any MODE`, without a priority, and never weaker"
        " than the rules.",
        values=one_of((Mode.REQUIRE, Mode.PREFER)),
        default="only the rules decide",
        example=Mode.REQUIRE,
        writer=Party.OPERATOR,
        readers=_READERS,
        page="reference/policy.md#a-network-with-a-mode-of-its-own",
    ),
)
_REPORT = (
    _report(
        name=STATE,
        meaning="How far the rollout has come, with ` (degraded)` after it while something that"
        " should hold does not. `ovn-ipsec wait` waits for one of these.",
        values=f"{one_of(STATES)}, each also with ` (degraded)`",
        default="ovn-ipsec-northd has never run",
        example="enforced",
        page="explanation/phases.md",
    ),
    _report(
        name=GENERATION,
        meaning="The generation of the policy in force. It also shows that this northbound is"
        " the one from which the policy came.",
        values=f"a whole number from 0 to {GENERATION_MAX}",
        default="this northbound is in doubt while a policy is in force",
        example="1764230000000",
        page="explanation/phases.md#generations",
    ),
    _report(
        name=SUMMARY,
        meaning="Chassis, pairs, laggards, problems and warnings, in one line for people; only"
        " the first few by name.",
        values="text of bounded length",
        default="ovn-ipsec-northd has never run",
        example="chassis 3 ready 3 lagging 0 | pairs 6 encrypted 6 pending 0 blocked 0",
        readers=(Party.COMMAND,),
    ),
    _report(
        name=ERROR,
        meaning="What could not be understood or applied in the policy: table, key, text and"
        " what was expected. Meanwhile the last good policy stays in force.",
        values="text of bounded length",
        default="nothing is wrong with the policy",
        example="NB_Global . ovn-ipsec-mode='requier': expected one of off, prefer, require",
        readers=(Party.COMMAND,),
        page="reference/policy.md#when-something-is-wrong",
    ),
)
_EVALUATION = Key(
    column="Logical_Switch.external_ids",
    name=EVALUATED_BY,
    meaning="On the logical switch of `ovn-ipsec evaluate`: the rule that stands for the time of"
    " the measurement only. The next call for the same two chassis deletes both if they are left.",
    values="a key of `NB_Global.options`",
    default="no rule was written",
    example="ovn-ipsec-rule-100",
    writer=Party.COMMAND,
    readers=(Party.COMMAND,),
    page="howto/evaluate.md",
)
DOCUMENTED = (
    *_OPTIONS,
    *documented_settings("NB_Global.options", STOCK_PREFIX),
    *_REPORT,
    _EVALUATION,
)
"""What people are told of these keys."""
