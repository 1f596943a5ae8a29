# SPDX-License-Identifier: Apache-2.0
"""What a reader of a tutorial types, and where.

Pure. A block of commands is fenced as ``sh`` and its title names the machine, or several with
commas between. Other blocks are shown and not typed. A command goes on behind a backslash.

Whoever types it all has to know two things more: after ``reboot`` the machine goes away, and a
question (`Step.is_question`) may be asked again until it is answered well, as the page says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_DOCS = Path(__file__).parents[3] / "docs"
TUTORIAL = _DOCS / "tutorial.md"
MIGRATE = _DOCS / "tutorial-migrate.md"
ONE_TENANT = _DOCS / "tutorial-one-tenant.md"
PAGES = (TUTORIAL, MIGRATE, ONE_TENANT)
_OPENS = re.compile(r'^```sh title="([^"]+)"$')
_CLOSES = "```"
_QUESTIONS = (
    *(f"ovn-ipsec {what}" for what in ("doctor", "explain", "peers", "status")),
    "ping ",
    "systemctl is-",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command on one machine."""

    section: str
    """The heading above it."""
    host: str
    command: str
    """For a shell of root's, in root's home; in one line."""
    line: int
    """Of the page, where it begins."""

    @property
    def chapter(self) -> int:
        """The number of its section."""
        return int(self.section.partition(".")[0])

    @property
    def is_of_apt(self) -> bool:
        """Whether it installs or removes packages, which concerns no other machine."""
        return self.command.startswith("apt ")

    @property
    def is_question(self) -> bool:
        """Whether it changes nothing, so that it may be asked until all is well."""
        return self.command.startswith(_QUESTIONS)


class TutorialError(Exception):
    """The page has a block that nobody could type."""


def steps(text: str) -> Iterator[Step]:
    """Take the commands from a page, in the order of the page.

    Args:
        text: The page.

    Raises:
        TutorialError: A block of commands names no machine, does not end, or ends in the middle of
            a command.
    """
    section, fence = "", ""
    hosts: tuple[str, ...] = ()
    command, begin = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not fence:
            if line.startswith("#"):
                section = line.lstrip("# ")
            fence, hosts = _opened(line, number)
        elif line == _CLOSES:
            if command:
                raise TutorialError(f"line {begin}: the command does not end in its block")
            fence, hosts = "", ()
        elif hosts:
            begin = begin if command else number
            command += line.lstrip() if command else line
            if line.endswith("\\"):
                command = command[:-1].rstrip() + " "
                continue
            for host in hosts if command.strip() else ():
                yield Step(section=section, host=host, command=command, line=begin)
            command = ""
    if fence:
        raise TutorialError("the last block does not end")


def rounds(typed: Iterable[Step]) -> Iterator[tuple[Step, ...]]:
    """Group neighbouring commands of apt on different machines: people type them at once.

    Args:
        typed: In the order of the page; every other command is alone.
    """
    together: tuple[Step, ...] = ()
    for step in typed:
        with_them = step.is_of_apt and step.host not in {one.host for one in together}
        if together and not (with_them and together[0].is_of_apt):
            yield together
            together = ()
        together = (*together, step)
    if together:
        yield together


def _opened(line: str, number: int) -> tuple[str, tuple[str, ...]]:
    """Whether a line opens a block, and on which machines it is typed."""
    if not line.startswith(_CLOSES):
        return "", ()
    if found := _OPENS.match(line):
        return _CLOSES, tuple(name.strip() for name in found[1].split(","))
    if line.startswith("```sh"):
        raise TutorialError(f'line {number}: commands need a machine: ```sh title="h1"')
    return _CLOSES, ()
