# SPDX-License-Identifier: Apache-2.0
"""The command line: what `peers` and `wait` make of answers, and that help needs no database."""

from __future__ import annotations

import errno
import json
from inspect import signature
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from northd_ext.observe.views import STATE_PHASE
from ovn_ipsec.cli import local, program, wait
from ovn_ipsec.cli.__main__ import COMMANDS, main
from ovn_ipsec.errors import EdgeError
from ovn_ipsec.schema.nb_global import STATES

APART: Any = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
"""Keeps standard error apart, as click does by itself from 8.2 on."""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str):
    """It loads and says what it does."""
    result = CliRunner(**APART).invoke(main, [name, "--help"])
    assert (0, True) == (result.exit_code, result.output.startswith("Usage: "))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_json_and_short_help(name: str):
    """Also those that are groups, and what is in them."""
    result = CliRunner(**APART).invoke(main, [name, "-h"])
    assert (0, True) == (result.exit_code, result.output.startswith("Usage: "))
    assert "--json" in result.output


WRONG = [
    ["nonsense"],
    ["--nonsense"],
    ["status", "--nonsense"],
    ["status", "surplus"],
    ["wait"],
    ["wait", "encrypted"],
    ["wait", "enforced", "--timeout", "soon"],
    ["policy", "nonsense"],
    ["policy", "delete", "0"],
    ["policy", "add", "any", "any", "off", "--replace"],
    ["policy", "check", "/nonexistent"],
    ["pki", "rollover", "nonsense"],
    ["--ovnnb-db", "foo:bar", "status"],
    ["--ovnsb-db", "", "peers"],
    ["--ovnsb-db", "tcp:h:no,ptcp:1", "wait", "off"],
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_a_wrong_command_line_is_no_verdict(words: list[str]):
    """It ends with 64, and says how it is written on standard error."""
    result = CliRunner(**APART).invoke(main, words)
    assert (64, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith("Usage: ")


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
@pytest.mark.parametrize("first", [True, False])
def test_a_wrong_command_line_is_one_object_for_programs(words: list[str], first: bool):
    """Wherever it asks for JSON."""
    result = CliRunner(**APART).invoke(main, ["--json", *words] if first else [*words, "--json"])
    assert (64, "", ["error"]) == (
        result.exit_code,
        result.stderr,
        list(json.loads(result.stdout)),
    )


def test_an_empty_command_line_is_no_verdict(monkeypatch: pytest.MonkeyPatch):
    """It shows the help, and not what another program was called with."""
    monkeypatch.setattr("sys.argv", ["ovn-ipsec", "wait", "nonsense"])
    result = CliRunner(**APART).invoke(main, [])
    assert result.output.startswith("Usage: ovn-ipsec [OPTIONS]")
    assert "Commands:" in result.output


def test_what_follows_two_dashes_is_no_flag():
    """Even where it looks like one."""
    assert not program.asks_for_json(["pki", "--", "--json"])


def test_states_that_can_be_waited_for_are_named():
    """They are those that ovn-ipsec-northd writes."""
    result = CliRunner(**APART).invoke(main, ["wait", "encrypted"])
    assert all(f"'{state}'" in result.stderr for state in STATES)
    assert {*STATE_PHASE} == {*STATES}


def test_whoever_waits_is_told_once_what_keeps_it(capsys: pytest.CaptureFixture[str]):
    """A state that is degraded, or a database that has gone away."""
    waiting = wait.Waiting("enforced")
    looks = [
        ("establishing", ""),
        ("enforced (degraded)", ""),
        ("enforced (degraded)", ""),
        ("enforced", "closed"),
        ("enforced", ""),
    ]
    assert [waiting.is_over(*look) for look in looks] == [False] * 4 + [True]
    assert capsys.readouterr().err.splitlines() == [
        "ovn-ipsec: waiting, but the state is enforced (degraded); see ovn-ipsec status",
        "ovn-ipsec: waiting, but not connected: closed",
    ]


@pytest.mark.parametrize("text", ["", "hv2 up", "{}", '["hv2"]'])
def test_an_answer_that_is_no_list_of_peers_is_refused(text: str):
    """An older or newer controller is not guessed at."""
    with pytest.raises(EdgeError):
        local.read_peers(text)


def test_a_controller_that_does_not_run_cannot_be_judged(tmp_path, monkeypatch):
    """Exit 2, with the file that is missing and a next step; for programs in one object."""
    monkeypatch.setenv("OVS_RUNDIR", str(tmp_path))
    told = f"there is no {tmp_path}/ovn-ipsec-controller.pid: "
    told += "ovn-ipsec-controller does not run on this host"
    result = CliRunner(**APART).invoke(main, ["peers"])
    expected = f"ovn-ipsec: {told}\n    next: {local.NEXT_WITHOUT}\n"
    assert (2, "", expected) == (result.exit_code, result.stdout, result.stderr)
    for words in (["--json", "peers"], ["peers", "--json"]):
        result = CliRunner(**APART).invoke(main, words)
        found = {"error": told, "next_step": local.NEXT_WITHOUT}
        assert (2, found, "") == (result.exit_code, json.loads(result.stdout), result.stderr)


def test_a_controller_that_only_root_may_ask_is_not_to_be_started(monkeypatch):
    """It may run; the next step is to become root."""

    def forbidden(_target: str) -> tuple[int, None]:
        return errno.EACCES, None

    monkeypatch.setattr("ovs.unixctl.client.UnixctlClient.create", forbidden)
    result = CliRunner(**APART).invoke(main, ["peers", "-t", "/run/c.ctl"])
    expected = f"ovn-ipsec: /run/c.ctl: Permission denied\n    next: {local.NEXT_FORBIDDEN}\n"
    assert (2, "", expected) == (result.exit_code, result.stdout, result.stderr)


@pytest.mark.parametrize(("text", "told"), [("x", "has no process id in it"), (None, "Is a dir")])
def test_a_pidfile_that_is_none_is_named(tmp_path, monkeypatch, text: str | None, told: str):
    """With what is wrong with it."""
    monkeypatch.setenv("OVS_RUNDIR", str(tmp_path))
    pidfile = tmp_path / "ovn-ipsec-controller.pid"
    pidfile.mkdir() if text is None else pidfile.write_text(text)
    with pytest.raises(EdgeError, match=f"{pidfile}.*{told}"):
        local.own_socket()


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
