# SPDX-License-Identifier: Apache-2.0
"""Pure: names grouped by what they have in common, to ask each question once per group."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_LISTS = 8
"""Lists kept: those for keys that are no longer used must not pile up."""


class Groups(Generic[_Key]):
    """Which names have which keys; a list stays cached until a name changes its keys."""

    def __init__(self) -> None:
        self._members: dict[_Key, set[str]] = {}
        self._keys: dict[str, tuple[_Key, ...]] = {}
        self._listed: dict[frozenset[_Key], tuple[str, ...]] = {}
        self._told: dict[frozenset[tuple[_Key, str]], tuple[tuple[str, str], ...]] = {}

    def put(self, name: str, *keys: _Key) -> None:
        """Set the keys of a name; without keys it is forgotten."""
        had = self._keys.get(name, ())
        if keys == had:
            return
        self._listed.clear()
        self._told.clear()
        if keys:
            self._keys[name] = keys
        else:
            del self._keys[name]
        for key in set(had).difference(keys):
            self._members[key].remove(name)
            if not self._members[key]:
                del self._members[key]
        for key in set(keys).difference(had):
            self._members.setdefault(key, set()).add(name)

    def names(self, keys: Iterable[_Key]) -> tuple[str, ...]:
        """Names that have one of these keys, sorted."""
        wanted = frozenset(keys)
        found = self._listed.get(wanted)
        if found is None:
            members = (self._members.get(key, ()) for key in wanted)
            found = self._listed[wanted] = tuple(sorted(set().union(*members)))
            if len(self._listed) > _LISTS:
                del self._listed[next(iter(self._listed))]
        return found

    def told(self, words: Mapping[_Key, str]) -> tuple[tuple[str, str], ...]:
        """Names that have one of these keys, each with the word for its first such key; sorted."""
        wanted = frozenset(words.items())
        found = self._told.get(wanted)
        if found is None:
            names = self.names(words)
            found = tuple((name, words[self._keys[name][0]]) for name in names)
            self._told = {wanted: found}
        return found

    def sizes(self) -> Iterator[tuple[_Key, int]]:
        """Every key that some name has, and how many names have it."""
        return ((key, len(names)) for key, names in self._members.items())

    def __iter__(self) -> Iterator[_Key]:
        """Every key that some name has."""
        return iter(self._members)

    def __len__(self) -> int:
        """How many names there are."""
        return len(self._keys)
