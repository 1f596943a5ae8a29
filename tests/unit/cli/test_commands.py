# SPDX-License-Identifier: Apache-2.0
"""The command line: what `peers` and `wait` make of answers, and that help needs no database."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from ovn_ipsec.cli import local, peers, wait
from ovn_ipsec.cli.__main__ import COMMANDS, main
from ovn_ipsec.cli.settings import Exit
from ovn_ipsec.errors import EdgeError

PEER = {"peer": "hv2", "type": "geneve", "state": "encrypted", "mode": "require", "since_s": 4}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str):
    """It loads and says what it does."""
    result = CliRunner().invoke(main, [name, "--help"])
    assert (0, True) == (result.exit_code, result.output.startswith("Usage: "))


def test_an_unknown_command_is_refused():
    """With the exit status that click has for it."""
    assert 2 == CliRunner().invoke(main, ["nonsense"]).exit_code


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], Exit.WELL),
        (["encrypted", "clear", "lingering"], Exit.WELL),
        (["encrypted", "blocked"], Exit.DEGRADED),
        (["pending"], Exit.DEGRADED),
    ],
)
def test_a_pair_that_is_wanted_and_not_up_degrades(states: list[str], expected: Exit):
    """Pending and blocked are not well; the rest is."""
    assert expected == peers.judge_peers([{"state": state} for state in states])


@pytest.mark.parametrize("text", ["", "hv2 up", "{}", '["hv2"]'])
def test_an_answer_that_is_no_list_of_peers_is_refused(text: str):
    """An older or newer controller is not guessed at."""
    with pytest.raises(EdgeError):
        local.read_peers(text)


def test_a_peer_is_one_row_and_absent_fields_are_empty():
    """Another version may not say all of it."""
    (peer,) = local.read_peers(json.dumps([PEER]))
    assert dict(zip(peers.COLUMNS, peers.words(peer), strict=True)) == {
        **dict.fromkeys(peers.COLUMNS, ""),
        **{key: str(value) for key, value in PEER.items()},
    }


def test_a_controller_that_does_not_run_cannot_be_judged(tmp_path, monkeypatch):
    """Exit 2, with a next step."""
    monkeypatch.setenv("OVS_RUNDIR", str(tmp_path))
    result = CliRunner().invoke(main, ["peers"])
    assert (2, True) == (result.exit_code, "next: start ovn-ipsec-controller" in result.output)


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (None, ""),
        (SimpleNamespace(ipsec=False, external_ids={}), "off"),
        (SimpleNamespace(ipsec=True, external_ids={}), ""),
        (SimpleNamespace(ipsec=True, external_ids={"ovn-ipsec-state": "enforced"}), "enforced"),
    ],
)
def test_the_state_of_a_cluster(row: SimpleNamespace | None, state: str):
    """Never switched on is off; on without an answer is no state."""
    assert state == wait.state_of(row)
