# SPDX-License-Identifier: Apache-2.0
"""Every command of ours that a page shows exists, with its flags; so does what appctl is asked."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from controller import commands as controller_commands
from northd_ext import daemon as northd_daemon
from ovn_ipsec import service
from ovn_ipsec.cli.__main__ import main as cli

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
EVERYWHERE = {"--json", "--help", "-h"}
ASKED = {
    "controller": {one.name for one in (*controller_commands.OFFERS, *service.OFFERS)},
    "northd": {one.name for one in (*northd_daemon.OFFERS, *service.OFFERS)},
}
_SPAN = re.compile(r"`(ovn-ipsec [^`\n]+)`")
_LINE = re.compile(r"^\s*(ovn-ipsec [^\n|]+)$", re.MULTILINE)
_APPCTL = re.compile(r"ov[sn]-appctl -t ovn-ipsec-(controller|northd) ([a-z/-]+)")


def shown(text: str) -> Iterator[str]:
    """The commands in the code of a page."""
    yield from _SPAN.findall(text)
    yield from (line.rstrip("\\") for line in _LINE.findall(text))


def flags(context: click.Context) -> set[str]:
    """The flags of a command."""
    return {flag for one in context.command.get_params(context) for flag in one.opts}


def fault(line: str) -> str:
    """What of a command is not known; empty: all is."""
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = cli
    context = click.Context(cli, **cli.context_settings)
    known = flags(context) | EVERYWHERE
    for number, word in enumerate(words):
        if word.startswith("-") and word.partition("=")[0] not in known | {"-"}:
            return word
        if isinstance(command, click.Group) and re.fullmatch("[a-z][a-z-]*", word):
            before = words[number - 1] if number else ""
            found = command.get_command(context, word)
            if found is None and not before.startswith("-"):
                return word
            if found is not None:
                command, context = found, click.Context(found, parent=context)
                known |= flags(context)
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_on_a_page_exist(page: Path):
    text = page.read_text("utf-8")
    assert [line for line in shown(text) if fault(line)] == []
    unknown = [(who, what) for who, what in _APPCTL.findall(text) if what not in ASKED[who]]
    assert unknown == []


def test_commands_are_found_on_pages():
    assert sum(1 for page in PAGES for _ in shown(page.read_text("utf-8"))) > 100


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ovn-ipsec status --chassis NAME", ""),
        ("ovn-ipsec stat", "stat"),
        ("ovn-ipsec status --chasis NAME", "--chasis"),
        ("ovn-ipsec policy ad any any off", "ad"),
        ("ovn-ipsec --ovnnb-db tcp:1 pki --ca x issue hv1", ""),
    ],
)
def test_what_does_not_exist_is_seen(line: str, expected: str):
    assert fault(line) == expected
