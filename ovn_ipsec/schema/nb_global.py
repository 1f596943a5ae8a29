# SPDX-License-Identifier: Apache-2.0
"""Pure: NB_Global columns to EncryptionPolicy, and the state that goes back to the operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InputError
from ..model.policy import Auth, EncryptionPolicy, Mode, Rollout
from . import fields as parse
from .fields import Place
from .tuning import parse_settings

TABLE = "NB_Global"
MODE = "ovn-ipsec-mode"
ROLLOUT = "ovn-ipsec-rollout"
AUTH = "ovn-ipsec-auth"
STOCK_PREFIX = "ipsec_"
OWN_PREFIX = "ovn-ipsec-"

STATE = "ovn-ipsec-state"
GENERATION = "ovn-ipsec-generation"
SUMMARY = "ovn-ipsec-summary"
ERROR = "ovn-ipsec-error"
REPORT_KEYS = (STATE, GENERATION, SUMMARY, ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedPolicy:
    """What NB_Global asks for, and what in it could not be understood."""

    policy: EncryptionPolicy | None
    """None when a key that policy hangs on is junk: the last good policy stays in force."""
    errors: tuple[InputError, ...]


def parse_policy(ipsec: bool, options: Mapping[str, str]) -> ParsedPolicy:
    """Parse the switch and the options.

    Args:
        ipsec: NB_Global.ipsec.
        options: NB_Global.options, any keys.

    Returns:
        The policy, or None when mode, rollout or auth is junk while the switch is on; a tuning
        key that is junk is reported and left at its default.
    """
    errors: list[InputError] = []
    place = {key: Place(table=TABLE, row=".", key=key) for key in options}
    mode, rollout, auth = Mode.REQUIRE, Rollout.GATED, Auth.CA
    try:
        if MODE in options:
            mode = parse.word(place[MODE], options[MODE], Mode)
            if mode is Mode.OFF:
                place[MODE].refuse("off", "expected require or prefer; the switch is column ipsec")
        if ROLLOUT in options:
            rollout = parse.word(place[ROLLOUT], options[ROLLOUT], Rollout)
        if AUTH in options:
            auth = parse.word(place[AUTH], options[AUTH], Auth)
    except InputError as error:
        errors.append(error)
    fatal = bool(errors)
    errors.extend(
        InputError(table=TABLE, row=".", key=key, text=options[key], reason="not a known option")
        for key in sorted(options)
        if key.startswith(OWN_PREFIX) and key not in (MODE, ROLLOUT, AUTH)
    )
    stock = {
        key.removeprefix(STOCK_PREFIX): text
        for key, text in options.items()
        if key.startswith(STOCK_PREFIX)
    }
    tuning, refused = parse_settings(TABLE, ".", STOCK_PREFIX, stock)
    errors.extend(refused)
    policy = EncryptionPolicy(enabled=ipsec, mode=mode, rollout=rollout, auth=auth, tuning=tuning)
    return ParsedPolicy(policy=None if fatal and ipsec else policy, errors=tuple(errors))
