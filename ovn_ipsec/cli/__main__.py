# SPDX-License-Identifier: Apache-2.0
"""Shell: the program ovn-ipsec; each command is a module here that is imported when it is used."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import click

from .. import __version__
from ..model.text import printable
from ..schema.fields import Place
from ..schema.remotes import parse_remotes
from .program import HELP_NAMES, Program, with_json
from .settings import Settings

COMMANDS = (
    "check-wire",
    "doctor",
    "evaluate",
    "evidence",
    "explain",
    "mtu",
    "peers",
    "pki",
    "policy",
    "probe",
    "report",
    "sandbox",
    "status",
    "wait",
)
RUNDIR = os.environ.get("OVN_RUNDIR", "/var/run/ovn")


class LazyGroup(Program):
    """A group whose commands are modules beside this one, each with a command named `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names of the commands, sorted; packages come without the laboratory of `sandbox`."""
        there = (Path(__file__).parents[1] / "lab").is_dir()
        return [name for name in COMMANDS if there or name != "sandbox"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{__package__}.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return with_json(command)


def _remotes(_: click.Context, parameter: click.Parameter, text: str) -> str:
    """Refuse remotes of which none can be connected to; a few wrong ones are named later."""
    found = parse_remotes(Place(table="remotes", row=str(parameter.name), key=""), text)
    if found.usable:
        return text
    faults = (f"{printable(error.text, 80)}: {error.reason}" for error in found.errors)
    raise click.BadParameter("; ".join(faults) or "no remote is given")


@click.group(cls=LazyGroup, name="ovn-ipsec", context_settings=HELP_NAMES)
@click.option(
    "--ovnnb-db",
    metavar="REMOTES",
    envvar="OVN_NB_DB",
    default=f"unix:{RUNDIR}/ovnnb_db.sock",
    callback=_remotes,
    help="Northbound database, as for ovn-nbctl (default: $OVN_NB_DB, or the local socket).",
)
@click.option(
    "--ovnsb-db",
    metavar="REMOTES",
    envvar="OVN_SB_DB",
    default=f"unix:{RUNDIR}/ovnsb_db.sock",
    callback=_remotes,
    help="Southbound database, as for ovn-sbctl (default: $OVN_SB_DB, or the local socket).",
)
@click.option("-p", "--private-key", metavar="FILE", help="Private key for ssl: remotes.")
@click.option("-c", "--certificate", metavar="FILE", help="Certificate for ssl: remotes.")
@click.option(
    "-C",
    "--ca-cert",
    metavar="FILE",
    help="CA certificate that the server of ssl: remotes is verified with.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, here or after the command.")
@click.version_option(__version__)
@click.pass_context
def main(ctx: click.Context, /, **flags: str | bool | None) -> None:
    """Inspect and control the encryption of an OVN cluster's tunnels.

    Exit status of status, doctor, explain and peers: 0 healthy, 1 degraded, 2 unknown; of every
    command, 64 if the command line is wrong. With --json, an error is one JSON object: error, and
    next_step if something helps.
    """
    ctx.obj = Settings(**flags)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
