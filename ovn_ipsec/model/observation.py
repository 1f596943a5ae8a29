# SPDX-License-Identifier: Apache-2.0
"""What an edge saw, or that it could not see.

Pure. Unknown is not empty: nothing is concluded from an unknown, and nothing is deleted because of
it. Both can be made by position or by name, and match by position: ``case Known(value)``.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Known(Generic[T_co]):
    """An observation that succeeded."""

    value: T_co
    """What was seen."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """An observation that failed."""

    reason: str
    """Why, for people."""
