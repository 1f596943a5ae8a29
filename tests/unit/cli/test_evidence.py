# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec evidence`: from where it is taken, where it goes, and who vouches for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ovn_ipsec.cli.__main__ import main
from ovn_ipsec.cli.evidence import sources
from ovn_ipsec.cli.evidence.times import parse_time
from ovn_ipsec.errors import EdgeError
from ovn_ipsec.evidence.document import FORMAT, Request, document
from ovn_ipsec.evidence.events import JOURNAL, Alive, Own, Start, line
from ovn_ipsec.evidence.ledger import Ledger
from ovn_ipsec.pki.keys import new_key, private_pem
from ovn_ipsec.pki.values import KeyKind

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
T = int(NOW.timestamp())
EVENTS = (Start(at=T, boot="b", version="1"), Own(at=T, chassis="h1"), Alive(at=T + 60))


def run(folder: Path, *words: str, code: int = 0) -> Result:
    """Run the command where the journal is in a folder."""
    found = CliRunner().invoke(main, ["evidence", "--state-dir", str(folder), *words])
    assert found.exit_code == code, found.output
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with a journal; no controller has left a pidfile."""
    monkeypatch.setattr(sources, "socket_here", lambda: None)
    (tmp_path / JOURNAL).write_text("".join(map(line, EVENTS)))
    return tmp_path


def answered(**more: object) -> dict[str, Any]:
    """What a controller says."""
    ledger = Ledger()
    ledger.apply_all(EVENTS)
    asked = Request(now=T + 61, running=True, version="1")
    return {**document(ledger, asked), **more}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2030-01-02", T - 3 * 3600 - 4 * 60 - 5),
        ("2030-01-02T03:04:05Z", T),
        ("2030-01-02T03:04:05", T),
        ("2030-01-02T04:04:05+01:00", T),
        ("30m", T - 1800),
        ("24h", T - 86_400),
        ("7d", T - 7 * 86_400),
        ("999999d", 0),
        ("1969-01-01", 0),
    ],
)
def test_a_time_is_a_moment_or_so_long_ago(text: str, expected: int):
    """Without a zone it is UTC."""
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "7", "7 d", "-7d", "2030-13-01"])
def test_any_other_text_is_no_time(text: str):
    """And it is said what was expected."""
    with pytest.raises(ValueError, match="expected a time"):
        parse_time(text, NOW)


def test_without_a_controller_the_journal_is_read(folder: Path):
    """And the document says that it is from there."""
    text = run(folder).output
    assert text.startswith("# Evidence of encryption: chassis `h1`\n")
    assert "no controller answered" in text
    found = json.loads(run(folder, "--json").output)
    assert (found["format"], found["source"], found["chassis"]) == (FORMAT, "journal", "h1")


def test_a_controller_that_runs_is_asked(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """With the time in seconds; one of another release is not understood."""
    asked: list[tuple[str, ...]] = []

    def ask(target: str, command: str, *words: str) -> dict[str, Any]:
        asked.append((target, command, *words))
        return answered() if target == "here" else {"format": "another"}

    monkeypatch.setattr(sources, "ask", ask)
    monkeypatch.setattr(sources, "socket_here", lambda: "here")
    found = json.loads(run(folder, "--json", "--since", "2030-01-02T03:04:05Z").output)
    assert (found["source"], asked) == ("controller", [("here", "evidence/show", str(T))])
    assert "another release" in run(folder, "-t", "there", code=2).output


def test_a_controller_that_does_not_answer_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Its journal is read, unless it was named."""

    def refuse(target: str, *_words: str) -> dict[str, Any]:
        raise EdgeError(f"{target}: no answer")

    monkeypatch.setattr(sources, "ask", refuse)
    monkeypatch.setattr(sources, "socket_here", lambda: "here")
    assert "here: no answer; the journal" in run(folder).stderr
    assert "there: no answer" in run(folder, "-t", "there", code=2).output


def test_where_there_is_neither_there_is_no_evidence(tmp_path: Path, folder: Path):
    """Which is no document about nothing."""
    (folder / JOURNAL).unlink()
    assert "cannot read" in run(tmp_path, code=2).output


def test_it_is_written_once_privately_and_signed(folder: Path, tmp_path: Path):
    """As a page or as JSON, by the ending of the name; the authority's certificate verifies it."""
    made = CliRunner().invoke(main, ["pki", "--ca", str(tmp_path / "ca"), "init"])
    assert made.exit_code == 0, made.output
    (key,) = map(str, (tmp_path / "ca").rglob("key.pem"))
    by = str(tmp_path / "ca" / "ca.pem")
    page, data = tmp_path / "h1.md", tmp_path / "h1.json"
    run(folder, "-o", str(data))
    run(folder, "--from", str(data), "-o", str(page), "--sign-key", key)
    assert page.read_text().startswith("# Evidence")
    assert json.loads(data.read_text())["chassis"] == "h1"
    assert [path.stat().st_mode & 0o777 for path in (page, data)] == [0o600, 0o600]
    assert "signed by" in run(folder, "--verify", str(page), "--signed-by", by).output
    assert "not overwritten" in run(folder, "-o", str(page), code=2).output
    page.write_text(page.read_text() + "nothing passed\n")
    assert "NOT signed" in run(folder, "--verify", str(page), "--signed-by", by, code=1).output
    told = run(folder, "--json", "--verify", str(page), "--signed-by", by, code=1).output
    assert json.loads(told) == {"file": str(page), "valid": False}


def test_a_key_that_others_can_read_signs_nothing(folder: Path, tmp_path: Path):
    """And nothing is written then."""
    key, page = tmp_path / "key.pem", tmp_path / "h1.md"
    key.write_bytes(private_pem(new_key(KeyKind.ED25519)))
    key.chmod(0o644)
    assert "0600" in run(folder, "-o", str(page), "--sign-key", str(key), code=2).output
    assert not page.exists()
    key.chmod(0o600)
    told = run(folder, "--json", "-o", str(page), "--sign-key", str(key)).output
    assert json.loads(told) == {"files": [str(page), f"{page}.sig"]}


@pytest.mark.parametrize(
    "words",
    [
        ("--verify", "a"),
        ("--signed-by", "a"),
        ("--sign-key", "a"),
        ("--from", "a", "--since", "7d"),
        ("--since", "soon"),
    ],
)
def test_options_that_say_nothing_together_are_refused(folder: Path, words: tuple[str, ...]):
    """Before anything is read."""
    run(folder, *words, code=64)


def test_a_file_that_is_no_document_is_refused(folder: Path):
    """JSON of something else, or none."""
    for text in ("[]", "{", '{"format":"x"}'):
        (folder / "x.json").write_text(text)
        assert "x.json" in run(folder, "--from", str(folder / "x.json"), code=2).output
