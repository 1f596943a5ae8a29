# SPDX-License-Identifier: Apache-2.0
"""ovsdbapp's commands on a session: decided anew after a conflict, and written once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ovsdb import Central, missing_programs
from ovsdbapp.backend.ovs_idl.command import BaseCommand

from ovn_ipsec.errors import OvsdbConflict, OvsdbError, OvsdbRefused
from ovn_ipsec.ovsdb.commands import Commands, SetKeys
from ovn_ipsec.ovsdb.waiting import expect

pytestmark = pytest.mark.skipif(
    bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"
)


@pytest.fixture
def ovn(tmp_path: Path) -> Iterator[Central]:
    """A northbound with a row in NB_Global."""
    made = Central(tmp_path)
    try:
        made.start_database("nb")
        made.nbctl("init")
        yield made
    finally:
        for process in made.processes.values():
            process.stop()


@pytest.fixture
def nb(ovn: Central) -> Iterator[Commands]:
    """Its commands."""
    with ovn.database("nb") as commands:
        yield commands


class Count(BaseCommand):  # type: ignore[misc]
    """Add one to a number in NB_Global.options, as somebody else does in between."""

    def __init__(self, api: Commands, between: Callable[[int], object]) -> None:
        super().__init__(api)
        self.between, self.attempts = between, 0

    def run_idl(self, txn: Any) -> None:
        """Read, let somebody else write, write."""
        self.attempts += 1
        row = self.api.first("NB_Global")
        row.verify("options")
        self.result = int(row.options.get("count", "0")) + 1
        self.between(self.attempts)
        SetKeys(self.api, "NB_Global", row.uuid, "options", {"count": str(self.result)}).run_idl(
            txn
        )


def options(nb: Commands) -> dict[str, str]:
    """NB_Global.options as last known."""
    row = nb.first("NB_Global")
    assert row is not None
    return dict(row.options)


def test_after_a_conflict_a_command_decides_anew(ovn: Central, nb: Commands) -> None:
    """On the rows as they are then."""

    def between(attempt: int) -> None:
        if attempt == 1:
            ovn.nbctl("set", "NB_Global", ".", "options:count=41")

    command = Count(nb, between)
    assert 42 == nb.run(command)
    assert (command.attempts >= 2, options(nb)["count"]) == (True, "42")


def test_others_may_write_other_keys_meanwhile(ovn: Central, nb: Commands) -> None:
    """Only keys are written; none of somebody else's is lost."""
    row = nb.first("NB_Global")
    assert row is not None
    ovn.nbctl("set", "NB_Global", ".", "options:theirs=1", "options:gone=1")
    nb.run(SetKeys(nb, "NB_Global", row.uuid, "options", {"ours": "2", "gone": None}))
    expect(nb.session, lambda: "theirs" in options(nb))
    assert {"ours": "2", "theirs": "1"} == options(nb)


def test_a_row_is_made_and_found(nb: Commands) -> None:
    """By ovsdbapp's own commands, together in one transaction."""
    with nb.transaction() as txn:
        made = [txn.add(nb.db_create("Logical_Switch", name=name)) for name in ("one", "other")]
    (found,) = nb.run(nb.db_find_rows("Logical_Switch", ("name", "=", "other")))
    assert made[1].result == found.uuid
    assert {"one", "other"} == {row.name for row in nb.rows("Logical_Switch")}


def test_what_the_server_refuses_is_raised(ovn: Central, nb: Commands) -> None:
    """And not tried again."""
    ovn.nbctl("ls-add", "kept")
    with pytest.raises(OvsdbRefused, match="constraint violation"):
        nb.run(nb.db_create("NB_Global", ipsec=True))
    assert nb.session.retry_at > 0


def test_what_may_have_been_written_is_not_written_twice(ovn: Central, nb: Commands) -> None:
    """The connection goes while the answer is on its way: nobody knows."""
    process = ovn.processes["ovsdb-nb"]

    def between(_attempt: int) -> None:
        running = process.running
        assert running is not None
        running.kill()
        running.wait()

    command = Count(nb, between)
    with pytest.raises(OvsdbError, match="look whether it was written") as raised:
        nb.run(command)
    assert (command.attempts, isinstance(raised.value, OvsdbConflict)) == (1, False)


def test_there_is_no_thread(nb: Commands) -> None:
    """Of the connection that ovsdbapp has itself there would be one."""
    nb.run(nb.db_create("Logical_Switch", name="one"))
    assert {"MainThread"} == {thread.name for thread in threading.enumerate()}
