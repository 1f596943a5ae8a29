# SPDX-License-Identifier: Apache-2.0
"""Measure what rules cost: a full decision, one changed chassis, and the bytes that SB carries.

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

from northd_ext.observe.views import ChassisFacts, EncapFacts, NbView, SbView  # noqa: E402
from northd_ext.policy.evaluation import evaluate  # noqa: E402
from northd_ext.policy.settling import Settling  # noqa: E402
from northd_ext.policy.target import Targeting  # noqa: E402
from northd_ext.report import make_report  # noqa: E402
from northd_ext.rollout.census import take_census  # noqa: E402 - after the path
from northd_ext.rollout.phases import step  # noqa: E402
from northd_ext.rollout.progress import JUST_NOW  # noqa: E402
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
from ovn_ipsec.model.status import Digest  # noqa: E402
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
SUITES = frozenset(Profile)


@dataclass(frozen=True)
class Published:
    """What an evaluation comes to."""

    classes: Mapping[str, ClassName | None]
    """By name of the chassis."""
    pairs: Mapping[ClassPair, Treatment]


class Evaluation:
    """Whole decisions of northd_ext: rules, classes, census, rollout, what to write and to say."""

    def __init__(self, world: World) -> None:
        """Prepare what the edges keep parsed."""
        asked = EncryptionPolicy(
            enabled=True, mode=DEFAULT.mode, profile=DEFAULT.profile, rules=world.rules
        )
        self.nb = NbView(
            asked=ParsedPolicy(policy=asked, errors=()),
            report={},
            switches=frozenset(f"net-{pod}" for pod in range(PODS)),
            networks=world.networks,
        )
        self.names = [one.chassis for one in world.subjects]
        self.policy: ClusterPolicy | None = None
        self.chassis = {
            one.chassis: _facts(one, UUID(int=n)) for n, one in enumerate(world.subjects)
        }
        self.members = {one.chassis: _membership(one) for one in world.subjects}

    def full(self) -> None:
        """Decide from nothing, as after a start."""
        self.targeting, self.settling = Targeting(), Settling()
        self.decide()

    def change(self, subject: Subject) -> None:
        """Change the labels of one chassis; its rows carry what they carried."""
        before = self.chassis[subject.chassis]
        self.chassis[subject.chassis] = replace(before, zones=subject.zones)

    def decide(self) -> None:
        """Decide as Northd does."""
        sb = SbView(policy=self.policy, chassis=self.chassis, memberships=self.members)
        written = self.settling.written_classes(sb)
        target, self.ledger = self.targeting.decide(self.nb, sb, written)
        census = take_census(sb.policy, self.ledger)
        self.step = step(self.nb, sb, target, census, JUST_NOW)
        self.plan = evaluate(self.step.policy, sb.policy, self.ledger)
        make_report(self.nb, sb, target, census, JUST_NOW)

    def write(self) -> None:
        """Let SB carry what was decided; the rows that are written come back as new facts."""
        self.policy = self.step.policy
        self.settling.stated(self.plan.changes)
        for change in self.plan.changes:
            facts = self.chassis[change.label]
            encap_ = replace(facts.encaps[0], text=change.mode, class_text=change.class_name)
            self.chassis[change.label] = replace(facts, encaps=(encap_,))

    def follow(self) -> None:
        """Let every controller say that it has followed."""
        if self.policy is not None:
            phase, generation = self.policy.phase, self.policy.generation
            digest = Digest(generation=generation, phase=phase, agent="", profiles=SUITES)
            for name, facts in self.chassis.items():
                self.chassis[name] = replace(facts, digest=digest)

    def settle(self) -> None:
        """Go on until there is nothing to write."""
        self.decide()
        while self.step.event is not None or self.plan.changes:
            self.write()
            self.follow()
            self.decide()

    def published(self) -> Published:
        """What SB would carry now."""
        matrix = self.ledger.matrix
        assert matrix is not None
        signatures = {name: self.ledger.encaps(name)[0][1].signature for name in self.names}
        classes = {name: self.ledger.class_of(one) for name, one in signatures.items()}
        return Published(classes, matrix.pairs)


def _facts(one: Subject, row: UUID) -> ChassisFacts:
    encap_ = EncapFacts(row=row, label=one.chassis, type="geneve", text=None, ip=one.ip)
    return ChassisFacts(
        name=one.chassis,
        hostname=one.hostname,
        zones=one.zones,
        azs=one.azs,
        encaps=(encap_,),
        digest=Digest(generation=0, phase=Phase.OFF, agent="", profiles=SUITES),
    )


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
    changes_s, idle_s = [], []
    for one in subjects[:CHANGES]:
        evaluation.change(replace(one, zones=frozenset({"dc0", "dc1", "dc2"})))
        decision_s = cpu_s(evaluation.decide)
        if len(set(evaluation.published().classes.values())) != classes + 1:
            raise SystemExit(f"{one.chassis} was to be in a new class")
        evaluation.write()
        changes_s.append(max(decision_s, cpu_s(evaluation.decide)))
        idle_s.append(cpu_s(evaluation.decide))
        evaluation.change(one)
        evaluation.settle()
    change_s = median(changes_s)
    late = []
    if full_s > FULL_MAX_S:
        late.append(f"{count} chassis: a full decision took {full_s:.3f} s, not {FULL_MAX_S}")
    if change_s > CHANGE_MAX_S:
        late.append(f"{count} chassis: one change took {change_s:.4f} s, not {CHANGE_MAX_S}")
    times = [
        *(str(count), str(RULES), str(classes)),
        *(f"{full_s * 1000:.1f}", f"{change_s * 1000:.2f}", f"{median(idle_s) * 1000:.2f}"),
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
    time_head = ["chassis", "rules", "classes", "full decision ms", "one changed chassis ms"]
    time_head += ["nothing changed ms", "pair by pair s (scaled)", "times more expensive"]
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
