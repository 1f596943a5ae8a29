# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec doctor` beside a real controller and a real charon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ovn_ipsec.cli.__main__ import main
from ovn_ipsec.model.policy import Auth, Phase
from tests.functional import charon
from tests.functional.test_credentials_live import MISSING, SECRETS, Lab, until

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with charon.two_charons() as daemons:
        made = Lab(tmp_path, daemons)
        try:
            made.build()
            yield made
        finally:
            made.stop()


def examined(lab: Lab, *words: str) -> tuple[int, str]:
    """Run it on chA."""
    argv = [*words, "doctor", "--target", str(lab.folder / "chA.appctl")]
    done = CliRunner().invoke(main, argv)
    return done.exit_code, done.output


def parts(lab: Lab) -> dict[str, dict[str, object]]:
    """What it says of each part; nothing while the controller does not answer."""
    status, output = examined(lab, "--json")
    return {one["part"]: one for one in json.loads(output)} if status != 2 else {}


def test_every_part_of_a_chassis_is_looked_at(lab: Lab) -> None:
    """Off all is well; then pins without TLS, an absent peer, and a daemon that is gone."""
    status, output = examined(lab)
    assert status == 2
    assert "next: start ovn-ipsec-controller" in output
    lab.secrets(SECRETS[0])
    lab.start("chA")
    until(lambda: examined(lab)[0] == 0, "all is well")
    assert parts(lab)["name"]["said"] == "chA"
    lab.publish(Phase.ENFORCE, Auth.PINNED)

    def applied() -> bool:
        found = parts(lab)
        return bool(found) and not found["pairs"]["is_well"] and bool(found["policy"]["is_well"])

    until(applied, "the policy is applied, and a pair is missed")
    found = parts(lab)
    assert str(found["IKE daemon"]["said"]).startswith("strongSwan ")
    assert str(found["guard"]["said"]).startswith("in force")
    assert "1 of 1 not up: chB blocked" in str(found["pairs"]["said"])
    assert found["pairs"]["next_step"] == "ovn-ipsec explain chA chB"
    assert "pins are worth no more" in str(found["problem"]["said"])
    assert "by ssl:" in str(found["problem"]["next_step"])
    lab.daemons["chA"].kill()
    until(lambda: not parts(lab)["IKE daemon"]["is_well"], "its daemon is missed")
    status, output = examined(lab)
    assert status == 1
    for word in ("BAD   IKE daemon", "next: start strongSwan", "well  southbound"):
        assert word in output
    assert SECRETS[0] not in output
