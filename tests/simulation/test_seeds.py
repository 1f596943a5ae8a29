# SPDX-License-Identifier: Apache-2.0
"""The first seeds of the simulator; `make simulate SEEDS=0-20000` plays more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.plan.guard import ClearFlow, Direction
from tests.fakes.ovsdb import Op
from tests.simulation import logs
from tests.simulation.host import Host
from tests.simulation.many import try_many
from tests.simulation.play import play, schedule_of, shrink
from tests.simulation.steps import ACTS, Step
from tests.simulation.watch import DISK_BYTES
from tests.simulation.world import World

SEEDS = 300
MISDEEDS: dict[str, Callable[[World, Host, int], None]] = {}


Act = Callable[[World, Host, int], None]


def misdeed(act: Act) -> Act:
    """Let schedules of these tests name it; it is in none that a seed makes."""
    MISDEEDS[act.__name__] = act
    return act


# What no schedule of a seed has: deeds that break each promise, to see that they are seen.


@misdeed
def leak(_world: World, host: Host, _number: int) -> None:
    """Take both layers and all policies away."""
    host.kernel.flush_nft()
    host.kernel.flush_xfrm()


@misdeed
def accept(world: World, host: Host, _number: int) -> None:
    """Let clear packets in, and none out."""
    _open(world, host, Direction.IN)


@misdeed
def emit(world: World, host: Host, _number: int) -> None:
    """Let clear packets out, and none in."""
    _open(world, host, Direction.OUT)


def _open(world: World, host: Host, way: Direction) -> None:
    kernel = host.kernel
    others = [one for one in world.hosts.values() if one is not host]
    flows = {ClearFlow(direction=way, local=host.ip, remote=one.ip, port=6081) for one in others}
    for name, state in kernel.layers.items():
        assert state is not None
        kernel.layers[name] = replace(state, may_clear=frozenset(flows))
    kernel.changed()


@misdeed
def take(world: World, host: Host, _number: int) -> None:
    """Take clear packets in from the start, and say that nothing does."""
    way = next(way for way in world.wire.ways.values() if way.dst is host)
    way.accepts_clear = True
    for held in world.watch._held.values():
        held.closed_in = False
    world.watch._look_in(host, world.watch.acknowledged[host.chassis])


@misdeed
def chatter(_world: World, host: Host, _number: int) -> None:
    """Log without end."""
    logs.lines[host.name] += 10_000


@misdeed
def pester(_world: World, host: Host, _number: int) -> None:
    """Call without end."""
    assert host.controller is not None
    host.controller.calls["ike.observe"] += 10_000


@misdeed
def hoard(_world: World, host: Host, _number: int) -> None:
    """Fill the disk."""
    (host.state / "reqids").write_bytes(b"x" * (DISK_BYTES + 1))


@misdeed
def linger(world: World, _host: Host, _number: int) -> None:
    """Never leave prepare."""
    for process in world.northds:
        process.program = None
    sb = world.central.sb
    ((uuid, held),) = sb.tables["SB_Global"].items()
    keys = {**held["external_ids"], "ovn-ipsec-phase": "prepare"}
    sb.update("SB_Global", uuid, external_ids=keys)


@misdeed
def lose(world: World, host: Host, _number: int) -> None:
    """Lose the SAs."""
    world.watch.hitless = True
    host.kernel.flush_states()


@misdeed
def boast(world: World, host: Host, _number: int) -> None:
    """Report enforce for a policy that nobody has seen."""
    sb = world.central.sb
    for process in (*world.northds, *(one.controller for one in world.hosts.values())):
        assert process is not None
        process.program = None
    keys = {"ovn-ipsec-generation": "99999999", "ovn-ipsec-phase": "enforce"}
    row = sb.find("Chassis_Private", name=host.chassis)
    assert row is not None
    host.kernel.flush_nft()
    world.watch.forget()
    host.kernel.flush_xfrm()
    for table in ("SB_Global", "Chassis_Private"):
        for uuid, held in list(sb.tables[table].items()):
            if table == "SB_Global" or uuid == row:
                said = {"external_ids": {**held["external_ids"], **keys}}
                # By the chassis itself: what a database says that was restored is no report.
                itself = next(one for one in sb.sessions if one.owner == host.name)
                sb.transact([Op("update", table, uuid, said)], by=itself)


@misdeed
def spin(_world: World, host: Host, _number: int) -> None:
    """Let a controller run without a pause."""
    assert host.controller is not None
    host.controller.program.wait = lambda poller: poller.immediate_wake()  # type: ignore[union-attr, method-assign]


@misdeed
def deaf(_world: World, host: Host, _number: int) -> None:
    """Let the IKE daemon of a host hear nothing any more, and forget what it has."""
    host.charon.stop()
    host.charon.receive = lambda *_: None  # type: ignore[method-assign]


@misdeed
def order(world: World, _host: Host, _number: int) -> None:
    """Let northd switch off what the operator has on."""
    process = next(one for one in world.northds if one.program.sb.has_lock)  # type: ignore[union-attr]
    session = process.program.sb  # type: ignore[union-attr]
    row = session.first("SB_Global")
    session.transact(lambda _txn: row.setkey("external_ids", "ovn-ipsec-phase", "relax"))


def test_every_seed_ends_well() -> None:
    """Nothing is clear, lost, wrongly acknowledged or too much work, and all converges."""
    failures = [result.failure for result in try_many(range(SEEDS)) if result.failure]
    assert not failures, "\n\n".join(["", *failures])


def test_a_seed_is_always_the_same() -> None:
    """Down to the last message."""
    logs.capture()

    def told(seed: int) -> tuple[object, ...]:
        world = World(seed)
        try:
            world.run(5.0)
            world.intent.enabled = True
            world.central.switch(True)
            world.watch.decided()
            world.run(40.0)
            passes = [host.controller.passes for host in world.hosts.values() if host.controller]
            return world.wire.messages, passes, world.central.policy(), world.central.sb.tables
        finally:
            world.close()

    assert schedule_of(7) == schedule_of(7) != schedule_of(8)
    assert told(7) == told(7)


@pytest.fixture
def misdeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schedules may have what breaks each promise."""
    for name, act in MISDEEDS.items():
        monkeypatch.setitem(ACTS, name, act)


