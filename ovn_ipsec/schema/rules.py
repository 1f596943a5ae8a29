# SPDX-License-Identifier: Apache-2.0
"""Pure: the syntax of NB_Global.options:ovn-ipsec-rule-<priority>.

A rule is ``SELECTOR SELECTOR MODE [profile=NAME]``, its words separated by one space. There is
exactly one way to write each word, so ``str(rule)`` is the text from which it was parsed, and a
column in one is the same column in the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from ipaddress import ip_network
from typing import NoReturn

from ..errors import InputError
from ..model.policy import BARE_NAME, REMOTE, Mode, Profile, Rule, Selector, SelectorKind
from .fields import Place

PREFIX = "ovn-ipsec-rule-"
PRIORITY_MAX = 32767
TEXT_MAX = 512
PROFILE = "profile="

_PRIORITY = re.compile(r"[1-9][0-9]{0,4}\Z")
_WORD = re.compile(r"""(?:[^ "]|"(?:[^"\\]|\\.)*")+""")
_QUOTED = re.compile(r'"(?:[^"\\]|\\["\\])+"\Z')
_ESCAPED = re.compile(r"\\(.)")
_GLOB = re.compile(r"(?:[A-Za-z0-9._?-]|\*(?!\*))+")
_FORMS = {
    "any": SelectorKind.ANY,
    "chassis:GLOB": SelectorKind.CHASSIS,
    "host:GLOB": SelectorKind.HOST,
    "zone:NAME": SelectorKind.ZONE,
    "az:NAME": SelectorKind.AZ,
    "cidr:PREFIX": SelectorKind.CIDR,
    "network:NAME": SelectorKind.NETWORK,
}
_FAR = (SelectorKind.ANY, SelectorKind.CHASSIS, SelectorKind.HOST, SelectorKind.CIDR)
"""What is known of chassis of other availability zones: all that ovn-ic copies."""
_SELECTOR = f"expected a selector ({', '.join(_FORMS)}), or {REMOTE} and one of the first kinds"
_REMOTE = f"expected {', '.join(f for f, of in _FORMS.items() if of in _FAR)} after {REMOTE}"
_MODE = f"expected a mode ({', '.join(Mode)})"
_PROFILE = f"expected a profile ({', '.join(Profile)})"


class RuleError(InputError):
    """A rule that does not parse, and the column of the error."""

    def __init__(self, place: Place, text: str, column: int, reason: str) -> None:
        """Record the error.

        Args:
            place: Where the rule is stored.
            text: The whole rule.
            column: Of the error, counted from 1; one after the end if something is missing.
            reason: What was expected there.
        """
        super().__init__(
            table=place.table,
            row=place.row,
            key=place.key,
            text=text,
            reason=f"at column {column}: {reason}",
        )
        self.column, self.reason = column, reason

    def caret(self) -> str:
        """The rule, and on a second line a caret under the error."""
        shown = "".join(c if c.isprintable() else "?" for c in self.text[: TEXT_MAX + 1])
        return f"{shown}\n{'^':>{self.column}}"


def priority_of(place: Place, text: str) -> int:
    """Read the priority from the key that ``place`` names.

    Raises:
        InputError: It is not one of 1 to 32767, without leading zeros.
    """
    digits = place.key.removeprefix(PREFIX)
    if not _PRIORITY.match(digits) or int(digits) > PRIORITY_MAX:
        place.refuse(text, f"expected the key {PREFIX}N, N from 1 to {PRIORITY_MAX}, such as 100")
    return int(digits)


def parse_rules(table: str, options: Mapping[str, str]) -> tuple[list[Rule], list[InputError]]:
    """Parse every option whose key begins like that of a rule.

    Args:
        table: For the errors.
        options: Any keys and texts.

    Returns:
        The valid rules, highest priority first; and an error for each other one, by key.
    """
    rules: list[Rule] = []
    errors: list[InputError] = []
    for key in sorted(key for key in options if is_rule_key(key)):
        place = Place(table=table, row=".", key=key)
        try:
            rules.append(parse_rule(place, priority_of(place, options[key]), options[key]))
        except InputError as error:
            errors.append(error)
    return sorted(rules, key=lambda rule: -rule.priority), errors


def is_rule_key(key: str) -> bool:
    """Whether an option is meant as a rule, valid or not."""
    return key.startswith(PREFIX.removesuffix("-"))


def parse_rule(place: Place, priority: int, text: str) -> Rule:
    """Parse one rule.

    Args:
        place: For the error.
        priority: As the key says.
        text: The rule.

    Raises:
        RuleError: The first error in the text, from the left.
    """
    return _Parser(place, text).rule(priority)


def missing_networks(
    table: str, rules: Iterable[Rule], known: Iterable[str]
) -> tuple[RuleError, ...]:
    """Find the selectors of networks that do not exist.

    Args:
        table: For the errors.
        rules: The rules in NB.
        known: The name of every Logical_Switch.

    Returns:
        One error for each such selector, in the order of the rules.
    """
    names = frozenset(known)
    errors: list[RuleError] = []
    for rule in rules:
        place = Place(table=table, row=".", key=f"{PREFIX}{rule.priority}")
        first, second = rule.selectors
        columns = (1, len(str(first)) + 2)
        for selector, column in zip((first, second), columns, strict=True):
            if selector.kind is SelectorKind.NETWORK and selector.argument not in names:
                reason = "expected the name of a Logical_Switch"
                reason += _hint(selector.argument, names)
                start = column + len(SelectorKind.NETWORK) + 1
                errors.append(RuleError(place, str(rule), start, reason))
    return tuple(errors)


def _hint(word: str, known: Iterable[str]) -> str:
    """Suggest what may have been meant, at the end of a reason."""
    near = get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


class _Parser:
    """The words of a text, with their columns."""

    def __init__(self, place: Place, text: str) -> None:
        self.place, self.text = place, text
        self.at = 0
        """Where the next word should begin."""

    def refuse(self, index: int, reason: str) -> NoReturn:
        raise RuleError(self.place, self.text, index + 1, reason)

    def rule(self, priority: int) -> Rule:
        if len(self.text) > TEXT_MAX:
            self.refuse(TEXT_MAX, f"expected at most {TEXT_MAX} characters")
        for index, character in enumerate(self.text):
            if not character.isprintable():
                self.refuse(index, "expected only printable characters")
        selectors = (first, second) = (self.selector(), self.selector())
        self.check(first, second)
        mode = self.mode()
        profile = None if self.at > len(self.text) else self.profile(mode)
        if self.at <= len(self.text):
            self.refuse(self.at, "expected the end of the rule")
        return Rule(priority=priority, selectors=selectors, mode=mode, profile=profile)

    def word(self, expected: str) -> tuple[int, str]:
        """Take the next word and the one space after it."""
        start = self.at
        found = _WORD.match(self.text, start)
        if found is None or self.text[found.end() : found.end() + 1] == '"':
            self.missing(start if found is None else found.end(), expected)
        self.at = found.end() + 1
        if self.at == len(self.text):
            self.refuse(found.end(), "expected no blank at the end")
        return start, found[0]

    def missing(self, at: int, expected: str) -> NoReturn:
        if at >= len(self.text):
            self.refuse(len(self.text), expected)
        if self.text[at] == '"':
            self.refuse(at, 'expected a closing " after this one')
        self.refuse(at, "expected one blank between words, and none before the first")

    def selector(self) -> Selector:
        start, word = self.word(_SELECTOR)
        remote = word.startswith(REMOTE)
        if remote:
            start += len(REMOTE)
            word = word.removeprefix(REMOTE)
        head, colon, argument = word.partition(":")
        if head not in list(_FAR if remote else SelectorKind):
            known = [REMOTE.removesuffix(":"), *SelectorKind]
            self.refuse(start, _REMOTE if remote else _SELECTOR + _hint(head, known))
        kind = SelectorKind(head)
        inside = start + len(head)
        if kind is SelectorKind.ANY:
            if colon:
                self.refuse(inside, "expected nothing after any")
            return Selector(kind, remote=remote)
        if not colon:
            form = next(form for form, of in _FORMS.items() if of is kind)
            self.refuse(inside, f"expected {form}")
        return Selector(kind, self.argument(kind, inside + 1, argument), remote=remote)

    def check(self, first: Selector, second: Selector) -> None:
        """Refuse two selectors that match no pair together."""
        at = len(str(first)) + 1
        if first.remote and second.remote:
            self.refuse(at, f"expected a selector without {REMOTE}: one end of a pair is here")
        if first.remote or second.remote:
            for start, selector in ((0, first), (at, second)):
                if selector.kind is SelectorKind.NETWORK:
                    reason = "what a network reaches in other zones is not known"
                    self.refuse(start, f"expected no network: beside {REMOTE}: {reason}")

    def argument(self, kind: SelectorKind, start: int, text: str) -> str:
        if kind is SelectorKind.CIDR:
            return self.prefix(start, text)
        if kind in (SelectorKind.CHASSIS, SelectorKind.HOST):
            return self.glob(start, text)
        return self.name(start, text)

    def glob(self, start: int, text: str) -> str:
        found = _GLOB.match(text)
        end = 0 if found is None else found.end()
        if end < len(text) or not text:
            expected = "expected a glob of A-Z a-z 0-9 . _ - ? *, never two * in a row"
            self.refuse(start + end, expected)
        return text

    def name(self, start: int, text: str) -> str:
        if BARE_NAME.match(text):
            return text
        if not text.startswith('"'):
            bare = next((i for i, c in enumerate(text) if not BARE_NAME.match(c)), 0)
            expected = "expected a name of A-Z a-z 0-9 . _ : / @ + -"
            self.refuse(start + bare, f"{expected}, or any other name in double quotes")
        if not _QUOTED.match(text):
            self.refuse(start, r'expected "NAME", with \" for a quote and \\ for a backslash in it')
        name = _ESCAPED.sub(r"\1", text[1:-1])
        if BARE_NAME.match(name):
            self.refuse(start, f"expected {name} without quotes")
        return name

    def prefix(self, start: int, text: str) -> str:
        try:
            network = None if "%" in text else ip_network(text, strict=False)
        except ValueError:
            network = None
        if network is None:
            self.refuse(start, "expected a prefix, such as 192.0.2.0/24 or 2001:db8::/32")
        if str(network) != text:
            self.refuse(start, f"expected {network}")
        return text

    def mode(self) -> Mode:
        start, word = self.word(_MODE)
        if word not in list(Mode):
            self.refuse(start, _MODE + _hint(word, Mode))
        return Mode(word)

    def profile(self, mode: Mode) -> Profile:
        start, word = self.word(PROFILE)
        if not word.startswith(PROFILE):
            near = _hint(word.partition("=")[0], [PROFILE])
            self.refuse(start, f"expected {PROFILE}NAME or the end of the rule{near}")
        if mode is Mode.OFF:
            self.refuse(start, "expected the end of the rule: what is clear has no profile")
        name = word.removeprefix(PROFILE)
        if name not in list(Profile):
            self.refuse(start + len(PROFILE), _PROFILE + _hint(name, Profile))
        return Profile(name)
