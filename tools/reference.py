# SPDX-License-Identifier: Apache-2.0
"""Write the reference pages that follow from the code; with --check, only compare."""

from __future__ import annotations

import ast
import configparser
import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import click
import platforms

import controller.commands
import controller.metrics
import northd_ext.daemon
import northd_ext.metrics
from controller.__main__ import main as controller_program
from controller.plan.pair import replacement
from northd_ext.__main__ import main as northd
from ovn_ipsec import service
from ovn_ipsec.cli.__main__ import COMMANDS
from ovn_ipsec.cli.__main__ import main as cli
from ovn_ipsec.control import Offer
from ovn_ipsec.model.chassis import EncapType
from ovn_ipsec.model.key import Key, Party
from ovn_ipsec.model.metric import LAST_PASS
from ovn_ipsec.model.mtu import BY_PROFILE, EspSizes, Wrapping, inner_mtu, path_mtu
from ovn_ipsec.model.policy import Profile
from ovn_ipsec.policy import bindings
from ovn_ipsec.schema import encap, nb_global, open_vswitch, port, report, sb_global

METRICS = (
    ("Both programs", (LAST_PASS,)),
    ("ovn-ipsec-controller", controller.metrics.METRICS),
    ("ovn-ipsec-northd", northd_ext.metrics.METRICS),
)
OFFERS: tuple[tuple[str, str, tuple[Offer, ...]], ...] = (
    ("ovn-ipsec-controller", "On every chassis.", controller.commands.OFFERS),
    ("ovn-ipsec-northd", "Where ovn-northd runs.", northd_ext.daemon.OFFERS),
    ("Both programs", "As for the daemons of Open vSwitch.", service.OFFERS),
)
ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
EXPLANATION = ROOT / "docs" / "explanation"
ARCHITECTURE = EXPLANATION / "architecture.md"
MTU = ROOT / "docs" / "howto" / "mtu.md"
BEGIN = "<!-- {}, written by tools/reference.py; do not edit: run `make docs`. -->"
END = "<!-- End of what is written by tools/reference.py. -->"
NOTE = "<!-- Written by tools/reference.py; do not edit: run `make docs`. -->\n"
KEYS = tuple(
    key
    for module in (nb_global, sb_global, encap, report, open_vswitch, port, bindings)
    for key in module.DOCUMENTED
)
"""Every key that is read or written, those of one column together."""
BOOKS = {
    "northbound": "NB_Global.ipsec NB_Global.options NB_Global.external_ids"
    " Logical_Switch.other_config Logical_Switch.external_ids",
    "southbound": "SB_Global.external_ids SB_Global.ipsec SB_Global.options Encap.options"
    " Chassis.external_ids Chassis.other_config Chassis_Private.external_ids"
    " Port_Binding.options Datapath_Binding.external_ids",
    "Open vSwitch": "Open_vSwitch.other_config Open_vSwitch.external_ids Port.external_ids"
    " Interface.options",
}
"""Database: its columns, in the order of the page."""
SET = {
    "NB_Global": "ovn-nbctl set NB_Global .",
    "Logical_Switch": "ovn-nbctl set Logical_Switch payments",
    "Open_vSwitch": "ovs-vsctl set Open_vSwitch .",
}
"""By which command the operator writes into a table."""


def columns() -> Iterator[tuple[str, str, tuple[Key, ...]]]:
    """Database, column and keys of the column, in the order of the page."""
    for database, names in BOOKS.items():
        for column in names.split():
            yield database, column, tuple(key for key in KEYS if key.column == column)


def example(key: Key) -> str:
    """A command where the operator writes the key, a value otherwise."""
    if key.writer is not Party.OPERATOR:
        return key.example
    place = key.path.replace("<priority>", "100")
    return f"{SET[key.column.partition('.')[0]]} {shlex.quote(f'{place}={key.example}')}"


def facts(key: Key) -> Iterator[tuple[str, str]]:
    """What is said of a key besides its meaning, each with what it is."""
    yield "Values", key.values
    yield "Without it", key.default
    if key.example:
        yield "Example", f"`{example(key)}`"
    yield "Written by", key.writer
    yield "Read by", ", ".join(key.readers)


