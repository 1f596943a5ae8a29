# SPDX-License-Identifier: Apache-2.0
"""northd_ext.daemon: the whole loop, in virtual time, beside databases in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid5

import pytest
from structlog.testing import capture_logs

from northd_ext.daemon import Northd
from northd_ext.rollout.gate import PATIENCE_S
from ovn_ipsec.ovsdb.session import Change, RowChange

NAMESPACE = UUID(int=7)
BEGIN = datetime(2026, 11, 27, tzinfo=UTC)
SPAN_S = 300.0
CHASSIS = ("hv1", "hv2", "hv3")


class Row:
    """A row: its attributes are columns."""

    def __init__(self, database: Database, table: str, **columns: Any) -> None:
        self.__dict__.update(columns)
        self._database, self._table = database, table
        self.uuid = uuid5(NAMESPACE, f"{table} {columns.get('name', columns.get('ip', ''))}")

    def verify(self, _column: str) -> None:
        """Nobody else writes."""

    def setkey(self, column: str, key: str, text: str) -> None:
        """Write one key of a map."""
        setattr(self, column, {**getattr(self, column), key: text})
        self._database.touch(self)

    def delkey(self, column: str, key: str) -> None:
        """Remove one key of a map."""
        held = getattr(self, column)
        setattr(self, column, {k: v for k, v in held.items() if k != key})
        self._database.touch(self)

    @property
    def table(self) -> str:
        """Where it stands."""
        return self._table


class Database:
    """A database and the session to it; a write is on its way until the next run."""

    loaded = connected = has_lock = can_write = True
    remotes, problem = "memory", ""

    def __init__(self) -> None:
        self.tables: defaultdict[str, dict[UUID, Row]] = defaultdict(dict)
        self.recorded: list[RowChange] = []
        self.busy, self.slow, self.writes = False, True, 0
        self.changed = True

    @property
    def idl(self) -> Any:
        """Its tables, as the library has them."""
        tables = defaultdict(lambda: SimpleNamespace(rows={}))
        tables.update({name: SimpleNamespace(rows=rows) for name, rows in self.tables.items()})
        return SimpleNamespace(tables=tables)

    def add(self, table: str, **columns: Any) -> Row:
        """Make a row."""
        row = Row(self, table, **columns)
        self.tables[table][row.uuid] = row
        self._record(row, Change.CREATED)
        return row

    def drop(self, row: Row) -> None:
        """Remove a row."""
        del self.tables[row.table][row.uuid]
        self._record(row, Change.DELETED)

    def touch(self, row: Row) -> None:
        """Somebody has changed a row."""
        self._record(row, Change.UPDATED)

    def _record(self, row: Row, change: Change) -> None:
        self.recorded.append(RowChange(row.table, change, row, {}))
        self.changed = True

    def open(self) -> None:
        """Connect."""

    def close(self) -> None:
        """Disconnect."""

    def receive(self) -> bool:
        """Take in what has arrived, and that a write has been taken."""
        self.busy = False
        changed, self.changed = self.changed, False
        return changed

    def wait(self, poller: Any) -> None:
        """Wake if something has arrived."""
        if self.busy or self.changed:
            poller.immediate_wake()

    def hold_lock(self, wanted: bool) -> None:
        """Nobody else wants it."""

    def failure(self) -> None:
        """No write fails."""

    def changes(self) -> list[RowChange]:
        """What has been touched."""
        taken, self.recorded = self.recorded, []
        return taken

    def rows(self, table: str) -> Iterator[Row]:
        """All rows."""
        return iter(list(self.tables[table].values()))

    def first(self, table: str) -> Row | None:
        """The only row."""
        return next(self.rows(table), None)

    def transact(self, build: Callable[[Any], None]) -> None:
        """Write."""
        assert not self.busy
        build(SimpleNamespace(add_comment=lambda _: None))
        self.busy = self.slow
        self.writes += 1


class Poller:
    """What the loop would wait for, in seconds."""

    def __init__(self) -> None:
        self.sleep_s = 3600.0

    def timer_wait(self, ms: int) -> None:
        """A time."""
        self.sleep_s = min(self.sleep_s, ms / 1000)

    def immediate_wake(self) -> None:
        """Now."""
        self.sleep_s = 0.0


class World:
    """Central, in virtual time; the test plays operator and controllers."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.nb, self.sb = Database(), Database()
        self.nb_global = self.nb.add("NB_Global", ipsec=False, options={}, external_ids={})
        self.sb_global = self.sb.add("SB_Global", external_ids={})
        self.chassis: dict[str, Row] = {}
        self.private: dict[str, Row] = {}
        for number, name in enumerate(CHASSIS, start=1):
            ip, options = f"10.0.0.{number}", {}
            encap = self.sb.add("Encap", type="geneve", ip=ip, options=options, chassis_name=name)
            self.chassis[name] = self.sb.add(
                "Chassis",
                name=name,
                hostname=name,
                encaps=[encap],
                transport_zones=[],
                other_config={},
            )
            self.private[name] = self.sb.add("Chassis_Private", name=name, external_ids={})
        self.start()

    def start(self) -> None:
        """Start northd, or another one in its place, which knows nothing."""
        for database in (self.nb, self.sb):
            database.recorded = []
        process = SimpleNamespace(
            stopping=False,
            exporter=None,
            open=lambda: None,
            close=lambda: None,
            poll=lambda: None,
            tell=lambda _: None,
            problems=list,
            command=lambda *_: None,
            wait=lambda _: None,
        )
        clock = SimpleNamespace(
            monotonic=lambda: self.now,
            utc_now=lambda: BEGIN + timedelta(seconds=self.now),
        )
        self.northd = Northd(
            process,
            self.nb,  # type: ignore[arg-type]
            self.sb,  # type: ignore[arg-type]
            Database(),  # type: ignore[arg-type]
            clock=clock,
        )
        self.northd.open()

    def run(
        self, seconds: float, each: Callable[[], None] = lambda: None, tick: float = 1.0
    ) -> None:
        """Let time pass; somebody does something every tick."""
        end = self.now + seconds
        due = self.now
        while self.now < end:
            if self.now >= due:
                each()
                due += tick
            for _ in range(20):
                self.northd.turn()
                poller = Poller()
                self.northd.wait(poller)
                if poller.sleep_s > 0.0:
                    break
            else:
                pytest.fail("it never sleeps")
            self.now = min(end, due, self.now + poller.sleep_s)

    def switch(self, on: bool) -> None:
        """What the operator does."""
        self.nb_global.ipsec = on
        self.nb.touch(self.nb_global)

    def option(self, key: str, text: str) -> None:
        """The same."""
        self.nb_global.setkey("options", f"ovn-ipsec-{key}", text)

    def follow(self, *names: str, pairs: str = "encrypted=2") -> None:
        """Controllers do as SB says."""
        for name in names or CHASSIS:
            keys = {"pairs": pairs, "agent": "a", "phase": self.phase}
            keys["generation"] = self.said("generation", "0")
            for key, text in keys.items():
                if self.private[name].external_ids.get(f"ovn-ipsec-{key}") != text:
                    self.private[name].setkey("external_ids", f"ovn-ipsec-{key}", text)

    def said(self, key: str, default: str = "") -> str:
        """What SB carries."""
        return str(self.sb_global.external_ids.get(f"ovn-ipsec-{key}", default))

    def told(self, key: str) -> str | None:
        """What the operator reads."""
        found: str | None = self.nb_global.external_ids.get(f"ovn-ipsec-{key}")
        return found

    @property
    def phase(self) -> str:
        """Of the policy."""
        return self.said("phase", "off")

    def enforce(self) -> None:
        """Switch on, and go the whole way."""
        self.switch(True)
        self.run(10.0, self.follow)
        assert (self.phase, self.told("state")) == ("enforce", "enforced")

    def empty_northbound(self) -> None:
        """Another database, under the same address."""
        self.nb.drop(self.nb_global)
        self.nb_global = self.nb.add("NB_Global", ipsec=False, options={}, external_ids={})


