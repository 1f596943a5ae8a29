# SPDX-License-Identifier: Apache-2.0
"""What a Session promises; run on FakeSession and on the real one with a real ovsdb-server.

A suite inherits SessionContract and gives the fixture ``bench``: a southbound with one chassis
``hv1`` (one encap, a digest ``agent=one``) and an empty SB_Global, and a way to open sessions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from ovn_ipsec.errors import OvsdbConflict, OvsdbError
from ovn_ipsec.ovsdb.session import Change, Row, RowChange

LOCK = "ovn_ipsec_contract"


class Bench(ABC):
    """A server, somebody else who writes there, and sessions on it."""

    @abstractmethod
    def open(self, lock: str | None = None, only: Mapping[str, list[list[str]]] | None = None):
        """Give a session that is open and has not been run."""

    @abstractmethod
    def settle(self, *sessions: Any) -> None:
        """Run sessions until nothing more comes."""

    @abstractmethod
    def report(self, name: str, **keys: str) -> None:
        """Let somebody else write keys into a Chassis_Private row, and make it if need be."""

    @abstractmethod
    def drop(self, table: str, name: str) -> None:
        """Let somebody else delete the row of that name."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the server."""

    @abstractmethod
    def start(self) -> None:
        """Start it again, with what it held."""


def named(session: Any, table: str, name: str) -> Row:
    """Give the row of that name."""
    (row,) = [row for row in session.rows(table) if row.name == name]
    return row


def kinds(changes: list[RowChange], table: str) -> list[Change]:
    """What happened to the rows of one table."""
    return [change.change for change in changes if change.table == table]


def agent(row: Row) -> str | None:
    """What a digest says."""
    found: str | None = row.external_ids.get("ovn-ipsec-agent")
    return found


def set_agent(row: Row, text: str) -> Callable[[Any], None]:
    """Write what a digest says."""

    def build(_txn: Any) -> None:
        row.verify("external_ids")
        row.setkey("external_ids", "ovn-ipsec-agent", text)

    return build


