# SPDX-License-Identifier: Apache-2.0
"""Write the reference pages that follow from the code; with --check, only compare."""

from __future__ import annotations

import ast
import configparser
import inspect
import re
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import click

import controller.metrics
import northd_ext.metrics
from controller.plan.pair import replacement
from ovn_ipsec.cli.__main__ import COMMANDS
from ovn_ipsec.cli.__main__ import main as cli
from ovn_ipsec.model.metric import LAST_PASS
from ovn_ipsec.schema import encap, nb_global, open_vswitch, report, sb_global, tuning

METRICS = (
    ("Both programs", (LAST_PASS,)),
    ("ovn-ipsec-controller", controller.metrics.METRICS),
    ("ovn-ipsec-northd", northd_ext.metrics.METRICS),
)
ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
EXPLANATION = ROOT / "docs" / "explanation"
ARCHITECTURE = EXPLANATION / "architecture.md"
BEGIN = "<!-- Layers, written by tools/reference.py; do not edit: run `make docs`. -->"
END = "<!-- End of the layers. -->"
NOTE = "<!-- Written by tools/reference.py; do not edit: run `make docs`. -->\n"
TABLES = (
    (
        "NB_Global.options",
        nb_global,
        ("MODE", "ROLLOUT", "AUTH", "PROFILE", "HOLD", "QUARANTINE", "READMIT", "CONFIRM"),
        "operator",
    ),
    ("Logical_Switch.other_config", nb_global, ("NETWORK_MODE",), "operator"),
    ("NB_Global.external_ids", nb_global, ("REPORT_KEYS",), "ovn-ipsec-northd"),
    ("SB_Global.external_ids", sb_global, ("KEYS",), "ovn-ipsec-northd"),
    ("Encap.options", encap, ("KEYS",), "ovn-ipsec-northd"),
    ("Chassis_Private.external_ids", report, ("KEYS", "REQUEST"), "ovn-ipsec-controller, own row"),
    ("Chassis_Private.external_ids", report, ("ANSWER",), "ovn-ipsec-northd"),
    (
        "Open_vSwitch.other_config",
        open_vswitch,
        ("TUNNELS", "VICI", "PSK_FILE", "PSK_PLAIN", "CRL_FILE", "REVOCATION", "OCSP_URI"),
        "operator",
    ),
    ("Chassis.external_ids", report, ("PIN",), "ovn-ipsec-controller, own row"),
)


def keys() -> str:
    """List every key by column and writer, and every tuning setting with its range."""
    lines = ["# Keys in the databases", NOTE]
    lines += ["| column | key | written by |", "|---|---|---|"]
    for column, module, names, writer in TABLES:
        for name in names:
            value = getattr(module, name)
            for key in (value,) if isinstance(value, str) else value:
                lines.append(f"| `{column}` | `{key}` | {writer} |")
    lines += ["", "## Tuning: NB_Global.options", ""]
    lines += ["| key | lowest | highest |", "|---|---|---|"]
    prefix = nb_global.STOCK_PREFIX
    for name in tuning.SWITCHES:
        lines.append(f"| `{prefix}{name}` | `false` | `true` |")
    for name, (field, low, high) in tuning.RANGES.items():
        unit = " s" if field.endswith("_s") else " packets"
        lines.append(f"| `{prefix}{name}` | {low}{unit} | {high}{unit} |")
    lines += ["", "Any other key that begins with `ipsec_` is reported and ignored."]
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
    context = click.Context(cli, info_name="ovn-ipsec", max_content_width=80)
    lines += ["```", cli.get_help(context), "```"]
    for title, text in _helps(cli, context):
        level = "#" * (1 + len(title.split()))
        lines += ["", f"{level} {title}", "", "```", text, "```"]
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


def architecture() -> str:
    """Put the picture of the layers into the page about the architecture."""
    text = ARCHITECTURE.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{ARCHITECTURE.relative_to(ROOT)}: no lines {BEGIN!r} and {END!r}")
    return f"{before}{begin}\n\n{layers()}\n{end}{after}"


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
        PAGES / "metrics.md": metrics(),
        EXPLANATION / "replacement.md": stages(),
        ARCHITECTURE: architecture(),
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