def _more(key: Key) -> str:
    """A link to where there is more, from the page in docs/reference."""
    page, sign, anchor = key.page.partition("#")
    title = (ROOT / "docs" / page).read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
    target = page.removeprefix("reference/") if page.startswith("reference/") else f"../{page}"
    return f"[{title}]({target}{sign}{anchor})"


def _title(key: Key) -> str:
    return f"{key.column}:{key.name}" if key.name else key.column


def _index() -> Iterator[str]:
    """A table with a link to every key."""
    yield from ("| column | keys |", "|---|---|")
    for _, column, found in columns():
        links = (
            f"[`{k.name or column}`](#{re.sub('[^a-z0-9_-]', '', _title(k).lower())})"
            for k in found
        )
        yield f"| `{column}` | {', '.join(links)} |"


def keys() -> str:
    """Say of every key what it means, what may stand there, and who writes and reads it."""
    lines = ["# Keys in the databases", NOTE]
    lines += [
        "Every key that ovn-ipsec reads or writes, by database and column.",
        "Keys of ovn-ipsec begin with `ovn-ipsec`, and each has one writer; the others are OVN's or"
        " Open vSwitch's.",
        "",
        "- A value that does not parse is refused with table, row, key and what was expected."
        "\n  In the northbound it leaves the last good policy in force;"
        " a setting (`ipsec_`, Open_vSwitch) counts as not given instead.",
        "- In `NB_Global.options` any other key that begins with `ovn-ipsec-` or `ipsec_` is"
        " reported and ignored.",
        "- `operator` is whoever runs the command in the example.",
        "",
        *_index(),
    ]
    database = ""
    for place, _, found in columns():
        if place != database:
            database = place
            lines += ["", f"## {database[:1].upper()}{database[1:]}"]
        for key in found:
            lines += ["", f"### `{_title(key)}`", ""]
            lines += [re.sub(r"\. (?=[A-Z`])", ".\n", key.meaning), ""]
            lines += [f"- {what}: {text}" for what, text in facts(key)]
            lines += [f"- More: {_more(key)}"] if key.page else []
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """List every metric of every program."""
    lines = ["# Metrics", NOTE]
    lines += ["Served at `/metrics` of `--metrics-port`; how to: [monitor](../howto/monitor.md)."]
    for title, table in METRICS:
        lines += ["", f"## {title}", ""]
        lines += ["| metric | labels | kind | meaning |", "|---|---|---|---|"]
        for metric in table:
            labels = " ".join(f"`{label}`" for label in metric.labels)
            lines.append(f"| `{metric.name}` | {labels} | {metric.kind} | {metric.meaning} |")
    return "\n".join(lines) + "\n"


def appctl() -> str:
    """List the commands that both daemons offer to ovs-appctl."""
    lines = ["# Commands of ovs-appctl", NOTE]
    lines += [
        "Ask the program on the same host, as root; each looks for pidfiles in another folder.",
        "",
        "```",
        "ovs-appctl -t ovn-ipsec-controller COMMAND",
        "ovn-appctl -t ovn-ipsec-northd COMMAND",
        "```",
        "",
        "An answer is text, or with `json` an object for programs, whose keys do not change.",
        "A command that fails says why, and ovs-appctl ends with status 2.",
    ]
    for title, where, offers in OFFERS:
        lines += ["", f"## {title}", "", where, "", "| command | meaning |", "|---|---|"]
        for offer in offers:
            usage = " ".join(filter(None, (offer.name, offer.usage))).replace("|", "\\|")
            lines.append(f"| `{usage}` | {offer.meaning} |")
    lines += [
        "",
        "## In place of ovs-monitor-ipsec",
        "",
        "`tunnels/show` has the lines of that program, `Interface name: PORT v1 (CONFIGURED)` and"
        " what follows, one block for each pair that policy wants encrypted.",
        "The number behind `v` is always 1, for ours are changed in place.",
        "`Pair state:` is added; `Ofport:` and `CFM state:` are not read.",
        "A secret is never shown: `PSK:` is always `None`.",
        "",
        "`ipsec/status` answers by port, then by SA, one line each.",
        "It is JSON, which Python reads as well: that program prints what only Python reads.",
        "",
        "`xfrm/policies` and `xfrm/state` have the same names there, and one entry in a line here.",
    ]
    return "\n".join(lines) + "\n"


