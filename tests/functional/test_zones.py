# SPDX-License-Identifier: Apache-2.0
"""A zone for each chassis, as OVN-Kubernetes has it: own southbounds, where others are remote.

No row of ours goes from one southbound to the other, and generations have nothing in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ovn_ipsec.model.policy import Auth, Phase
from ovn_ipsec.schema import report
from tests.contracts.ike_backend import Authority
from tests.functional import charon
from tests.functional.live import MISSING, NAMES, OVS_SCHEMA, SB_SCHEMA, SECRETS, Lab, until
from tests.functional.ovsdb import Central, missing_programs, wait_until

UP = "encrypted=2"


class Zones(Lab):
    """Two zones of one chassis each."""

    zone = NAMES[0]
    """The one whose southbound is meant."""

    def build(self) -> None:
        """Start the databases, and make the rows that ovn-controller and OVN-Kubernetes would."""
        for name in NAMES:
            self._serve(name, OVS_SCHEMA)
            self._serve(f"sb-{name}", SB_SCHEMA)
            self.vsctl(name, "init")
            self.vsctl(name, "set", "Open_vSwitch", ".", f"external_ids:system-id={name}",
                       f"external_ids:ovn-remote=unix:{self.folder}/sb-{name}.sock")  # fmt: skip
            self.zone = name
            self.sbctl("init")
            for number, other in enumerate(NAMES, 1):
                self.sbctl("chassis-add", other, "geneve", f"10.9.0.{number}")
                kind = "is-interconn" if other == name else "is-remote"
                self.sbctl("set", "Chassis", other, f"other_config:{kind}=true")
            self.sbctl("create", "Chassis_Private", f"name={name}")

    def _serve(self, name: str, schema: Path) -> None:
        file = self.folder / name
        self.run("ovsdb-tool", "create", f"{file}.db", str(schema))
        self.spawn(f"db-{name}", ["ovsdb-server", f"--remote=punix:{file}.sock", "--no-chdir",
                                  f"--pidfile={file}.pid", f"--unixctl={file}.ctl",
                                  f"{file}.db"])  # fmt: skip
        until(Path(f"{file}.sock").exists, f"{name} listens")

    def sbctl(self, *argv: str) -> str:
        """Run ovn-sbctl in a zone."""
        return self.run("ovn-sbctl", f"--db=unix:{self.folder}/sb-{self.zone}.sock", *argv)

    def key(self, table: str, name: str, key: str) -> str:
        """One of the external_ids of a chassis' row, in its own zone."""
        self.zone = name
        return super().key(table, name, key)

    def state(self, zone: str, phase: Phase, auth: Auth) -> None:
        """Publish a policy in one zone, of a higher generation than any before."""
        self.zone = zone
        self.publish(phase, auth)


@pytest.fixture
def zones(tmp_path: Path) -> Iterator[Zones]:
    """Two zones; the controllers are started by the test."""
    with charon.two_charons() as daemons:
        made = Zones(tmp_path, daemons)
        try:
            made.build()
            yield made
        finally:
            made.stop()


@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
@pytest.mark.parametrize("auth", [Auth.PSK, Auth.CA])
def test_chassis_of_two_zones_authenticate_each_other(zones: Zones, auth: Auth) -> None:
    """By what each has on its own host; then either zone closes its end when it enforces."""
    zones.secrets(SECRETS[0])
    authority = Authority("of both zones")
    for name in NAMES:
        zones.files(name, authority)
        zones.state(name, Phase.ESTABLISH, auth)
    zones.start()
    zones.all_by(auth)
    first, second = NAMES
    zones.state(first, Phase.ENFORCE, auth)
    until(lambda: zones.key("Chassis_Private", first, report.PHASE) == Phase.ENFORCE, "enforced")
    # No ESP in this kernel: what is not encrypted is denied there, and not yet in the other zone.
    until(lambda: "blocked=1" in zones.key("Chassis_Private", first, report.PAIRS), "denied")
    assert "blocked=0" in zones.key("Chassis_Private", second, report.PAIRS)


@pytest.mark.skipif(bool(missing_programs()), reason=f"needs {', '.join(missing_programs())}")
def test_a_zone_waits_for_its_own_chassis_alone(ovn: Central) -> None:
    """The others are remote, report elsewhere, and none of their rows is written."""
    for name in ("hv2", "hv3"):
        ovn.sbctl("set", "Chassis", name, "other_config:is-remote=true")
    ovn.sbctl("--all", "destroy", "Chassis_Private")
    ovn.start_northd()
    ovn.nbctl("set", "NB_Global", ".", "ipsec=true")
    for phase, pairs in (("prepare", ""), ("establish", UP), ("enforce", UP)):
        wait_until(lambda wanted=phase: ovn.keys("sb").get("phase") == wanted, what=phase)
        ovn.follow("hv1", pairs)
    wait_until(lambda: ovn.keys("nb").get("state") == "enforced", what="enforced")
    assert {"hv1/geneve": "require", "hv2/geneve": None, "hv3/geneve": None} == ovn.encap_modes()
