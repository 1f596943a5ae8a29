# SPDX-License-Identifier: Apache-2.0
"""A chassis without ovn-controller gets its Chassis_Private row from its controller.

On real databases with a real ovn-northd; a real ovn-controller finds that row afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from controller.southbound import NEVER_BEHIND, Southbound
from ovn_ipsec.ovsdb.schemas import SOUTHBOUND
from ovn_ipsec.ovsdb.session import Session
from tests.functional import ovsdb
from tests.functional import test_tunnels as real
from tests.functional.test_tunnels import until

MISSING = (*ovsdb.missing_programs(), *real.MISSING)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")

DIGEST = {"ovn-ipsec-agent": "test"}


@pytest.fixture
def ovn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ovsdb.Central]:
    """Both databases with ovn-northd, and hv1 as ``ovn-sbctl chassis-add`` makes it."""
    with ovsdb.central(tmp_path_factory.mktemp("c")) as made:
        made.sbctl("chassis-add", "hv1", "geneve", "10.0.0.1")
        yield made


@pytest.fixture
def southbound(ovn: ovsdb.Central) -> Iterator[Southbound]:
    """What the controller of hv1 sees."""
    only = {"Chassis_Private": [["name", "==", "hv1"]]}
    session = Session(ovn.remote("sb"), SOUTHBOUND, probe_interval_s=0, only=only)
    session.open()
    made = Southbound(session, "hv1")
    take_in(made)
    yield made
    session.close()


def take_in(southbound: Southbound) -> None:
    """Let it see what the database holds."""

    def receive() -> bool:
        return southbound.receive(time.monotonic())

    def done() -> bool:
        receive()
        return southbound.loaded and not southbound.session.busy

    until(done, "the southbound read")
    ovsdb.quiet(receive, southbound.session)
    southbound.changed_chassis(time.monotonic())


def row_of(ovn: ovsdb.Central) -> dict[str, object]:
    """The one Chassis_Private row."""
    (row,) = ovn.rows("sb", "Chassis_Private")
    return row


def chassis_of(ovn: ovsdb.Central) -> object:
    """UUID of the one Chassis row."""
    (row,) = ovn.rows("sb", "Chassis")
    return row["_uuid"]


def publish(southbound: Southbound, *, makes_row: bool, digest: dict[str, str] = DIGEST) -> bool:
    """Publish and see what came of it."""
    said = southbound.publish(digest, "", makes_row=makes_row)
    take_in(southbound)
    assert southbound.session.failure() is None
    return said


def test_a_row_is_made_where_nobody_else_makes_one(
    ovn: ovsdb.Central, southbound: Southbound
) -> None:
    """With its name, its chassis and the digest, in one write; then it is there as any other."""
    publish(southbound, makes_row=False)
    assert [] == ovn.rows("sb", "Chassis_Private")
    assert publish(southbound, makes_row=True)
    made = row_of(ovn)
    assert ("hv1", DIGEST) == (made["name"], made["external_ids"])
    assert chassis_of(ovn) == made["chassis"]

    assert publish(southbound, makes_row=True, digest={"ovn-ipsec-agent": "other"})
    assert {"ovn-ipsec-agent": "other"} == row_of(ovn)["external_ids"]
    assert made["_uuid"] == row_of(ovn)["_uuid"]


def test_without_a_chassis_row_or_a_connection_none_is_made(
    ovn: ovsdb.Central, southbound: Southbound
) -> None:
    """Who is not in the southbound has nothing to report there; unknown is not missing."""
    ovn.sbctl("chassis-del", "hv1")
    take_in(southbound)
    publish(southbound, makes_row=True)
    assert [] == ovn.rows("sb", "Chassis_Private")
    ovn.sbctl("chassis-add", "hv1", "geneve", "10.0.0.1")
    take_in(southbound)
    ovn.processes["ovsdb-sb"].stop()
    until(lambda: not (southbound.session.receive(), southbound.session.connected)[1], "it is away")
    assert not southbound.publish(DIGEST, "", makes_row=True)
    ovn.serve("sb")
    assert [] == ovn.rows("sb", "Chassis_Private")


def test_a_row_whose_chassis_was_made_anew_is_given_that(
    ovn: ovsdb.Central, southbound: Southbound
) -> None:
    """A weak reference goes with the old Chassis row."""
    assert publish(southbound, makes_row=True)
    made = row_of(ovn)["_uuid"]
    ovn.sbctl("destroy", "Chassis", "hv1")
    ovn.sbctl("chassis-add", "hv1", "geneve", "10.0.0.1")
    take_in(southbound)
    assert chassis_of(ovn) != row_of(ovn)["chassis"]
    assert publish(southbound, makes_row=False)
    assert chassis_of(ovn) != row_of(ovn)["chassis"]
    assert publish(southbound, makes_row=True)
    assert (made, chassis_of(ovn)) == (row_of(ovn)["_uuid"], row_of(ovn)["chassis"])


def test_the_row_holds_nobody_up(ovn: ovsdb.Central, southbound: Southbound) -> None:
    """``ovn-nbctl --wait=hv`` waits for the chassis with ovn-controller, and this has none."""
    assert publish(southbound, makes_row=True)
    assert NEVER_BEHIND == row_of(ovn)["nb_cfg"]
    ovn.nbctl("--wait=hv", "--timeout=10", "sync")


def test_ovn_controller_keeps_the_row(
    ovn: ovsdb.Central, southbound: Southbound, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It finds it by its name, leaves our keys, and is waited for from then on."""
    assert publish(southbound, makes_row=True)
    made = row_of(ovn)["_uuid"]
    machine = real.Machine(tmp_path_factory.mktemp("m"))
    try:
        machine.build()
        machine.external_ids(**{"ovn-remote": ovn.remote("sb")})
        machine.start("ovn-controller", machine.remote)
        # It reports no 0, so the first number of a new cluster is the first that it writes.
        ovn.nbctl("--wait=sb", "sync")
        until(lambda: NEVER_BEHIND != row_of(ovn)["nb_cfg"], "ovn-controller reports")
        ovn.nbctl("--wait=hv", "--timeout=20", "sync")
        row = row_of(ovn)
        assert made == row["_uuid"]
        assert chassis_of(ovn) == row["chassis"]
        assert DIGEST == row["external_ids"]
        (nb,) = ovn.rows("nb", "NB_Global")
        assert nb["nb_cfg"] == row["nb_cfg"]
        log = (machine.folder / "ovn-controller.out").read_text()
        assert "constraint" not in log
        assert "commit failed" not in log
    finally:
        machine.close()
