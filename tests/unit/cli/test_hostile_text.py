# SPDX-License-Identifier: Apache-2.0
"""Text of databases on a terminal: printable, bounded, and never taken for markup."""

from __future__ import annotations

import ast
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.cli import explain, local, output, peers, status, tables
from ovn_ipsec.cli.__main__ import main
from ovn_ipsec.cli.doctor import commands as doctor
from ovn_ipsec.cli.doctor.checkup import examine
from ovn_ipsec.cli.explanation import explain as explain_pairs
from ovn_ipsec.cli.judge import judge
from ovn_ipsec.cli.policy import show as policy_show
from ovn_ipsec.cli.policy.editing import assess, propose, to_add, to_replace
from ovn_ipsec.cli.policy.listing import make_listing
from ovn_ipsec.cli.policy.rulefile import parse_file
from ovn_ipsec.cli.settings import Settings
from ovn_ipsec.cli.trial import try_pairs
from ovn_ipsec.cli.view import RawSouthbound
from ovn_ipsec.model.policy import Mode
from ovn_ipsec.policy.topology import Membership
from ovn_ipsec.schema.fields import Place
from ovn_ipsec.schema.rules import parse_rule
from tests.unit.cli.policy_world import chassis, cluster, published, report

ROOT = Path(__file__).parents[3]
CLI = ROOT / "ovn_ipsec" / "cli"
THE_WAY = {"output.py", "tables.py"}
SPEAKS = {"echo", "secho", "echo_via_pager", "print", "Console"}
MARKUP = "[bold red]"
EVIL = f"\x1b[2J{MARKUP}x[/]\u202e\u200b\x9b\x07\r\nnext: rm" + "A" * 9000
NOW = datetime(2027, 1, 1, tzinfo=UTC)
NAME = "hv1"
ENDS = ("hv1", "hv2")
ROWS = (
    chassis("hv1", "10.0.0.1", zones=[EVIL, "z"], hostname=EVIL),
    chassis("hv2", "10.0.0.2", zones=["z"], hostname=EVIL, other={"ovn-cms-options": EVIL}),
    chassis(EVIL, "10.0.0.3"),
    chassis("hv4", EVIL),
    chassis("hv5", "10.0.0.5", options={"ovn-ipsec": EVIL, "ovn-ipsec-class": EVIL}),
)


