# SPDX-License-Identifier: Apache-2.0
"""What doctor sees of a real pluto."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovn_ipsec.cli.machine.pluto import look
from ovn_ipsec.errors import EdgeError
from tests.functional import pluto


@pytest.mark.parametrize("build", pluto.BUILDS, ids=lambda build: build.version)
def test_a_pluto_answers_and_says_whose_secrets_it_reads(
    monkeypatch: pytest.MonkeyPatch, build: pluto.Build
) -> None:
    """One that cannot be asked is unknown, and one that was killed does not run."""
    pluto.demand(build)
    with pluto.two_plutos(build) as (one, _):
        whack = str(one.places.programs["whack"])
        monkeypatch.setattr("ovn_ipsec.cli.machine.pluto.WHACK", (whack,))
        for name, value in build.environment.items():
            monkeypatch.setenv(name, value)
        control, secrets = one.places.control, one.folder / "ipsec.secrets"
        seen = look(control, secrets)
        assert (seen.fault, seen.version) == ("", build.version)
        assert seen.included == (f"{one.folder}/secrets/*.secrets",)
        assert look(control, Path("/nowhere")).included == ()
        hidden = control.rename(control.with_suffix(".hidden"))
        with pytest.raises(EdgeError, match="failed \\(33\\)"):
            look(control, secrets)
        hidden.rename(control)
        one.kill()
        assert "does not run" in look(control, secrets).fault
