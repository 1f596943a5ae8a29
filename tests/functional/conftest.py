# SPDX-License-Identifier: Apache-2.0
"""What several of these suites begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional import charon
from tests.functional.live import Lab
from tests.functional.ovsdb import OVS_SCHEMA, Central, central, wait_until

CHASSIS = ("hv1", "hv2", "hv3")


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[charon.Charon, charon.Charon]]:
    """Two charons that reach each other."""
    with charon.two_charons() as pair:
        yield pair


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A southbound and two chassis; their controllers are started by the test."""
    with charon.two_charons() as daemons:
        made = Lab(tmp_path, daemons)
        try:
            made.build()
            yield made
        finally:
            made.stop()


@pytest.fixture
def ovn(tmp_path: Path) -> Iterator[Central]:
    """Databases, ovn-northd and three chassis with controllers."""
    with central(tmp_path) as made:
        for number, name in enumerate(CHASSIS, start=1):
            made.sbctl("chassis-add", name, "geneve", f"10.0.0.{number}")
            made.follow(name)
        yield made


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    """A northbound, a southbound, and a local database without a switch behind it."""
    made = Central(tmp_path_factory.mktemp("databases"))
    made.start_database("nb")
    made.start_database("sb")
    made.run("ovsdb-tool", "create", str(made.folder / "conf.db"), str(OVS_SCHEMA))
    socket = made.folder / "db.sock"
    made.add("vswitch", ["ovsdb-server", f"--remote=punix:{socket}", str(made.folder / "conf.db")])
    wait_until(socket.exists, what=f"{socket}")
    made.run("ovs-vsctl", "--no-wait", "init")
    made.sbctl("init")
    yield made
    for process in made.processes.values():
        process.stop()
