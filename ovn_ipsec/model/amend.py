# SPDX-License-Identifier: Apache-2.0
"""Pure: a value with some fields changed, or the value itself where none of them differs."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

_T = TypeVar("_T")


def amended(value: _T, **fields: object) -> _T:
    """Change fields of a dataclass value.

    Where decisions are repeated nearly every change changes nothing; a copy of a value with many
    fields costs ten times as much as to compare a few, and whoever is given the same object need
    not look at it again.

    Args:
        value: A frozen one.
        fields: By name.

    Returns:
        The same object if all of them are what they were.

    Raises:
        AttributeError: There is no such field.
    """
    for name, new in fields.items():
        old = getattr(value, name)
        if old is not new and old != new:
            return replace(value, **fields)  # type: ignore[type-var]
    return value
