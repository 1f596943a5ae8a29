# SPDX-License-Identifier: Apache-2.0
"""Pure: why rules that parse cannot be applied: chassis lack a suite, or SB lacks the room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import InputError
from ..model.policy import ClassName, Profile, Treatment
from ..schema import nb_global
from ..schema.sb_global import TEXT_MAX
from .classes import Matrix

_NAMED = 3


def meetings(
    matrix: Matrix, classes: Iterable[ClassName], default: Treatment
) -> dict[ClassName, tuple[Treatment, ...]]:
    """How each class is treated with the others and itself, each treatment once."""
    found: dict[ClassName, dict[ClassName, Treatment]] = {name: {} for name in classes}
    for (one, other), treatment in matrix.pairs.items():
        found[one][other] = found[other][one] = treatment
    met: dict[ClassName, tuple[Treatment, ...]] = {}
    for name, others in found.items():
        treatments = {id(treatment): treatment for treatment in others.values()}
        if len(others) < len(found):
            treatments[id(default)] = default
        met[name] = tuple(treatments.values())
    return met


def lacking(names: Mapping[Profile, Sequence[str]]) -> list[InputError]:
    """Make one error for each cipher suite that chassis would need and cannot do.

    Args:
        names: By suite, the chassis that lack it, sorted.
    """
    return [_lacks(profile, names[profile]) for profile in sorted(names)]


def too_many(size: int, classes: int) -> list[InputError]:
    """Refuse classes whose pairs do not fit into one key of SB.

    Args:
        size: Bytes of their matrix, as stored in SB.
        classes: The number of classes.
    """
    if size <= TEXT_MAX:
        return []
    reason = f"they make {classes} classes, more than SB_Global can carry"
    return [_error("rules", f"{size} bytes", reason)]


def _lacks(profile: Profile, names: Sequence[str]) -> InputError:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    reason = f"the IKE daemon of {', '.join(names[:_NAMED])}{more} cannot do it"
    return _error("profile", str(profile), reason)


def _error(key: str, text: str, reason: str) -> InputError:
    return InputError(table=nb_global.TABLE, row=".", key=key, text=text, reason=reason)
