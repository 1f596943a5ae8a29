# SPDX-License-Identifier: Apache-2.0
"""Pure: frozen dataclasses to JSON values and back, strictly, by the types of their fields.

A field that equals its default is left out. What does not have the stated type is refused, and so
is a field that is not known: a line of a journal is understood as a whole or not at all.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def encode(value: Any) -> Any:
    """Make a JSON value: a dataclass becomes an object, a tuple a list."""
    if isinstance(value, tuple):
        return [encode(one) for one in value]
    if not is_dataclass(value):
        return value
    return {
        field.name: encode(found)
        for field in fields(value)
        if (found := getattr(value, field.name)) != field.default
    }


def decode(kind: type[T], data: object) -> T:
    """Make a dataclass of an object.

    Args:
        kind: The dataclass; its fields are int, bool, str, None, tuples and dataclasses of these.
        data: What json.loads returned.

    Raises:
        ValueError: It is not what the fields say.
    """
    if not isinstance(data, dict):
        raise ValueError(f"expected an object for {kind.__name__}")  # noqa: TRY004 - one error for all
    shaped: Any = kind
    hints, needed = _shape(shaped)
    if unknown := data.keys() - hints.keys():
        raise ValueError(f"{kind.__name__} has no {min(unknown)}")
    if missing := needed - data.keys():
        raise ValueError(f"{kind.__name__} lacks {min(missing)}")
    return kind(**{name: _value(hints[name], one) for name, one in data.items()})


@cache
def _shape(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of its fields, and which of them have no default."""
    needed = frozenset(one.name for one in fields(kind) if one.default is MISSING)
    return get_type_hints(kind), needed


def _value(hint: Any, data: object) -> Any:
    origin: Any = get_origin(hint)
    if origin is UnionType:
        if data is None:
            return None
        return _value(next(one for one in get_args(hint) if one is not NoneType), data)
    if origin is tuple:
        if not isinstance(data, list):
            raise ValueError("expected a list")
        return tuple(_value(get_args(hint)[0], one) for one in data)
    if isinstance(hint, type) and is_dataclass(hint):
        return decode(hint, data)
    # A bool is an int to Python, and no number to us.
    if type(data) is not hint:
        raise ValueError(f"expected {hint.__name__}, not {type(data).__name__}")
    return data
