# SPDX-License-Identifier: Apache-2.0
"""Pure: SB_Global.external_ids to and from ClusterPolicy, which no chassis may write."""

from __future__ import annotations

from collections.abc import Mapping

from ..model.policy import Auth, ClusterPolicy, Mode, Phase
from . import fields as parse
from .fields import Place
from .tuning import format_tuning, parse_tuning

TABLE = "SB_Global"
SCHEMA = "ovn-ipsec-schema"
GENERATION = "ovn-ipsec-generation"
PHASE = "ovn-ipsec-phase"
DEFAULT = "ovn-ipsec-default"
FLOOR = "ovn-ipsec-floor"
AUTH = "ovn-ipsec-auth"
TUNING = "ovn-ipsec-tuning"
KEYS = (SCHEMA, GENERATION, PHASE, DEFAULT, FLOOR, AUTH, TUNING)
VERSION = "1"


def format_policy(policy: ClusterPolicy) -> dict[str, str]:
    """Format all keys; an empty tuning is written as an empty text, to replace an old one."""
    return {
        SCHEMA: VERSION,
        GENERATION: str(policy.generation),
        PHASE: policy.phase,
        DEFAULT: policy.default,
        FLOOR: policy.floor,
        AUTH: policy.auth,
        TUNING: format_tuning(policy.tuning),
    }


def parse_policy(external_ids: Mapping[str, str]) -> ClusterPolicy | None:
    """Parse the policy.

    Returns:
        None when northd_ext has never written here. That is "not said", not "off": whoever knows
        an earlier policy goes on with it.

    Raises:
        InputError: A key is missing or junk, or the schema is of another version.
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
    return ClusterPolicy(
        generation=parse.integer(*value(GENERATION), 0, 2**31),
        phase=parse.word(*value(PHASE), Phase),
        default=parse.word(*value(DEFAULT), Mode),
        floor=parse.word(*value(FLOOR), Mode),
        auth=parse.word(*value(AUTH), Auth),
        tuning=parse_tuning(*value(TUNING)),
    )