def _helps(group: click.Group, context: click.Context) -> Iterator[tuple[str, str]]:
    """Path below `ovn-ipsec` and help text of every command, groups before their commands."""
    names = COMMANDS if group is cli else group.list_commands(context)
    for name in names:
        command = group.get_command(context, name)
        assert command is not None  # noqa: S101 - the group lists it
        own = click.Context(command, info_name=name, parent=context, max_content_width=80)
        yield own.command_path.removeprefix("ovn-ipsec "), command.get_help(own)
        if isinstance(command, click.Group):
            yield from _helps(command, own)


def commands() -> str:
    """Print the help of ovn-ipsec and of each of its commands."""
    lines = ["# The command ovn-ipsec", NOTE]
    context = click.Context(
        cli, info_name="ovn-ipsec", max_content_width=80, **cli.context_settings
    )
    lines += ["```", cli.get_help(context), "```"]
    for title, text in _helps(cli, context):
        level = "#" * (1 + len(title.split()))
        lines += ["", f"{level} {title}", "", "```", text, "```"]
    return "\n".join(lines) + "\n"


def daemons() -> str:
    """Print the help of both daemons."""
    lines = ["# The daemons", NOTE]
    lines += ["The units take flags from `/etc/default/ovn-ipsec`: [install](../howto/install.md)."]
    for daemon in (northd, controller_program):
        context = click.Context(daemon, info_name=daemon.name, max_content_width=80)
        lines += ["", f"## {daemon.name}", "", "```", daemon.get_help(context), "```"]
    return "\n".join(lines) + "\n"


def _members(kind: type[Enum]) -> Iterator[tuple[str, str]]:
    """Value and docstring of every member of an enumeration."""
    tree = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(tree, ast.ClassDef)  # noqa: S101 - it is one
    for line, text in zip(tree.body[1:], tree.body[2:], strict=False):
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            said = ast.literal_eval(text.value) if isinstance(text, ast.Expr) else ""
            yield str(kind[line.targets[0].id].value), " ".join(said.split())


def _wait(wait: replacement.Wait) -> str:
    if wait.since is replacement.Since.NOW:
        return str(wait.since.value)
    text = f"{wait.seconds:g} s after {wait.since.value}"
    if wait.sooner is not None:
        text += f" ({wait.sooner[1]:g} s if {wait.sooner[0].value})"
    return text


def _entry(rule: replacement.Rule) -> str:
    words = [f"make `{rule.make}`: {', or '.join(map(_wait, rule.after))}"] if rule.make else []
    if rule.end is not replacement.Ending.NOTHING:
        words.append(f"end {rule.end.value}: {_wait(rule.ends_after)}")
    return "; ".join(words) or "nothing"


def stages() -> str:
    """Print the theory of the replacement of SAs, its stages and its table."""
    _, _, theory = inspect.cleandoc(replacement.__doc__ or "").partition("\n\n")
    lines = ["# The replacement of SAs", NOTE, theory, "", "## Stages", ""]
    lines += ["| stage | meaning |", "|---|---|"]
    lines += [f"| {name} | {meaning} |" for name, meaning in _members(replacement.Stage)]
    roles = list(replacement.Role)
    lines += ["", "## What is done in each", ""]
    lines += [f"| stage | {' | '.join(role.value for role in roles)} |", "|---|---|---|"]
    for stage in replacement.Stage:
        entries = (_entry(replacement.TABLE[stage, role]) for role in roles)
        lines.append(f"| {stage.value} | {' | '.join(entries)} |")
    return "\n".join(lines) + "\n"


