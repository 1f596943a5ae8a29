# SPDX-License-Identifier: Apache-2.0
"""What `probe` makes of answers, and of none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ovn_ipsec.cli import probe
from ovn_ipsec.cli.__main__ import main
from ovn_ipsec.cli.settings import Exit
from ovn_ipsec.errors import EdgeError


def reply(**fields: object) -> bytes:
    return json.dumps({"id": 0, "error": None, "result": None, **fields}).encode()


def test_an_answer_is_what_was_printed():
    """Without the newline that some releases put behind it."""
    assert "true" == probe.read_answer(reply(result="true\n"))


def test_part_of_an_answer_is_none_yet():
    """However it is cut, also in the middle of a character."""
    whole = json.dumps({"result": "wéll"}, ensure_ascii=False).encode()
    assert {None} == {probe.read_answer(whole[:end]) for end in range(len(whole))}
    assert "wéll" == probe.read_answer(whole)


@pytest.mark.parametrize("data", [reply(error='"is-ready" is not a valid command'), b"[1]"])
def test_a_refusal_is_no_answer(data: bytes):
    """A release that does not know the command says nothing of being ready."""
    with pytest.raises(EdgeError):
        probe.read_answer(data)


@pytest.mark.parametrize("daemon", probe.DAEMONS)
def test_without_a_pidfile_nobody_answers(daemon: str, tmp_path: Path):
    """Which is neither ready nor unready."""
    env = {"OVS_RUNDIR": str(tmp_path), "OVN_RUNDIR": str(tmp_path)}
    done = CliRunner().invoke(main, ["--json", "probe", daemon], env=env)
    assert Exit.CANNOT_TELL == done.exit_code
    found = json.loads(done.output.splitlines()[0])
    assert {"program": f"ovn-ipsec-{daemon}", "alive": False, "ready": None} == found
