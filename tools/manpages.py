# SPDX-License-Identifier: Apache-2.0
"""Write the man pages in packaging/man from the code; with --check, only compare."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import click
from reference import OFFERS, columns, facts

from controller.__main__ import main as controller
from northd_ext.__main__ import main as northd
from ovn_ipsec import __version__
from ovn_ipsec.cli.__main__ import main as cli

PACKAGING = Path(__file__).parents[1] / "packaging"
PAGES, CHANGELOG = PACKAGING / "man", PACKAGING / "debian" / "changelog"
NOTE = '.\\" Written by tools/manpages.py; do not edit: run `make docs`.\n'
LABORATORY = "sandbox"
"""A command that no package holds."""
PROGRAMS = ("ovn-ipsec(8)", "ovn-ipsec-northd(8)", "ovn-ipsec-controller(8)", "ovn-ipsec-keys(5)")
STATUS = (
    ("0", "Well, or what was asked for was done."),
    ("1", "Degraded, or it could not be done."),
    ("2", "Nobody can tell."),
    ("64", "The command line is wrong."),
)
COMMON = {"--help", "--json"}
"""Flags of every command."""
COMMON_FILES = (
    (
        "/etc/default/ovn-ipsec, /etc/sysconfig/ovn-ipsec",
        "Further flags for the units, in OVN_IPSEC_NORTHD_OPTS and OVN_IPSEC_CONTROLLER_OPTS.",
    ),
)
NORTHD_FILES = (
    *COMMON_FILES,
    ("/var/run/ovn/ovn-ipsec-northd.pid", "Pidfile; the control socket lies beside it."),
    ("/var/lib/ovn-ipsec/ca", "Where the unit may keep a certificate authority (--ca-dir)."),
)
CONTROLLER_FILES = (
    *COMMON_FILES,
    (
        "/var/run/openvswitch/ovn-ipsec-controller.pid",
        "Pidfile; the control socket lies beside it.",
    ),
    (
        "/var/lib/ovn-ipsec/boot-guard.json",
        "What is denied from the first packet after a boot on. Without this file nothing is, and "
        "ovn-ipsec-guard.service is skipped.",
    ),
    ("/etc/strongswan.d/ovn-ipsec.conf", "Settings of the IKE daemon."),
)
CONTROLLER_NOTES = (
    "Ending the program, or restarting it for an upgrade, changes nothing that is in force: the "
    "guard stands and what is encrypted goes on. A package that is removed leaves the guard, too; "
    "one that is purged takes it away with --flush.",
    "ovn-controller.service requires ovn-ipsec-guard.service. Where a guard is kept and cannot be "
    "put up, ovn-controller does not start, and no tunnel is made. See what the guard says with "
    "`systemctl status ovn-ipsec-guard`, then start ovn-controller.",
)
APPCTL = {"ovn-ipsec-controller": "ovs-appctl", "ovn-ipsec-northd": "ovn-appctl"}
"""By the folder in which each looks for pidfiles."""
SIGNALS = (
    ("SIGTERM, SIGINT", "End."),
    ("SIGHUP", "Open the log file anew, as does the control command vlog/reopen."),
)


def roff(text: str) -> str:
    """Escape a text that stands on lines of its own or behind a macro."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("~", "\\(ti")
    text = text.replace("^", "\\(ha").replace('"', "\\(dq").replace("'", "\\(aq")
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in text.split("\n"))