@pytest.fixture(params=[True, False], ids=["slow", "quick"])
def world(request: pytest.FixtureRequest) -> World:
    """Central with three chassis, whose databases answer late or at once."""
    made = World()
    made.nb.slow = made.sb.slow = request.param
    return made


def test_way_on_and_off(world: World) -> None:
    """Generations are times, and NB is told of each; then it sleeps."""
    world.enforce()
    generation = world.said("generation")
    since = datetime.fromtimestamp(int(generation) / 1000, UTC) - BEGIN
    assert 1000.0 <= since.total_seconds() <= 1011.0
    assert world.told("generation") == generation
    assert world.said("origin") == str(world.nb_global.uuid)
    writes = (world.nb.writes, world.sb.writes)
    world.run(4000.0)
    assert (world.nb.writes, world.sb.writes) == writes
    world.switch(False)
    world.run(10.0, world.follow)
    assert (world.phase, world.told("state")) == ("off", "off")
    assert int(world.said("generation")) > int(generation)


def test_what_cannot_be_written_is_not_told_as_written(world: World) -> None:
    """A southbound that refuses, or is away, gets it once it may; until then nothing is booked."""
    world.enforce()
    writes = world.sb.writes
    world.sb.can_write = False
    with capture_logs() as lines:
        world.switch(False)
        world.run(60.0, world.follow)
    assert not [line for line in lines if line["event"] == "policy"]
    assert (world.sb.writes, world.phase) == (writes, "enforce")
    world.sb.can_write = True
    world.sb.changed = True
    world.run(10.0, world.follow)
    assert world.phase == "off"