def modules() -> list[Path]:
    """Of the command, as far as they show what databases say."""
    return sorted(path for path in CLI.glob("*.py") if path.name not in THE_WAY)


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.name)
def test_nothing_is_printed_by_another_way(path: Path):
    """Neither by click nor by print nor by a console of its own."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {getattr(call.func, "attr", getattr(call.func, "id", "")) for call in calls}
    assert set() == names & SPEAKS


@given(st.text())
def test_whatever_is_shown_is_one_line_of_printable_characters(text: str):
    """And what is harmless stays as it is."""
    found = output.shown(text, 20)
    assert found.isprintable()
    assert len(found) <= 20
    if text.isprintable() and len(text) <= 20:
        assert text == found


def clean(text: str) -> str:
    """Check what was printed."""
    assert text
    for line in text.splitlines():
        assert line.isprintable(), repr(line)
        assert len(line) <= output.LINE_MAX + 40
    return text


def hostile(rules: dict[int | str, str] | None = None):
    """A cluster that says evil things wherever a row has room for text."""
    return cluster(
        *ROWS,
        rules=rules or {100: "any any require", EVIL: EVIL, 7: EVIL},
        options={EVIL: EVIL, "ipsec_" + EVIL: EVIL, "ovn-ipsec-mode": EVIL},
        switches=[(EVIL, {"ovn-ipsec": "require"}), ("b", {"ovn-ipsec": EVIL})],
        sb=published(f"5 chassis:{MARKUP} any off"),
        privates={
            "hv1": report(problem=EVIL) | {"ovn-ipsec-agent": EVIL},
            "hv2": {"ovn-ipsec-agent": EVIL, "ovn-ipsec-phase": EVIL},
            EVIL: report(),
        },
        reported={
            "ovn-ipsec-error": EVIL,
            "ovn-ipsec-state": EVIL,
            "ovn-ipsec-summary": EVIL,
            "ovn-ipsec-generation": EVIL,
        },
        memberships={"hv1": Membership()},
    )


def test_a_hostile_cluster_in_status(capsys: pytest.CaptureFixture[str]):
    """Names, states, problems and errors of both databases."""
    raw = RawSouthbound(
        external_ids={"ovn-ipsec-schema": EVIL},
        chassis=ROWS,
        privates={"hv1": report(problem=EVIL), "hv2": {"ovn-ipsec-agent": EVIL}, EVIL: {}},
    )
    seen = judge(hostile().reported, True, raw, NOW)
    settings = Settings(ovnnb_db="", ovnsb_db="")
    for problems, glob in ((False, None), (True, None), (False, "*"), (False, EVIL)):
        status._Show(settings, problems=problems, glob=glob)(seen, EVIL, again=True)
    printed = capsys.readouterr()
    assert MARKUP in clean(printed.out)
    assert MARKUP in clean(printed.err)


def test_a_hostile_cluster_in_explain(capsys: pytest.CaptureFixture[str]):
    """And what the controller here says of the pair."""
    live = {
        ("hv2", "10.0.0.1", "10.0.0.2"): dict.fromkeys(
            ("state", "mode", "since_s", "suite", "last_error"), EVIL
        )
    }
    explain._show(explain_pairs(hostile(), *ENDS, live))
    explain._show(explain_pairs(hostile(), "hv1", "hv1", {}))
    assert MARKUP in clean(capsys.readouterr().out)


def test_a_hostile_cluster_in_policy(capsys: pytest.CaptureFixture[str]):
    """List, test, change, difference and check."""
    seen = hostile()
    policy_show.show_listing(make_listing(seen), as_json=False)
    policy_show.show_test(try_pairs(seen, *ENDS), as_json=False)
    place = Place(table="x", row=".", key="rule")
    proposal = propose(seen, to_add(parse_rule(place, 9, "host:* any off")))
    policy_show.show_change(proposal.changes, assess(proposal), as_json=False, written=False)
    good = hostile({1: "any any prefer"})
    change = propose(good, to_replace(good.options, [parse_rule(place, 9, "zone:z any off")]))
    policy_show.show_change({EVIL: EVIL}, assess(change), as_json=False, written=False)
    policy_show.show_difference(assess(change), (), as_json=False)
    policy_show.show_check(parse_file(f"{EVIL}\n1 any {EVIL}\n"), {}, as_json=False)
    policy_show.refuse([EVIL, *seen.errors], as_json=False)
    assert MARKUP in clean(capsys.readouterr().out)


def test_a_hostile_answer_in_peers_and_doctor(capsys: pytest.CaptureFixture[str]):
    """The controller repeats what rows and peers have said."""
    keys = ("peer", "type", "local", "remote", "mode", "state", "since_s", "ike", "last_error")
    peer = dict.fromkeys(keys, EVIL)
    settings = Settings(ovnnb_db="", ovnsb_db="")
    for problems, glob in ((False, None), (True, None), (False, "*"), (False, EVIL)):
        peers._Show(settings, problems=problems, glob=glob)([peer], again=True)
    told = {
        "chassis": EVIL,
        "ike_daemon": EVIL,
        "phase": EVIL,
        "auths": [EVIL],
        "problems": [EVIL, f"IKE daemon: {EVIL}", f"guard {EVIL}"],
        "held_because": EVIL,
    }
    doctor._show(examine(told, {"in_force": True, "may_be_clear": EVIL}, [peer]))
    assert MARKUP in clean(capsys.readouterr().out)


def test_a_hostile_reason_for_no_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Where an error says what it met."""
    monkeypatch.setenv("OVS_RUNDIR", str(tmp_path))
    (tmp_path / f"{local.PROGRAM}.pid").write_text(EVIL, encoding="utf-8")
    done = CliRunner().invoke(main, ["peers"])
    assert 2 == done.exit_code
    clean(done.output)
    output.complain(EVIL, EVIL)
    assert 2 == clean(capsys.readouterr().err).count(MARKUP)


def test_programs_get_escapes(capsys: pytest.CaptureFixture[str]):
    """All of the text, in ASCII."""
    output.say_json({"evil": EVIL})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed) == {"evil": EVIL}
    clean(printed.replace("A", ""))


def test_headings_and_cells_are_not_markup(capsys: pytest.CaptureFixture[str]):
    """A column that rows name is one too."""
    screen = tables.Screen()
    screen.table([MARKUP], [[EVIL], [str(Mode.OFF)]])
    screen.line(EVIL)
    output.say(EVIL)
    assert clean(capsys.readouterr().out).count(MARKUP) == 4
