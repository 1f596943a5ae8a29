# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.ovsdb.session on a real ovsdb-server: what comes over it, and what does not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import ovs.poller
import pytest
from ovsdb import Central, central, missing_programs, wait_until

from ovn_ipsec.lab.cluster.jsonrpc import Database
from ovn_ipsec.ovsdb.idl import RUN_MAX
from ovn_ipsec.ovsdb.schemas import SOUTHBOUND
from ovn_ipsec.ovsdb.session import Session

pytestmark = pytest.mark.skipif(
    bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"
)


@pytest.fixture
def ovn(tmp_path: Path) -> Iterator[Central]:
    """A southbound with two digests."""
    with central(tmp_path) as made:
        for name in ("hv1", "hv2"):
            made.report(name, agent="fake")
        yield made


def run(session: Session, seconds: float = 0.5) -> int:
    """Run a session for a while; returns how often it woke."""
    end, woken = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0:
        session.receive()
        poller = ovs.poller.Poller()
        session.wait(poller)
        poller.timer_wait(int(left * 1000) + 1)
        poller.block()
        woken += 1
    return woken


def test_only_the_rows_of_a_condition_come(ovn: Central) -> None:
    """A digest of another chassis wakes nobody, also after a reconnection."""
    where = {"Chassis_Private": [["name", "==", "hv1"]]}
    session = Session(ovn.remote("sb"), SOUTHBOUND, probe_interval_s=0, only=where)
    session.open()
    try:
        wait_until(lambda: bool(run(session, 0.1)) and session.loaded, what="loaded")
        assert [row.name for row in session.rows("Chassis_Private")] == ["hv1"]
        assert session.count("SB_Global") == 1
        run(session)
        ovn.report("hv2", agent="other")
        assert run(session) <= 2
        ovn.report("hv1", agent="other")
        run(session)
        (row,) = session.rows("Chassis_Private")
        assert row.external_ids["ovn-ipsec-agent"] == "other"
        ovn.processes["ovsdb-sb"].stop()
        assert run(session) < 20, "it waits while there is nobody"
        ovn.serve("sb")
        wait_until(lambda: bool(run(session, 0.1)) and session.connected, what="connected again")
        run(session)
        assert [row.name for row in session.rows("Chassis_Private")] == ["hv1"]
    finally:
        session.close()


def test_everything_that_has_arrived_is_taken_in_at_once(ovn: Central) -> None:
    """Also more messages than the library processes at once: a program may look only now and then.

    The server sends one for each transaction; the last of them may still be on their way.
    """
    writer = Database(ovn.folder / "ovnsb_db.sock", "OVN_Southbound")
    session = Session(ovn.remote("sb"), SOUTHBOUND, probe_interval_s=0)
    session.open()
    try:
        wait_until(lambda: bool(run(session, 0.1)) and session.loaded, what="loaded")
        run(session)
        session.changes()
        for number in range(200):
            change = {"op": "update", "table": "Chassis_Private", "row": {"nb_cfg": number}}
            writer.transact({**change, "where": [["name", "==", "hv1"]]})
        poller = ovs.poller.Poller()
        session.wait(poller)
        poller.block()
        session.receive()
        (row,) = [row for row in session.rows("Chassis_Private") if row.name == "hv1"]
        assert row.nb_cfg > 3 * RUN_MAX
    finally:
        session.close()