def _purpose(path: Path) -> str:
    """The first sentence of the docstring of a module or a package."""
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _floors(text: str) -> list[list[str]]:
    """The layers of a contract, highest first, each with its modules."""
    return [re.split(r"\s*[|:]\s*", line.strip()) for line in text.splitlines() if line.strip()]


def _picture(floors: list[list[str]]) -> Iterator[str]:
    """Draw layers as boxes, one on top of the other."""
    texts = [" | ".join(floor) for floor in floors]
    width = max(map(len, texts))
    edge = f"+{'-' * (width + 2)}+"
    yield edge
    for text in texts:
        yield f"| {text.center(width)} |"
        yield edge


def layers() -> str:
    """Draw the layers that setup.cfg tells import-linter to enforce, and say what is in each."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = []
    for name in config.sections():
        if not name.startswith("importlinter:contract:") or config[name]["type"] != "layers":
            continue
        container = config[name].get("containers", "").strip()
        title = f"`{container}`" if container else "The three packages"
        floors = _floors(config[name]["layers"])
        lines += [f"### {title}", "", "```", *_picture(floors), "```", ""]
        lines += ["| module | what it is for |", "|---|---|"]
        for module in (module for floor in floors for module in floor):
            folder = ROOT / container.replace(".", "/") / module
            lines.append(f"| `{module}` | {_purpose(folder)} |")
        lines.append("")
    return "\n".join(lines)


def overheads() -> str:
    """Tell what a tunnel packet leaves to workloads, by suite, NAT-T and version of IP."""
    lines = [
        "| in the underlay | IP | ESP in UDP | of 1500 | of 9000 | for workloads of 1500 |",
        "|---|---|---|---|---|---|",
    ]
    suites: dict[EspSizes | None, list[str]] = {None: ["in clear"]}
    for profile in Profile:
        suites.setdefault(BY_PROFILE[profile], []).append(f"`{profile}`")
    for sizes, names in suites.items():
        for version in (4, 6):
            for in_udp in (False, True) if sizes is not None else (False,):
                wrapping = Wrapping(
                    type=EncapType.GENEVE, version=version, esp=sizes, in_udp=in_udp
                )
                left = f"{inner_mtu(1500, wrapping)} | {inner_mtu(9000, wrapping)}"
                udp = "-" if sizes is None else "yes" if in_udp else "no"
                head = f"| {', '.join(names)} | {version} | {udp}"
                lines.append(f"{head} | {left} | {path_mtu(1500, wrapping)} |")
    return "\n".join(lines) + "\n"


def filled(page: Path, what: str, content: str) -> str:
    """Put what is generated into a page that is otherwise written by hand."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN.format(what))
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{page.relative_to(ROOT)}: no lines {BEGIN.format(what)!r} and {END!r}")
    return f"{before}{begin}\n\n{content}\n{end}{after}"


def unresolved() -> list[str]:
    """Relative links in docs/ and the pages beside it that lead nowhere."""
    missing = []
    for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                missing.append(f"{page.relative_to(ROOT)}: {target}")  # noqa: PERF401
    return missing


def main() -> int:
    """Write or compare; 1 when something is not current."""
    pages = {
        PAGES / "keys.md": keys(),
        PAGES / "cli.md": commands(),
        PAGES / "daemons.md": daemons(),
        PAGES / "metrics.md": metrics(),
        PAGES / "appctl.md": appctl(),
        PAGES / "platforms.md": platforms.page(platforms.read()),
        EXPLANATION / "replacement.md": stages(),
        ARCHITECTURE: filled(ARCHITECTURE, "Layers", layers()),
        MTU: filled(MTU, "Overheads", overheads()),
    }
    bad = []
    for page, text in pages.items():
        if "--check" in sys.argv[1:]:
            if not page.exists() or page.read_text(encoding="utf-8") != text:
                bad.append(f"{page.relative_to(ROOT)} is not current: make docs")
        else:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")
    bad += [f"broken link: {link}" for link in unresolved()]
    print(*bad, sep="\n", end="\n" if bad else "")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