def date() -> str:
    """When the version was made, as its package says."""
    last = re.search(r"^ -- .*>  (.*)$", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    assert last is not None  # noqa: S101 - dpkg-parsechangelog would not take it either
    return parsedate_to_datetime(last[1]).date().isoformat()


def title(name: str, section: int, purpose: str) -> list[str]:
    """Open a page."""
    name = roff(name)
    return [
        f'.TH {name.upper()} {section} "{date()}" "ovn\\-ipsec {__version__}" "OVN IPsec"',
        ".nh",
        ".ad l",
        ".SH NAME",
        f"{name} \\- {roff(purpose)}",
    ]


def prose(text: str) -> Iterator[str]:
    r"""Paragraphs of a help text; one that begins with \b keeps its lines, as in click."""
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if number:
            yield ".PP"
        if paragraph.startswith("\b\n"):
            yield from (".nf", roff(paragraph[2:]), ".fi")
        else:
            yield roff(" ".join(paragraph.split()))


def entries(pairs: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """Tagged paragraphs."""
    for tag, text in pairs:
        yield from (".TP", f"\\fB{roff(tag)}\\fR", roff(text))


def usage(command: click.Command, context: click.Context) -> str:
    """How a command is called."""
    pieces = " ".join(command.collect_usage_pieces(context))
    return f"\\fB{roff(context.command_path)}\\fR {roff(pieces)}"


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    """Every flag of a command with what it is for; those that all have stand at the program."""
    for parameter in command.get_params(context):
        if not isinstance(parameter, click.Option):
            continue
        if context.parent is not None and COMMON.intersection(parameter.opts):
            continue
        record = parameter.get_help_record(context)
        if record is None:
            continue
        names, text = record
        yield from (".TP", f"\\fB{roff(names)}\\fR")
        yield roff(" ".join(text.split()) or f"Default: {parameter.default}.")


def below(group: click.Group, context: click.Context) -> Iterator[str]:
    """Every command of a group, and those of the groups in it."""
    for name in group.list_commands(context):
        if name == LABORATORY:
            continue
        command = group.get_command(context, name)
        assert command is not None  # noqa: S101 - the group lists it
        own = click.Context(command, info_name=name, parent=context)
        yield f".SS {roff(own.command_path.removeprefix('ovn-ipsec '))}"
        yield usage(command, own)
        yield ".PP"
        yield from prose(command.help or "")
        yield from options(command, own)
        if isinstance(command, click.Group):
            yield from below(command, own)


def variables(command: click.Command) -> tuple[tuple[str, str], ...]:
    """Variables of the environment that stand for flags."""
    return tuple(
        (str(parameter.envvar), f"Stands for {parameter.opts[-1]}.")
        for parameter in command.params
        if parameter.envvar
    )


def see_also(own: str) -> list[str]:
    """The other pages."""
    others = [name for name in PROGRAMS if name != own]
    others += ["ovn-nb(5)", "ovn-sb(5)", "ovs-appctl(8)", "strongswan.conf(5)"]
    pages = [f"\\fB{roff(one.split('(')[0])}\\fR({one.split('(')[1]}" for one in others]
    return [".SH SEE ALSO", ",\n".join(pages)]


def command_page() -> list[str]:
    """Write ovn-ipsec(8)."""
    context = click.Context(cli, info_name="ovn-ipsec", **cli.context_settings)
    return [
        *title("ovn-ipsec", 8, "see and steer the encryption of an OVN cluster's tunnels"),
        ".SH SYNOPSIS",
        usage(cli, context),
        ".SH DESCRIPTION",
        *prose(cli.help or ""),
        ".SH OPTIONS",
        *options(cli, context),
        ".SH COMMANDS",
        *below(cli, context),
        ".SH EXIT STATUS",
        *entries(STATUS),
        ".SH ENVIRONMENT",
        *entries(variables(cli)),
        *see_also("ovn-ipsec(8)"),
    ]


def daemon_page(
    command: click.Command,
    purpose: str,
    files: tuple[tuple[str, str], ...],
    notes: tuple[str, ...] = (),
) -> list[str]:
    """Write the page of a daemon."""
    name = str(command.name)
    context = click.Context(command, info_name=name)
    lines = [*title(name, 8, purpose), ".SH SYNOPSIS", usage(command, context)]
    lines += [".SH DESCRIPTION", *prose(command.help or "")]
    lines += [".SH OPTIONS", *options(command, context), ".SH SIGNALS", *entries(SIGNALS)]
    lines += [".SH CONTROL COMMANDS", roff(f"Given to {APPCTL[name]} -t {name}, as root.")]
    for whose, _, offers in OFFERS:
        if whose in (name, "Both programs"):
            calls = ((f"{one.name} {one.usage}".rstrip(), one.meaning) for one in offers)
            lines += entries(tuple(calls))
    lines += [".SH FILES", *entries(files)]
    if notes:
        lines += [".SH NOTES", *prose("\n\n".join(notes))]
    return lines + see_also(f"{name}(8)")


def marked(text: str) -> str:
    """Escape a text in which code stands in backquotes, and print that bold."""
    pieces = text.split("`")
    return "".join(
        f"\\fB{roff(piece)}\\fR" if number % 2 else roff(piece)
        for number, piece in enumerate(pieces)
    )


def keys_page() -> list[str]:
    """Write ovn-ipsec-keys(5)."""
    lines = title("ovn-ipsec-keys", 5, "keys of ovn-ipsec in the databases of OVN and Open vSwitch")
    lines += [".SH DESCRIPTION", "Every key that ovn\\-ipsec reads or writes, by column."]
    lines += [
        roff(
            "In NB_Global.options any other key that begins with ovn-ipsec- or ipsec_ is reported"
            " and ignored."
        )
    ]
    database = ""
    for place, column, keys in columns():
        if place != database:
            database = place
            lines.append(f".SH {roff(database).upper()}")
        lines.append(f".SS {roff(column)}")
        for key in keys:
            lines += [".TP", f"\\fB{roff(key.name)}\\fR"] if key.name else [".PP"]
            lines.append(marked(key.meaning))
            for what, text in facts(key):
                lines += [".br", f"{what}: {marked(text)}"]
    return lines + see_also("ovn-ipsec-keys(5)")


def pages() -> dict[str, list[str]]:
    """Every page by its file."""
    return {
        "ovn-ipsec.8": command_page(),
        "ovn-ipsec-northd.8": daemon_page(
            northd, "turn the northbound IPsec policy into that of every chassis", NORTHD_FILES
        ),
        "ovn-ipsec-controller.8": daemon_page(
            controller, "encrypt the tunnels of a chassis", CONTROLLER_FILES, CONTROLLER_NOTES
        ),
        "ovn-ipsec-keys.5": keys_page(),
    }


def main() -> int:
    """Write or compare; 1 when something is not current."""
    bad = []
    PAGES.mkdir(exist_ok=True)
    for name, lines in pages().items():
        page, text = PAGES / name, NOTE + "\n".join(lines) + "\n"
        if "--check" not in sys.argv[1:]:
            page.write_text(text, encoding="utf-8")
        elif not page.exists() or page.read_text(encoding="utf-8") != text:
            bad.append(f"packaging/man/{name} is not current: make docs")
    print(*bad, sep="\n", end="\n" if bad else "")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
