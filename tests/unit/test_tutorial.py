# SPDX-License-Identifier: Apache-2.0
"""The commands of the tutorials can be taken from their pages, and our programs know them."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest

from ovn_ipsec.cli.__main__ import main as cli
from ovn_ipsec.lab.hosts.recipe import HOSTS
from ovn_ipsec.lab.hosts.tutorial import (
    MIGRATE,
    ONE_TENANT,
    PAGES,
    TUTORIAL,
    Step,
    TutorialError,
    rounds,
    steps,
)

TYPED = {page: tuple(steps(page.read_text("utf-8"))) for page in PAGES}
STEPS = [
    pytest.param(step, id=f"{page.stem}-{step.line}-{step.host}")
    for page, found in TYPED.items()
    for step in found
]
OURS = [one for one in STEPS if one.values[0].command.startswith("ovn-ipsec ")]


def typed(text: str) -> list[tuple[str, str]]:
    return [(step.host, step.command) for step in steps(text)]


def test_commands_are_taken_with_their_machine_section_and_line():
    text = '# T\n\n## One\n\n```sh title="h1"\na\nb\n```\n\n## Two\n\n```sh title="h2"\nc\n```\n'
    expected = [
        Step(section="One", host="h1", command="a", line=6),
        Step(section="One", host="h1", command="b", line=7),
        Step(section="Two", host="h2", command="c", line=13),
    ]
    assert expected == list(steps(text))


def test_a_command_over_several_lines_is_one():
    text = '```sh title="h1"\none \\\n    two \\\n    three\nfour\n```'
    assert typed(text) == [("h1", "one two three"), ("h1", "four")]


def test_a_block_for_several_machines_is_typed_on_each():
    assert typed('```sh title="h1, h2"\na\n```') == [("h1", "a"), ("h2", "a")]


def test_other_blocks_and_blank_lines_are_not_typed():
    text = '```\nshown\n```\n```text\n# no heading\n```\n```sh title="h1"\n\na\n```'
    assert list(steps(text)) == [Step(section="", host="h1", command="a", line=9)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```sh\na\n```", "line 1: commands need a machine"),
        ('```sh title="h1"\na', "the last block does not end"),
        ('```sh title="h1"\na \\\n```', "line 2: the command does not end"),
    ],
)
def test_a_block_that_nobody_could_type_is_refused(text: str, fault: str):
    with pytest.raises(TutorialError, match=fault):
        list(steps(text))


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([], []),
        (["h1 ls", "h2 ls"], [["h1 ls"], ["h2 ls"]]),
        (["h1 apt a", "h2 apt b", "h1 ls"], [["h1 apt a", "h2 apt b"], ["h1 ls"]]),
        (["h1 apt a", "h1 apt b", "h2 apt c"], [["h1 apt a"], ["h1 apt b", "h2 apt c"]]),
        (["h1 ls", "h2 apt a", "h1 apt b"], [["h1 ls"], ["h2 apt a", "h1 apt b"]]),
        (["h1 apt a", "h2 ls", "h2 apt b"], [["h1 apt a"], ["h2 ls"], ["h2 apt b"]]),
    ],
)
def test_only_apt_is_typed_on_two_machines_at_once(commands: list[str], expected: list[list[str]]):
    given = [Step(section="", host=text[:2], command=text[3:], line=1) for text in commands]
    found = [[f"{one.host} {one.command}" for one in together] for together in rounds(given)]
    assert found == expected


def test_every_command_is_in_a_numbered_chapter():
    """In the order of their numbers, without a gap."""
    chapters = [step.chapter for step in TYPED[TUTORIAL]]
    assert list(dict.fromkeys(chapters)) == list(range(1, 9))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_is_about_two_machines(page: Path):
    assert {step.host for step in TYPED[page]} == {"h1", "h2"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_code_host_shows_the_machine_too(page: Path):
    """It shows no title of a block, so the line above says it."""
    lines = page.read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith('```sh title="'):
            machine = line.split('"')[1]
            assert lines[number - 2] == f"On `{machine}`:", f"line {number + 1}"


@pytest.mark.parametrize(
    ("page", "stations"),
    [
        (
            TUTORIAL,
            (
                "apt install -y ./build/deb/",
                "ovn-nbctl set NB_Global . ipsec=true",
                "ovn-ipsec wait enforced",
                "ovn-ipsec policy add --priority",
                "ovs-appctl -t ovn-ipsec-controller credentials/renew",
                "reboot",
                "ovn-ipsec wait off",
                "apt purge",
            ),
        ),
        (
            MIGRATE,
            (
                "apt install -y openvswitch-ipsec",
                "ovs-pki init",
                "ovn-nbctl set NB_Global . ipsec=true",
                "systemctl mask strongswan",
                "apt install -y ./build/deb/",
                "systemctl mask openvswitch-ipsec",
                "kill -KILL",
                "systemctl unmask strongswan",
                "systemctl enable --now ovn-ipsec-controller",
                "ovn-ipsec wait enforced",
            ),
        ),
        (
            ONE_TENANT,
            (
                "ovn-ipsec policy add --priority 10 any any off",
                "ovn-nbctl set NB_Global . ipsec=true",
                "ovn-nbctl ls-add payments",
                "ovn-ipsec policy add --dry-run --priority 100",
                "ovs-vsctl --if-exists del-port",
                "ovn-nbctl set Logical_Switch payments",
                "ovn-nbctl ls-del payments",
            ),
        ),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_a_tutorial_goes_its_way(page: Path, stations: tuple[str, ...]):
    """From the beginning to the end in this order, each at least once."""
    found = [
        next(n for n, step in enumerate(TYPED[page]) if step.command.startswith(station))
        for station in stations
    ]
    assert found == sorted(found)


def test_the_addresses_are_those_of_the_laboratorys_hosts():
    """So that a person and a test may type it there as it is."""
    typed_words = " ".join(step.command for step in TYPED[TUTORIAL])
    for host in HOSTS:
        for word in (host.address, host.workload, host.workload_mac, host.workload_address):
            assert word in typed_words


def test_questions_change_nothing():
    found = [step for page in TYPED.values() for step in page if step.is_question]
    ours = {step.command.split()[1] for step in found if step.command.startswith("ovn-ipsec")}
    assert ours == {"status", "peers", "explain", "doctor"}


@pytest.mark.parametrize("step", STEPS)
def test_a_shell_can_read_it(step: Step):
    """Quotes are closed, and nothing waits for a keyboard."""
    words = shlex.split(step.command)
    assert words
    assert words[0] != "apt" or "-y" in words


@pytest.mark.parametrize("step", OURS)
def test_our_command_knows_it(step: Step):
    """Every word and flag, as far as that can be told without a cluster."""
    words = shlex.split(step.command)[1:]
    command: click.Command = cli
    context = click.Context(cli, info_name="ovn-ipsec", **cli.context_settings)
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, words[0]
        command, words = found, words[1:]
        context = click.Context(command, info_name=command.name, parent=context)
    assert command.make_context(str(command.name), words, parent=context.parent) is not None
