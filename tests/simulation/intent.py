# SPDX-License-Identifier: Apache-2.0
"""What the operator has decided, by the simplest reading of it: the oracle of policy."""

from __future__ import annotations

from dataclasses import dataclass, field

from ovn_ipsec.model.policy import Mode


@dataclass(frozen=True, slots=True)
class Rule:
    """`chassis:ONE chassis:OTHER MODE`; `*` is `any`."""

    one: str
    other: str
    mode: Mode
    profile: str = ""

    def matches(self, one: str, other: str) -> bool:
        """Whether it is about two chassis."""
        return any(
            self.one in ("*", a) and self.other in ("*", b) for a, b in ((one, other), (other, one))
        )

    def __str__(self) -> str:
        ends = ("any" if end == "*" else f"chassis:{end}" for end in (self.one, self.other))
        profile = f" profile={self.profile}" if self.profile else ""
        return f"{' '.join(ends)} {self.mode}{profile}"


@dataclass(slots=True)
class Intent:
    """The switch, the mode and the rules."""

    enabled: bool = False
    default: Mode = Mode.REQUIRE
    rules: dict[int, Rule] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    """Other keys of NB_Global.options, without `ovn-ipsec-`."""

    def mode(self, one: str, other: str) -> Mode:
        """What is to hold between two chassis."""
        if not self.enabled:
            return Mode.OFF
        for priority in sorted(self.rules, reverse=True):
            if self.rules[priority].matches(one, other):
                return self.rules[priority].mode
        return self.default

    def keys(self) -> dict[str, str]:
        """As options of NB_Global, without `ovn-ipsec-`."""
        said = {f"rule-{priority}": str(rule) for priority, rule in self.rules.items()}
        mode = {} if self.default is Mode.REQUIRE else {"mode": str(self.default)}
        return {**self.options, **said, **mode}
