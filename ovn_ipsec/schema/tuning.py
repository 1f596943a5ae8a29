# SPDX-License-Identifier: Apache-2.0
"""Pure: Tuning to and from the one text that SB_Global carries it in.

The same table reads the stock NB options, so a setting exists in one place only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from ..errors import InputError
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
        prefix: What stands before the names in the database, for the errors.
        settings: Name without prefix to text.

    Returns:
        What was good, and one error for each setting that was not, sorted by name.
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
