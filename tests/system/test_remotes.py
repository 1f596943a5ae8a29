# SPDX-License-Identifier: Apache-2.0
"""Connections that come: ``ssl:`` before ``set-ssl``, files that come later, and other files."""

from __future__ import annotations

import time
from pathlib import Path

import faults
import helpers
import pytest
import test_hostile
from faults import SHOWN_S

from ovn_ipsec.lab.cluster.chassis import CONTROLLER, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.host import python
from ovn_ipsec.lab.waiting import stretched, wait_until

LOG_LINES = 40
"""More lines than this while there is nothing to connect with are a log that fills a disk."""
FIRST, NEXT = "/etc/ovn-ipsec/southbound", "/etc/ovn-ipsec/southbound-next"

pytestmark = pytest.mark.parametrize(
    "cluster", [test_hostile.SETTINGS], ids=["tls-rbac-hostile"], indirect=True
)


def test_ssl_remote_connects_once_set_ssl_names_files_that_are_there(
    switched_off: Cluster,
) -> None:
    """Without options on its command line: nothing named, nothing there, there, and replaced."""
    cluster, h4 = switched_off, switched_off.chassis["h4"]
    h4.daemons[CONTROLLER].stop()
    usual = h4.daemons[CONTROLLER]
    log = h4.logs / f"{CONTROLLER}-ssl.log"
    bare = h4.daemon(CONTROLLER, python("-m", "controller", f"--log-file={log}"))
    try:
        bare.start()
        _assert_quiet(h4, log)
        _set_ssl(h4, FIRST)
        _assert_quiet(h4, log)
        h4.place(cluster.authority.issue("h4"), FIRST)
        _wait_connected(h4)
        _set_ssl(h4, NEXT)
        h4.place(cluster.authority.issue("h4"), NEXT)
        h4.run(["rm", "-r", FIRST])
        # Only the new files are left to come back with.
        cluster.central.daemons["ovsdb-sb"].restart()
        _wait_connected(h4)
        helpers.enforce(cluster)
        helpers.wait_all_encrypted(cluster)
    finally:
        bare.stop()
        h4.run(["ovs-vsctl", "--no-wait", "del-ssl"])
        h4.daemons[CONTROLLER] = usual
        usual.start()


def _set_ssl(chassis: Chassis, folder: str) -> None:
    files = [f"{folder}/{name}.pem" for name in ("key", "cert", "ca")]
    chassis.run(["ovs-vsctl", "--no-wait", "set-ssl", *files])


def _assert_quiet(chassis: Chassis, log: Path) -> None:
    """It runs, has no southbound, says why, and says it a few times only."""
    known = log.read_text().count("\n")
    time.sleep(stretched(SHOWN_S))
    assert faults.status(chassis)["southbound_connected"] is False
    assert "Traceback" not in log.read_text()
    assert log.read_text().count("\n") - known < LOG_LINES
    assert faults.complaints(chassis)


def _wait_connected(chassis: Chassis) -> None:
    wait_until(lambda: faults.status(chassis)["southbound_connected"] is True, 90, "connected")
