# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D102 - a bench does what Bench says
"""ovn_ipsec.ovsdb.session keeps its promises on a real ovsdb-server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from ovsdb import SCHEMAS, Central, missing_programs, quiet

from ovn_ipsec.ovsdb.schemas import SOUTHBOUND
from ovn_ipsec.ovsdb.session import Session
from tests.contracts.session import Bench, SessionContract

pytestmark = pytest.mark.skipif(
    bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"
)


class RealBench(Bench):
    """An ovsdb-server with OVN's southbound schema."""

    def __init__(self, folder: Path) -> None:
        self.central = Central(folder)
        self.sessions: list[Session] = []
        self.central.run(
            "ovsdb-tool", "create", str(folder / "sb.db"), str(SCHEMAS / "ovn-sb.ovsschema")
        )
        self.start()
        encap = {"type": "geneve", "ip": "10.0.0.1", "chassis_name": "hv1"}
        self.central.query(
            "sb",
            {"op": "insert", "table": "SB_Global", "row": {}},
            {
                "op": "insert",
                "table": "Encap",
                "row": {**encap, "options": ["map", [["csum", "true"]]]},
                "uuid-name": "encap",
            },
            {
                "op": "insert",
                "table": "Chassis",
                "row": {"name": "hv1", "encaps": ["named-uuid", "encap"]},
            },
        )
        self.report("hv1", agent="one")

    def open(
        self, lock: str | None = None, only: Mapping[str, list[list[str]]] | None = None
    ) -> Session:
        session = Session(
            self.central.remote("sb"), SOUTHBOUND, probe_interval_s=0, lock=lock, only=only
        )
        session.open()
        self.sessions.append(session)
        return session

    def settle(self, *sessions: Session) -> None:
        quiet(lambda: self._run(sessions) or self._waits(sessions), *sessions)

    @staticmethod
    def _run(sessions: tuple[Session, ...]) -> bool:
        news = [session.receive() for session in sessions]
        return any(news)

    def _waits(self, sessions: tuple[Session, ...]) -> bool:
        up = self.central.processes["ovsdb-sb"].running is not None
        return up and any(session.busy or not session.connected for session in sessions)

    def report(self, name: str, **keys: str) -> None:
        pairs = ["map", [[f"ovn-ipsec-{key}", text] for key, text in keys.items()]]
        table = "Chassis_Private"
        if not any(row["name"] == name for row in self.central.rows("sb", table)):
            row = {"name": name, "external_ids": pairs}
            self.central.query("sb", {"op": "insert", "table": table, "row": row})
            return
        names = ["set", [f"ovn-ipsec-{key}" for key in keys]]
        steps = [["external_ids", "delete", names], ["external_ids", "insert", pairs]]
        where = [["name", "==", name]]
        self.central.query(
            "sb", {"op": "mutate", "table": table, "where": where, "mutations": steps}
        )

    def drop(self, table: str, name: str) -> None:
        where = [["name", "==", name]]
        self.central.query("sb", {"op": "delete", "table": table, "where": where})

    def stop(self) -> None:
        self.central.processes["ovsdb-sb"].stop()
        # A socket that is left behind would be taken for the next server's.
        (self.central.folder / "ovnsb_db.sock").unlink(missing_ok=True)

    def start(self) -> None:
        self.central.serve("sb")

    def close(self) -> None:
        """End everything."""
        for session in self.sessions:
            session.close()
        for process in self.central.processes.values():
            process.stop()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RealBench]:
    """A real server."""
    made = RealBench(tmp_path)
    yield made
    made.close()


class TestSession(SessionContract):
    """The contract."""
