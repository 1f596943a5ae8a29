# SPDX-License-Identifier: Apache-2.0
"""Pure: Tuning to and from the single text in which SB_Global carries it.

The same table parses the stock NB options, so each setting is defined in one place only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType

from ..errors import InputError
from ..model.key import Key, Party
from ..model.policy import Tuning
from . import fields as parse
from .fields import Place

RANGES: dict[str, tuple[str, int, int]] = {
    "replay-window": ("replay_window", 0, 4096),
    "dpd-delay": ("dpd_delay_s", 1, 86_400),
    "dpd-timeout": ("dpd_timeout_s", 1, 86_400),
    "salifetime": ("esp_lifetime_s", 60, 7 * 86_400),
    "ikelifetime": ("ike_lifetime_s", 300, 30 * 86_400),
}
"""Setting: field of Tuning, lowest and highest value (seconds, or packets for the window)."""

SWITCHES = ("encapsulation", "forceencaps")
"""The two stock names for UDP encapsulation (ovn-nb(5): ipsec_encapsulation, ipsec_forceencaps)."""


def parse_settings(
    table: str, row: str, prefix: str, settings: Mapping[str, str]
) -> tuple[Tuning, tuple[InputError, ...]]:
    """Parse settings by name.

    Args:
        table: For the errors.
        row: For the errors.
        prefix: What precedes the names in the database, for the errors.
        settings: Name without prefix to text.

    Returns:
        The valid settings, and one error for each invalid one, sorted by name.
    """
    good: dict[str, int] = {}
    forced = False
    errors: list[InputError] = []
    for name, text in sorted(settings.items()):
        place = Place(table=table, row=row, key=prefix + name)
        try:
            if name in SWITCHES:
                forced = parse.boolean(place, text) or forced
            elif name == "replay-window":
                field, low, high = RANGES[name]
                good[field] = parse.integer(place, text, low, high)
            elif name in RANGES:
                field, low, high = RANGES[name]
                good[field] = parse.duration_s(place, text, low, high)
            else:
                place.refuse(text, f"not a setting; known: {', '.join([*SWITCHES, *RANGES])}")
        except InputError as error:
            errors.append(error)
    return Tuning(force_encapsulation=forced, **good), tuple(errors)


def format_tuning(tuning: Tuning) -> str:
    """Format as `name=value` words, sorted by name; defaults are left out."""
    names = {field: name for name, (field, _, _) in RANGES.items()}
    words = ["encapsulation=true"] if tuning.force_encapsulation else []
    for field in fields(tuning):
        value = getattr(tuning, field.name)
        if field.name in names and value is not None:
            words.append(f"{names[field.name]}={value}")
    return " ".join(sorted(words))


def parse_tuning(place: Place, text: str) -> Tuning:
    """Parse what format_tuning wrote.

    Raises:
        InputError: A word is not `name=value`, or its value is out of range.
    """
    settings: dict[str, str] = {}
    for part in text.split():
        name, sign, value = part.partition("=")
        if not sign or name in settings:
            place.refuse(text, "expected name=value words, each name once")
        settings[name] = value
    tuning, errors = parse_settings(place.table, place.row, f"{place.key}:", settings)
    if errors:
        raise errors[0]
    return tuning


_SWITCHED = "`true` or `false`; also `yes`, `on`, `1`, `no`, `off`, `0`"
_MEANT: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "encapsulation": (
            "Send ESP in UDP (RFC 3948) even if no NAT is detected.",
            "`false`",
            "true",
        ),
        "forceencaps": ("The other stock name of the previous setting.", "`false`", "true"),
        "replay-window": (
            "The replay window: how many packets late a packet may arrive before it is taken for a"
            " replay. 0 disables the check.",
            "1024",
            "4096",
        ),
        "dpd-delay": (
            "How long a peer may be silent before it is probed.",
            "30 s",
            "10s",
        ),
        "dpd-timeout": (
            "How long it may then stay silent before it is considered dead. With IKEv2 the"
            " retransmissions of the IKE daemon decide instead.",
            "the IKE daemon's own setting",
            "60s",
        ),
        "salifetime": (
            "The maximum lifetime of a CHILD_SA; it is rekeyed before.",
            "3960 s",
            "1h",
        ),
        "ikelifetime": (
            "The maximum lifetime of an IKE_SA; it is rekeyed before.",
            "15840 s",
            "8h",
        ),
    }
)


def documented(column: str, prefix: str) -> tuple[Key, ...]:
    """What people are told of each setting.

    Args:
        column: Where the operator states them.
        prefix: What stands before the names there.
    """
    return tuple(
        Key(
            column=column,
            name=prefix + name,
            meaning=meaning,
            values=_values(name),
            default=default,
            example=example,
            writer=Party.OPERATOR,
            readers=(Party.NORTHD, Party.COMMAND, Party.OVN_NORTHD),
            page="howto/migrate.md#before",
        )
        for name, (meaning, default, example) in _MEANT.items()
    )


def _values(name: str) -> str:
    if name in SWITCHES:
        return _SWITCHED
    field, low, high = RANGES[name]
    if field.endswith("_s"):
        return f"a time from {low} to {high} s: seconds, or a number with `s`, `m`, `h` or `d`"
    return f"a whole number of packets from {low} to {high}"