@pytest.mark.parametrize("restarted", [False, True])
def test_emptied_northbound_is_held_until_it_is_confirmed(world: World, restarted: bool) -> None:
    """By the northd that saw it happen, and by one that starts beside it."""
    world.enforce()
    generation = world.said("generation")
    world.empty_northbound()
    if restarted:
        world.start()
    world.run(100.0, world.follow)
    assert (world.phase, world.said("generation")) == ("enforce", generation)
    assert world.told("state") == "enforced (degraded)"
    assert f"ovn-ipsec-confirm={generation}" in str(world.told("error"))
    assert world.told("generation") is None
    world.option("confirm", generation)
    world.run(10.0, world.follow)
    assert (world.phase, world.told("state"), world.told("error")) == ("off", "off", None)
    assert world.told("generation") == world.said("generation")


def test_emptied_northbound_that_is_switched_on_is_the_one_that_holds(world: World) -> None:
    """Nothing is weaker than before, so nobody need confirm anything, also to switch it off."""
    world.enforce()
    generation = world.said("generation")
    world.empty_northbound()
    world.run(10.0)
    world.switch(True)
    world.run(10.0)
    assert (world.told("state"), world.said("generation")) == ("enforced", generation)
    world.switch(False)
    world.run(10.0, world.follow)
    assert world.phase == "off"


def test_whoever_takes_over_while_everything_is_on_its_way_follows(world: World) -> None:
    """A northd that dies after each of its writes, and another one in its place."""
    world.switch(True)
    for _ in range(12):
        writes = world.sb.writes + world.nb.writes
        for _ in range(40):
            world.follow()
            world.run(0.3)
            if world.sb.writes + world.nb.writes > writes:
                break
        world.start()
    world.run(5.0, world.follow)
    assert (world.phase, world.told("state"), world.told("error")) == ("enforce", "enforced", None)


