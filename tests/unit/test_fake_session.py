# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D102 - a bench does what Bench says
"""FakeSession keeps the promises of a Session; and what only it can be made to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ovn_ipsec.errors import OvsdbConflict, OvsdbError
from ovn_ipsec.ovsdb.schemas import SOUTHBOUND
from tests.contracts.session import Bench, SessionContract, agent, named, set_agent
from tests.fakes.ovsdb import FakeDatabase, FakeSession
from tests.fakes.timeline import Timeline


class FakeBench(Bench):
    """A server in memory."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.database = FakeDatabase(self.timeline, SOUTHBOUND)
        self.database.insert("SB_Global")
        self.make_chassis()
        self.report("hv1", agent="one")

    def make_chassis(self) -> None:
        """Write hv1 with its encap, in one transaction."""
        session = self.open()
        self.settle(session)

        def build(txn: Any) -> None:
            encap = txn.insert(txn.idl.tables["Encap"])
            encap.type, encap.ip, encap.chassis_name = "geneve", "10.0.0.1", "hv1"
            encap.options = {"csum": "true"}
            row = txn.insert(txn.idl.tables["Chassis"])
            row.name, row.encaps = "hv1", [encap]

        session.transact(build)
        self.settle(session)
        session.close()

    def open(
        self, lock: str | None = None, only: Mapping[str, list[list[str]]] | None = None
    ) -> FakeSession:
        session = FakeSession(
            "tcp:central",
            SOUTHBOUND,
            find=lambda _remotes: self.database,
            timeline=self.timeline,
            lock=lock,
            only=only,
        )
        session.open()
        return session

    def settle(self, *sessions: FakeSession) -> None:
        for _ in range(20):
            self.timeline.run(1.0)
            for session in sessions:
                session.receive()

    def report(self, name: str, **keys: str) -> None:
        row = self.database.find("Chassis_Private", name=name)
        said = {f"ovn-ipsec-{key}": text for key, text in keys.items()}
        if row is None:
            self.database.insert("Chassis_Private", name=name, external_ids=said)
        else:
            held = self.database.tables["Chassis_Private"][row]["external_ids"]
            self.database.update("Chassis_Private", row, external_ids={**held, **said})

    def drop(self, table: str, name: str) -> None:
        row = self.database.find(table, name=name)
        assert row is not None
        self.database.delete(table, row)

    def stop(self) -> None:
        self.database.stop()

    def start(self) -> None:
        self.database.start()


@pytest.fixture
def bench() -> FakeBench:
    """A server in memory."""
    return FakeBench()


class TestFakeSession(SessionContract):
    """The contract."""


def test_a_server_that_fails_says_so(bench: FakeBench) -> None:
    """An error, and no conflict."""
    session = bench.open()
    bench.settle(session)
    bench.database.refuses = 1
    session.transact(set_agent(named(session, "Chassis_Private", "hv1"), "mine"))
    bench.settle(session)
    failure = session.failure()
    assert isinstance(failure, OvsdbError)
    assert not isinstance(failure, OvsdbConflict)


def test_a_partition_is_noticed_late_and_holds_a_write_back(bench: FakeBench) -> None:
    """Connected until probes fail; then the write is given up, whatever came of it."""
    session = bench.open()
    bench.settle(session)
    row = named(session, "Chassis_Private", "hv1")
    session.partition(60.0)
    session.transact(set_agent(row, "mine"))
    bench.timeline.run(9.0)
    session.receive()
    assert (session.connected, session.busy) == (True, True)
    bench.timeline.run(2.0)
    session.receive()
    assert not session.connected
    bench.timeline.run(60.0)
    bench.settle(session)
    assert isinstance(session.failure(), OvsdbConflict)
    assert agent(named(session, "Chassis_Private", "hv1")) == "one"


def test_a_write_whose_answer_is_lost_has_happened(bench: FakeBench) -> None:
    """It is reported as a conflict all the same."""
    session = bench.open()
    bench.settle(session)
    session.transact(set_agent(named(session, "Chassis_Private", "hv1"), "mine"))
    bench.timeline.run(session.delay_s)
    session.cut()
    bench.settle(session)
    assert isinstance(session.failure(), OvsdbConflict)
    assert agent(named(session, "Chassis_Private", "hv1")) == "mine"


def test_a_restored_database_is_read_as_it_is(bench: FakeBench) -> None:
    """Its sessions come back to other rows."""
    session = bench.open()
    bench.settle(session)
    backup = bench.database.snapshot()
    bench.report("hv1", agent="later")
    bench.settle(session)
    bench.database.restore(backup)
    bench.settle(session)
    assert agent(named(session, "Chassis_Private", "hv1")) == "one"
    bench.database.restore()
    bench.settle(session)
    assert session.count("Chassis_Private") == session.count("SB_Global") == 0