@pytest.mark.usefixtures("misdeeds")
def test_a_failure_is_cut_down_to_its_least_form() -> None:
    """What does not matter for it goes, and the gaps stay."""
    logs.capture()
    noise = [Step(1.0, "renew", number) for number in range(3)]
    schedule = [Step(1.0, "on"), *noise, Step(35.0, "leak"), *noise]
    assert play(schedule, 1).violation is not None
    least = shrink(schedule, 1)
    assert [step.what for step in least] == ["on", "leak"]
    assert sum(step.gap for step in least) == 39.0
    assert play(least, 1).violation is not None


@pytest.mark.usefixtures("misdeeds")
@pytest.mark.parametrize(
    ("what", "word", "text"),
    [
        ("leak", "clear", ""),
        ("accept", "clear", "clear packets are taken in"),
        ("emit", "clear", "leaves in clear"),
        ("lose", "lost", "does not pass"),
        ("boast", "acknowledged", "is clear"),
        ("take", "acknowledged", "takes"),
        ("spin", "work", "passes a second"),
        ("pester", "work", "calls a second"),
        ("chatter", "work", "log lines a second"),
        ("hoard", "work", "bytes on disk"),
        ("linger", "converged", "in prepare for"),
        ("deaf", "converged", "not within"),
        ("order", "ordered", "relax"),
    ],
)
def test_what_is_looked_at_can_be_seen(what: str, word: str, text: str) -> None:
    """A watch that nothing could offend would find nothing."""
    logs.capture()
    schedule = [Step(1.0, "on"), Step(45.0, what), *(Step(45.0, "on") for _ in range(4))]
    violation = play(schedule, 1).violation
    assert violation is not None
    assert violation.what == word
    assert text in violation.text