def hostile(world: World) -> Callable[[], None]:
    """hv3 writes all that it may, all the time, another thing each time."""
    count = iter(range(10**9))

    def act() -> None:
        n = next(count)
        chassis, private = world.chassis["hv3"], world.private["hv3"]
        chassis.transport_zones = [f"z{n % 3}"]
        world.sb.touch(chassis)
        chassis.encaps[0].setkey("options", "ovn-ipsec-class", f"c{n}")
        chassis.encaps[0].setkey("options", "ovn-ipsec", ("off", "junk")[n % 7 % 2])
        private.setkey("external_ids", "ovn-ipsec-pairs", f"blocked={10**7 - n}")
        private.setkey(
            "external_ids", "ovn-ipsec-generation", (f"{10**15 + n}", "junk", "1")[n % 7 % 3]
        )
        private.setkey("external_ids", "ovn-ipsec-agent", "a")
        private.setkey("external_ids", "ovn-ipsec-problem", f"problem {n}")
        if n % 100 == 99:
            world.sb.drop(chassis)
            world.chassis["hv3"] = world.sb.add("Chassis", **columns(chassis))
        world.follow("hv1", "hv2", pairs="encrypted=1 pending=1")

    return act


def columns(row: Row) -> dict[str, Any]:
    """What stands in a row."""
    return {k: v for k, v in vars(row).items() if k != "uuid" and not k.startswith("_")}


@pytest.mark.slow
def test_hostile_chassis_holds_nothing_up_and_is_bounded_work(world: World) -> None:
    """Switched on with it: enforced after its time; a rule moves it; writes and lines are few."""
    world.option("rule-1", "zone:z1 any off")
    world.switch(True)
    with capture_logs() as lines:
        world.run(60.0 + PATIENCE_S + 5.0, hostile(world), tick=0.3)
        assert world.phase == "enforce"
        assert "hv3" in str(world.told("summary"))
        nb_before, sb_before, before = world.nb.writes, world.sb.writes, len(lines)
        world.run(SPAN_S, hostile(world), tick=0.3)
    assert world.phase == "enforce"
    assert world.nb.writes - nb_before <= SPAN_S + 1
    assert world.sb.writes - sb_before <= SPAN_S / 8 + 3 * SPAN_S / 30 + 30
    said = [line["event"] for line in lines[before:]]
    assert said.count("refused") <= SPAN_S / 60 + 1
    assert said.count("policy") <= 2 * SPAN_S / 30 + 2
    assert len(said) <= SPAN_S / 2
    world.option("quarantine", "hv3")
    world.run(5.0, hostile(world), tick=0.3)
    assert world.said("quarantine") == "hv3"
    assert "in quarantine: hv3" in str(world.told("summary"))
    world.option("rule-2", "junk")
    world.option("quarantine", "")
    world.run(5.0, hostile(world), tick=0.3)
    assert world.said("quarantine") == ""


def test_chassis_with_thousands_of_encaps_has_sixteen(world: World) -> None:
    """The others are no work for anybody, and are one line in the log."""
    chassis = world.chassis["hv3"]
    options: dict[str, str] = {}
    many = [
        world.sb.add("Encap", type="geneve", ip=f"10.1.{n // 250}.{n % 250}", options=options)
        for n in range(4000)
    ]
    chassis.encaps = [*chassis.encaps, *many]
    world.sb.touch(chassis)
    with capture_logs() as lines:
        world.enforce()
        world.run(60.0, world.follow)
    marked = [row for row in world.sb.rows("Encap") if "ovn-ipsec" in row.options]
    assert len(marked) == 2 + 16
    (said,) = [line for line in lines if line["event"] == "refused"]
    assert (said["row"], said["text"], said["reason"]) == ("hv3", "4001", "more than 16 encaps")


def test_southbound_of_a_newer_program_is_left_alone(world: World) -> None:
    """Nothing is written there, whatever NB asks for; and NB is not told that anything is off."""
    world.enforce()
    world.sb_global.setkey("external_ids", "ovn-ipsec-schema", "2")
    writes = world.sb.writes
    world.switch(False)
    world.run(100.0, world.follow)
    assert world.sb.writes == writes
    assert world.told("state") == "enforced (degraded)"
    assert "upgrade it" in str(world.told("error"))
