# SPDX-License-Identifier: Apache-2.0
"""Measure what rules cost: a full evaluation, one changed chassis, and the bytes that SB carries.

The tables go into docs/explanation/policy-cost.md between its two marks. Fails when something
takes longer than it may::

    run.py [--sizes 300,1000,3000] [--no-write]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import combinations
from pathlib import Path
from random import Random
from statistics import median
from uuid import UUID

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from northd_ext.census import take_census  # noqa: E402 - after the path
from northd_ext.policy import evaluate  # noqa: E402
from northd_ext.rollout import step  # noqa: E402
from northd_ext.target import Targeting  # noqa: E402
from northd_ext.views import ChassisFacts, EncapFacts, NbView, SbView  # noqa: E402
from ovn_ipsec.model.policy import (  # noqa: E402
    ClassName,
    ClassPair,
    ClusterPolicy,
    EncryptionPolicy,
    Mode,
    Phase,
    Profile,
    Rule,
    Selector,
    SelectorKind,
    Treatment,
    class_pair,
)
from ovn_ipsec.policy.classes import Subject  # noqa: E402
from ovn_ipsec.policy.topology import Membership  # noqa: E402
from ovn_ipsec.schema import encap, sb_global  # noqa: E402
from ovn_ipsec.schema.nb_global import ParsedPolicy  # noqa: E402
from tests.unit.policy.oracle import World, oracle  # noqa: E402

PAGE = ROOT / "docs" / "explanation" / "policy-cost.md"
BEGIN, END = "<!-- bench begin -->", "<!-- bench end -->"
DEFAULT = Treatment(mode=Mode.REQUIRE)
RULES, PODS = 100, 20
NAIVE, RUNS, CHANGES = 100, 5, 40
FULL_MAX_S, CHANGE_MAX_S = 0.5, 0.005


@dataclass(frozen=True)
class Published:
    """What an evaluation comes to."""

    classes: Mapping[str, ClassName | None]
    """By name of the chassis."""
    pairs: Mapping[ClassPair, Treatment]


class Evaluation:
    """A whole turn of northd_ext: rules, classes, census, rollout, and what is to be written."""

    def __init__(self, world: World) -> None:
        """Prepare what the edges keep parsed."""
        asked = EncryptionPolicy(
            enabled=True, mode=DEFAULT.mode, profile=DEFAULT.profile, rules=world.rules
        )
        self.switches = frozenset(f"net-{pod}" for pod in range(PODS))
        self.nb = NbView(
            asked=ParsedPolicy(policy=asked, errors=()),
            report={},
            switches=self.switches,
            networks=world.networks,
        )
        self.rows = {one.chassis: UUID(int=n) for n, one in enumerate(world.subjects)}
        self.chassis = {one.chassis: self._facts(one) for one in world.subjects}
        self.members = {one.chassis: _membership(one) for one in world.subjects}

    def _facts(self, one: Subject) -> ChassisFacts:
        row = EncapFacts(
            row=self.rows[one.chassis], label=one.chassis, type="geneve", text=None, ip=one.ip
        )
        return ChassisFacts(
            name=one.chassis, hostname=one.hostname, zones=one.zones, azs=one.azs, encaps=(row,)
        )

    def full(self) -> None:
        """Evaluate everything, as after a start."""
        self.targeting = Targeting()
        self._turn()

    def change(self, subject: Subject) -> None:
        """Evaluate again after one chassis changed."""
        self.chassis[subject.chassis] = self._facts(subject)
        self._turn()

    def published(self) -> Published:
        """What SB would carry now."""
        classes = {name: self.assignment.class_of(row) for name, row in self.rows.items()}
        return Published(classes, self.assignment.matrix.pairs)

    def settle(self) -> None:
        """Let SB carry what was decided, so that the next turn finds one difference."""
        for name, facts in self.chassis.items():
            text = self.assignment.class_of(self.rows[name])
            encap_ = replace(facts.encaps[0], text=str(DEFAULT.mode), class_text=text)
            self.chassis[name] = replace(facts, encaps=(encap_,))
        self.policy = self.decided
        self._turn()

    policy: ClusterPolicy | None = None

    def _turn(self) -> None:
        sb = SbView(policy=self.policy, chassis=self.chassis, memberships=self.members)
        target, found = self.targeting.run(self.nb, sb, {})
        assert found is not None
        self.assignment = found
        census = take_census(sb.policy, sb, found)
        self.decided = step(self.nb, sb, target, census, 0.0).policy
        evaluate(self.decided, sb, found, {})


def _membership(one: Subject) -> Membership:
    return Membership(hosts=one.hosts, reaches=one.reaches)


def subject(number: int) -> Subject:
    """One chassis of a cluster of pods."""
    pod, place = number % PODS, number // PODS
    networks = frozenset({f"net-{pod}"})
    return Subject(
        chassis=f"pod{pod:02}-hv{place:04}",
        hostname=f"hv{place:04}.pod{pod:02}.example",
        zones=frozenset({f"dc{pod % 4}"}),
        azs=frozenset({f"az{pod % 5}"}),
        ip=ip_address(f"10.{pod}.{place // 250}.{place % 250 + 1}"),
        hosts=networks,
        reaches=networks | {f"net-{(pod - 1) % PODS}"},
    )


def rules() -> tuple[Rule, ...]:
    """Rules over everything by which the pods can be told apart, the same ones in every run."""
    random = Random(3000)

    def selector() -> Selector:
        pod = random.randrange(PODS)
        return random.choice(
            [
                Selector(SelectorKind.ANY),
                Selector(SelectorKind.CHASSIS, f"pod{pod:02}-*"),
                Selector(SelectorKind.HOST, f"*.pod{pod:02}.example"),
                Selector(SelectorKind.ZONE, f"dc{pod % 4}"),
                Selector(SelectorKind.AZ, f"az{pod % 5}"),
                Selector(SelectorKind.CIDR, f"10.{pod}.0.0/16"),
                Selector(SelectorKind.NETWORK, f"net-{pod}"),
            ]
        )

    def rule(priority: int) -> Rule:
        ends, mode = (selector(), selector()), random.choice(list(Mode))
        profile = random.choice([None, *Profile]) if mode is not Mode.OFF else None
        return Rule(priority=priority, selectors=ends, mode=mode, profile=profile)

    return tuple(rule(priority) for priority in range(1, RULES + 1))


def cpu_s(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def pairs_of(count: int) -> int:
    return count * (count - 1) // 2


def naive_s(world: World, published: Published) -> float:
    """CPU seconds to ask about every pair; raises when the matrix says something else."""
    found: dict[tuple[str, str], Treatment] = {}

    def ask() -> None:
        for one, other in combinations(world.subjects[:NAIVE], 2):
            found[one.chassis, other.chassis] = oracle(world, one, other)[0]

    taken_s = cpu_s(ask)
    for names, treatment in found.items():
        one, other = (published.classes[name] for name in names)
        said = DEFAULT
        if one is not None and other is not None:
            said = published.pairs.get(class_pair(one, other), DEFAULT)
        if said != treatment:
            raise SystemExit(f"{names}: the matrix says {said}, the rules say {treatment}")
    return taken_s * pairs_of(len(world.subjects)) / pairs_of(NAIVE)


def sizes_of(world: World, published: Published) -> dict[str, int]:
    texts = tuple(f"{rule.priority} {rule}" for rule in reversed(world.rules))
    keys = sb_global.format_policy(
        ClusterPolicy(
            generation=1,
            phase=Phase.ENFORCE,
            default=DEFAULT.mode,
            floor=Mode.OFF,
            pairs=published.pairs,
            rules=texts,
        )
    )
    names = [name for name in published.classes.values() if name is not None]
    return {
        "pairs": len(sb_global.PAIRS + keys[sb_global.PAIRS]),
        "rules": len(sb_global.RULES + keys[sb_global.RULES]),
        "classes": sum(len(encap.CLASS + name) for name in names),
    }


def measure(count: int) -> tuple[list[str], list[str], list[str]]:
    """The row of times, the row of bytes, and what took too long."""
    subjects = tuple(subject(number) for number in range(count))
    world = World(rules(), DEFAULT, {"net-3": Mode.REQUIRE}, subjects)
    evaluation = Evaluation(world)
    full_s = median(cpu_s(evaluation.full) for _ in range(RUNS))
    published = evaluation.published()
    evaluation.settle()
    sizes, asked_s = sizes_of(world, published), naive_s(world, published)
    classes = len(set(published.classes.values()))
    changes_s = []
    for one in subjects[:CHANGES]:
        moved = replace(one, zones=frozenset({"dc0", "dc1", "dc2"}))
        changes_s.append(cpu_s(lambda moved=moved: evaluation.change(moved)))  # type: ignore[misc]
        if len(set(evaluation.published().classes.values())) != classes + 1:
            raise SystemExit(f"{one.chassis} was to be in a new class")
        evaluation.change(one)
        evaluation.settle()
    change_s = median(changes_s)
    late = []
    if full_s > FULL_MAX_S:
        late.append(f"{count} chassis: a full evaluation took {full_s:.3f} s, not {FULL_MAX_S}")
    if change_s > CHANGE_MAX_S:
        late.append(f"{count} chassis: one change took {change_s:.4f} s, not {CHANGE_MAX_S}")
    times = [
        *(str(count), str(RULES), str(classes)),
        *(f"{full_s * 1000:.1f}", f"{change_s * 1000:.2f}"),
        *(f"{asked_s:.1f}", f"{asked_s / full_s:.0f}"),
    ]
    own = sizes["classes"] / count
    bytes_ = [str(count), *map(str, sizes.values()), f"{own:.1f}", str(sum(sizes.values()))]
    return times, bytes_, late


def row(words: list[str]) -> str:
    return f"| {' | '.join(words)} |"


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = models[0] if models else platform.machine()
    return f"Python {platform.python_version()}, {os.cpu_count()} cores ({cpu})."


def write(lines: list[str]) -> None:
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    body = "\n".join(lines)
    PAGE.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="300,1000,3000")
    parser.add_argument("--no-write", action="store_true", help="leave the page alone")
    given = parser.parse_args()
    found = [measure(int(size)) for size in given.sizes.split(",")]
    time_head = ["chassis", "rules", "classes", "full evaluation ms", "one changed chassis ms"]
    time_head += ["pair by pair s (scaled)", "times dearer"]
    size_head = ["chassis", "`-pairs`", "`-rules`", "all class keys", "class key of a chassis"]
    size_head += ["together, bytes"]
    lines = [machine(), "", row(time_head), "|" + "---|" * len(time_head)]
    lines += [row(times) for times, _, _ in found]
    lines += ["", row(size_head), "|" + "---|" * len(size_head)]
    lines += [row(sizes) for _, sizes, _ in found]
    print(*lines, sep="\n")
    if not given.no_write:
        write(lines)
    late = [text for _, _, texts in found for text in texts]
    print(*late, sep="\n", end="\n" if late else "", file=sys.stderr)
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