class SessionContract:
    """One test for each promise."""

    def test_before_anything_has_come_it_is_not_loaded(self, bench: Bench) -> None:
        """Unknown, and not empty."""
        session = bench.open()
        assert not session.loaded
        assert session.count("Chassis") == 0
        bench.settle(session)
        assert session.loaded
        assert session.connected
        assert session.count("Chassis") == 1
        assert session.first("SB_Global") is not None

    def test_a_closed_session_says_so(self, bench: Bench) -> None:
        """As one that was never opened."""
        session = bench.open()
        session.close()
        with pytest.raises(OvsdbError):
            session.receive()

    def test_references_are_rows(self, bench: Bench) -> None:
        """And sets are lists, maps are dicts."""
        session = bench.open()
        bench.settle(session)
        row = named(session, "Chassis", "hv1")
        (encap,) = row.encaps
        assert (encap.type, encap.ip, encap.options) == ("geneve", "10.0.0.1", {"csum": "true"})
        assert row.transport_zones == []
        assert session.idl.tables["Encap"].rows[encap.uuid] is encap

    def test_what_others_do_is_told(self, bench: Bench) -> None:
        """Created, updated with what it was, deleted with its last values; each once."""
        session = bench.open()
        bench.settle(session)
        assert kinds(session.changes(), "Chassis_Private") == [Change.CREATED]
        assert session.changes() == []
        assert not session.receive()
        bench.report("hv2", agent="two")
        bench.settle(session)
        (created,) = session.changes()
        assert (created.change, agent(created.row)) == (Change.CREATED, "two")
        bench.report("hv2", agent="three")
        bench.settle(session)
        (updated,) = session.changes()
        assert updated.row is created.row
        assert (updated.change, agent(updated.row)) == (Change.UPDATED, "three")
        assert updated.before["external_ids"]["ovn-ipsec-agent"] == "two"
        assert "name" not in updated.before
        bench.drop("Chassis_Private", "hv2")
        bench.settle(session)
        (deleted,) = session.changes()
        assert deleted.row is created.row
        assert (deleted.change, deleted.row.name) == (Change.DELETED, "hv2")

    def test_a_write_is_seen_when_the_server_sends_it_back(self, bench: Bench) -> None:
        """Busy until then."""
        session = bench.open()
        bench.settle(session)
        session.changes()
        row = named(session, "Chassis_Private", "hv1")
        session.transact(set_agent(row, "mine"))
        assert session.busy
        assert agent(row) == "one"
        with pytest.raises(OvsdbError):
            session.transact(set_agent(row, "again"))
        bench.settle(session)
        assert not session.busy
        assert session.failure() is None
        assert agent(row) == "mine"
        assert kinds(session.changes(), "Chassis_Private") == [Change.UPDATED]

    def test_while_it_is_made_a_write_is_seen(self, bench: Bench) -> None:
        """And not afterwards, before the server says so."""
        session = bench.open()
        bench.settle(session)
        row = named(session, "Chassis_Private", "hv1")
        found: list[object] = []

        def build(_txn: Any) -> None:
            row.setkey("external_ids", "ovn-ipsec-agent", "mine")
            found.append(agent(row))
            row.delkey("external_ids", "ovn-ipsec-agent")

        with pytest.raises(ZeroDivisionError):
            session.transact(lambda txn: (build(txn), 1 / 0))
        assert found == ["mine"]
        assert agent(row) == "one"
        assert not session.busy

    def test_a_write_of_nothing_ends_at_once(self, bench: Bench) -> None:
        """Also one that verifies."""
        session = bench.open()
        bench.settle(session)
        row = named(session, "Chassis_Private", "hv1")
        session.transact(lambda _txn: row.verify("external_ids"))
        assert not session.busy
        assert session.failure() is None

    def test_a_key_leaves_the_others(self, bench: Bench) -> None:
        """Also those that came meanwhile; without verify() nobody is in the way."""
        session = bench.open()
        bench.settle(session)
        row = named(session, "Chassis_Private", "hv1")
        bench.report("hv1", phase="off")
        session.transact(lambda _txn: row.setkey("external_ids", "ovn-ipsec-agent", "mine"))
        bench.settle(session)
        assert row.external_ids == {"ovn-ipsec-agent": "mine", "ovn-ipsec-phase": "off"}
        session.transact(lambda _txn: row.delkey("external_ids", "ovn-ipsec-agent"))
        bench.settle(session)
        assert row.external_ids == {"ovn-ipsec-phase": "off"}

    def test_who_verifies_fails_when_somebody_was_faster(self, bench: Bench) -> None:
        """As a conflict, without any part of the write."""
        session = bench.open()
        bench.settle(session)
        row = named(session, "Chassis_Private", "hv1")
        bench.report("hv1", agent="faster")
        session.transact(set_agent(row, "mine"))
        bench.settle(session)
        assert isinstance(session.failure(), OvsdbConflict)
        assert session.failure() is None
        assert agent(row) == "faster"

    def test_what_the_server_refuses_leaves_nothing(self, bench: Bench) -> None:
        """A second row of one name; that is no conflict."""
        session = bench.open()
        bench.settle(session)
        row = named(session, "Chassis_Private", "hv1")

        def build(txn: Any) -> None:
            set_agent(row, "mine")(txn)
            txn.insert(txn.idl.tables["Chassis_Private"]).name = "hv1"

        session.transact(build)
        bench.settle(session)
        failure = session.failure()
        assert isinstance(failure, OvsdbError)
        assert not isinstance(failure, OvsdbConflict)
        assert agent(row) == "one"
        assert session.count("Chassis_Private") == 1

    def test_a_row_that_has_gone_is_no_error(self, bench: Bench) -> None:
        """A key for nobody."""
        session = bench.open()
        bench.settle(session)
        row = named(session, "Chassis_Private", "hv1")
        bench.drop("Chassis_Private", "hv1")
        session.transact(lambda _txn: row.setkey("external_ids", "ovn-ipsec-agent", "mine"))
        bench.settle(session)
        assert session.failure() is None
        assert session.count("Chassis_Private") == 0

    def test_rows_that_refer_to_each_other_are_made_at_once(self, bench: Bench) -> None:
        """And those that nobody refers to go with who did."""
        session = bench.open()
        bench.settle(session)
        session.changes()

        def build(txn: Any) -> None:
            encap = txn.insert(txn.idl.tables["Encap"])
            encap.type, encap.ip, encap.chassis_name = "geneve", "10.0.0.2", "hv2"
            row = txn.insert(txn.idl.tables["Chassis"])
            row.name, row.encaps = "hv2", [encap]

        session.transact(build)
        bench.settle(session)
        assert session.failure() is None
        changes = session.changes()
        assert kinds(changes, "Chassis") == kinds(changes, "Encap") == [Change.CREATED]
        row = named(session, "Chassis", "hv2")
        assert [encap.ip for encap in row.encaps] == ["10.0.0.2"]
        bench.drop("Chassis", "hv2")
        bench.settle(session)
        changes = session.changes()
        assert kinds(changes, "Chassis") == kinds(changes, "Encap") == [Change.DELETED]

    def test_values_of_a_set_come_and_go(self, bench: Bench) -> None:
        """References, and a row of a table that is no root goes with the last of them."""
        session = bench.open()
        bench.settle(session)
        row = named(session, "Chassis", "hv1")
        (old,) = row.encaps

        def build(txn: Any) -> None:
            encap = txn.insert(txn.idl.tables["Encap"])
            encap.type, encap.ip, encap.chassis_name = "vxlan", "10.0.0.1", "hv1"
            row.addvalue("encaps", encap)

        session.transact(build)
        bench.settle(session)
        assert {encap.type for encap in row.encaps} == {"geneve", "vxlan"}
        session.transact(lambda _txn: row.delvalue("encaps", old))
        bench.settle(session)
        assert session.failure() is None
        assert [encap.type for encap in row.encaps] == ["vxlan"]
        assert session.count("Encap") == 1

    def test_after_a_reconnection_all_rows_come_anew(self, bench: Bench) -> None:
        """As other objects, after a word of those that have gone; loaded all the time."""
        session, writer = bench.open(), bench.open()
        bench.settle(session, writer)
        bench.report("hv2", agent="two")
        bench.settle(session, writer)
        session.changes()
        before = named(session, "Chassis_Private", "hv1")
        bench.stop()
        bench.settle(session)
        assert session.loaded
        assert not session.connected
        assert session.count("Chassis_Private") == 2
        assert session.changes() == []
        bench.start()
        bench.drop("Chassis_Private", "hv2")
        bench.settle(session)
        assert session.connected
        assert [row.name for row in session.rows("Chassis_Private")] == ["hv1"]
        assert named(session, "Chassis_Private", "hv1") is not before
        changes = [change for change in session.changes() if change.table == "Chassis_Private"]
        assert [(change.change, change.row.name) for change in changes] == [
            (Change.DELETED, "hv2"),
            (Change.CREATED, "hv1"),
        ]

    def test_a_write_without_a_connection_is_a_conflict(self, bench: Bench) -> None:
        """It is tried again when rows have come."""
        session = bench.open()
        bench.settle(session)
        row = named(session, "Chassis_Private", "hv1")
        bench.stop()
        bench.settle(session)
        session.transact(set_agent(row, "mine"))
        assert not session.busy
        assert isinstance(session.failure(), OvsdbConflict)
        bench.start()

    def test_one_of_several_holds_the_lock(self, bench: Bench) -> None:
        """The next gets it when it is given up or its holder goes; writes need it."""
        first = bench.open(lock=LOCK)
        bench.settle(first)
        second = bench.open(lock=LOCK)
        bench.settle(first, second)
        assert (first.has_lock, second.has_lock) == (True, False)
        second.transact(set_agent(named(second, "Chassis_Private", "hv1"), "second"))
        bench.settle(first, second)
        assert isinstance(second.failure(), OvsdbConflict)
        first.hold_lock(False)
        bench.settle(first, second)
        assert (first.has_lock, second.has_lock) == (False, True)
        second.transact(set_agent(named(second, "Chassis_Private", "hv1"), "second"))
        bench.settle(first, second)
        assert second.failure() is None
        assert agent(named(first, "Chassis_Private", "hv1")) == "second"
        first.hold_lock(True)
        bench.settle(first, second)
        second.close()
        bench.settle(first)
        assert first.has_lock

    def test_only_rows_of_a_condition_come(self, bench: Bench) -> None:
        """Of that table; any of several."""
        bench.report("hv3", agent="three")
        where = {"Chassis_Private": [["name", "==", "hv2"], ["name", "==", "hv1"]]}
        session = bench.open(only=where)
        bench.settle(session)
        session.changes()
        assert [row.name for row in session.rows("Chassis_Private")] == ["hv1"]
        assert session.count("Chassis") == 1
        bench.report("hv3", agent="four")
        bench.settle(session)
        assert session.changes() == []
        bench.report("hv2", agent="two")
        bench.settle(session)
        assert kinds(session.changes(), "Chassis_Private") == [Change.CREATED]
