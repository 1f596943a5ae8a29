# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec evidence`."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ...clock import utc_now
from ...errors import EdgeError, IPsecError
from ..output import complain_of, say, say_json, warn
from ..settings import Exit, Settings
from .times import EXPECTED, parse_time

FILE = click.Path(path_type=Path)
SUFFIX = ".sig"
"""Of the file with the signature, behind the name of what is signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says."""

    since: str | None
    output: Path | None
    sign_key: Path | None
    source: Path | None
    verify: Path | None
    signed_by: Path | None
    target: str | None
    state_dir: Path


@click.command(
    name="evidence", short_help="Say what this chassis can prove of its encryption; sign it."
)
@click.option("--since", metavar="TIME", help="Only what reaches beyond: a date, or 30m, 24h, 7d.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=FILE,
    help="Write there: JSON if it ends with .json, otherwise a page; nothing is overwritten.",
)
@click.option(
    "--sign-key",
    metavar="KEY",
    type=FILE,
    help=f"Sign FILE of --output with this private key, into FILE{SUFFIX}.",
)
@click.option(
    "--from",
    "source",
    metavar="FILE",
    type=FILE,
    help="Take a JSON document that was made before, such as on another host.",
)
@click.option(
    "--verify", metavar="FILE", type=FILE, help=f"Verify FILE against FILE{SUFFIX} instead."
)
@click.option(
    "--signed-by",
    metavar="CERT",
    type=FILE,
    help="For --verify: certificate or public key of who signed.",
)
@click.option(
    "-t",
    "--target",
    metavar="SOCKET",
    help="Control socket of ovn-ipsec-controller (default: that of the one on this host).",
)
@click.option(
    "--state-dir",
    metavar="DIR",
    type=FILE,
    default="/var/lib/ovn-ipsec",
    show_default=True,
    help="Where the controller keeps its journal, which is read if none runs.",
)
@click.pass_obj
def command(settings: Settings, /, **options: Any) -> None:
    """Say what this chassis can prove of its encryption, and what it does not know.

    For each pair: since when it is encrypted, with which suites, keys and certificates, rekeys,
    and what was protected; for the host: what passed in clear and what was denied, which policies
    were obeyed, and when nobody observed. It is a page in Markdown, or JSON with --json. Exit
    status: 0 done, 1 a signature does not fit, 2 there is no evidence.
    """
    asked = Asked(**options)
    _check(asked)
    try:
        if asked.verify is not None and asked.signed_by is not None:
            _verify(settings, asked.verify, asked.signed_by)
            return
        _make(settings, asked)
    except IPsecError as error:
        complain_of(error)
        sys.exit(Exit.CANNOT_TELL)


def _check(asked: Asked) -> None:
    """Refuse options that say nothing together."""
    if (asked.verify is None) != (asked.signed_by is None):
        raise click.UsageError("--verify and --signed-by belong together")
    if asked.sign_key is not None and asked.output is None:
        raise click.UsageError("--sign-key signs the file of --output: name one")
    if asked.source is not None and asked.since is not None:
        raise click.UsageError("--since cannot be applied to a document that was made before")


def _make(settings: Settings, asked: Asked) -> None:
    from ...evidence.page import page  # noqa: PLC0415 - --help stays quick

    found = _find(asked)
    if asked.output is None:
        if settings.as_json:
            say_json(found)
        else:
            click.echo(page(found), nl=False)
        return
    as_json = asked.output.suffix == ".json"
    text = json.dumps(found, indent=1) + "\n" if as_json else page(found)
    written = _write(asked.output, text.encode("ascii", "replace"), asked.sign_key)
    if settings.as_json:
        say_json({"files": [str(path) for path in written]})
    else:
        say(f"written: {', '.join(map(str, written))}")


def _find(asked: Asked) -> dict[str, Any]:
    from . import sources  # noqa: PLC0415 - --help stays quick

    if asked.source is not None:
        return sources.of_file(asked.source)
    since = None
    if asked.since is not None:
        try:
            since = parse_time(asked.since, utc_now())
        except ValueError:
            raise click.UsageError(f"--since {asked.since}: {EXPECTED}") from None
    if asked.target is not None:
        return sources.of_controller(asked.target, since)
    if (socket := sources.socket_here()) is not None:
        try:
            return sources.of_controller(socket, since)
        except EdgeError as error:
            warn(f"{error.diagnostics()}; the journal in {asked.state_dir} is read")
    return sources.of_journal(asked.state_dir, since)


def _write(path: Path, data: bytes, key_path: Path | None) -> list[Path]:
    from ...pki import files, keys, signature  # noqa: PLC0415 - --help stays quick

    signed = path.with_name(path.name + SUFFIX)
    targets = [path] if key_path is None else [path, signed]
    for target in targets:
        if os.path.lexists(target):
            raise EdgeError(f"{target}: exists, and is not overwritten")
    made = b""
    if key_path is not None:
        key = keys.read_private(str(key_path), files.read(key_path, private=True))
        made = signature.sign(key, data)
    files.write(path, data, files.PRIVATE)
    if key_path is not None:
        files.write(signed, made, files.PRIVATE)
    return targets


def _verify(settings: Settings, path: Path, by: Path) -> None:
    from ...pki import files, signature  # noqa: PLC0415 - --help stays quick

    signed = path.with_name(path.name + SUFFIX)
    key = signature.read_public(str(by), files.read(by))
    made = files.read(signed, limit=signature.SIGNATURE_MAX)
    fits = signature.verify(key, files.read(path), made)
    if settings.as_json:
        say_json({"file": str(path), "valid": fits})
    elif fits:
        say(f"{path}: signed by the key of {by}")
    else:
        warn(f"{path}: NOT signed by the key of {by}, or changed since")
    sys.exit(Exit.WELL if fits else Exit.DEGRADED)
