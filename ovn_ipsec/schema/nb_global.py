# SPDX-License-Identifier: Apache-2.0
"""Pure: NB_Global columns to EncryptionPolicy, and the state that goes back to the operator.

Logical_Switch.other_config:ovn-ipsec is read here too: it says of a network what a rule could.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from ..errors import InputError
from ..model.chassis import ChassisName
from ..model.policy import (
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
STOCK_PREFIX = "ipsec_"
OWN_PREFIX = "ovn-ipsec-"

STATE = "ovn-ipsec-state"
GENERATION = "ovn-ipsec-generation"
SUMMARY = "ovn-ipsec-summary"
ERROR = "ovn-ipsec-error"
REPORT_KEYS = (STATE, GENERATION, SUMMARY, ERROR)

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedPolicy:
    """What NB_Global asks for, and what in it could not be understood."""

    policy: EncryptionPolicy | None
    """None when a key that policy hangs on is junk: the last good policy stays in force."""
    errors: tuple[InputError, ...]
    quarantine: frozenset[ChassisName] | None = None
    """The operator's list, whatever else is junk; None when it is junk itself."""
    readmit: frozenset[ChassisName] = frozenset()
    """Chassis that the authority has revoked by name, and that may be talked to nevertheless."""
    confirm: int | None = None
    """The generation in force that the operator has seen, and after which this northbound holds."""

    @property
    def listed(self) -> frozenset[ChassisName] | None:
        """The operator's list of chassis in quarantine; None when it is junk."""
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
        The policy, or None when mode, rollout, auth, profile, hold or any rule is junk while the
        switch is on; a tuning key that is junk is reported and left at its default. The lists of
        chassis and the confirmation are read for themselves.
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
    """A list of chassis, empty where there is none; None, and an error, when it is junk."""
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
    """Parse what logical switches say of their own traffic.

    Args:
        texts: Logical_Switch.other_config:ovn-ipsec by name, any text; None where there is none.

    Returns:
        require or prefer for each that says so; and an error for each that says something else, by
        name: ``off`` too, since a network can only strengthen, and where no rule can write the
        name, which is how SB carries it.
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
        place.refuse(text, f"the network's name cannot stand in a rule: {error.reason}")
    return Mode(text)
