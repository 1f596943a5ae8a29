# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec report`."""

from __future__ import annotations

import json
import os
import re
import struct
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import click

from ... import __version__
from ...clock import utc_now
from ...errors import EdgeError, IPsecError
from ..doctor import place_options
from ..output import complain, say, say_json
from ..settings import Exit, Settings

README = """\
What ovn-ipsec and its surroundings show on this host.

manifest.json says when it was made, and of each part that is missing, why.
No key, secret or password is in it: of files in Open_vSwitch only the paths, of SAs no keys, of
databases only the keys of ovn-ipsec and a few of OVN's, and of logs no hex dumps. Names, addresses
and certificates are in it.
"""
HELD = "left out: it would have held a secret"
FAULTS = (ValueError, LookupError, TypeError, AttributeError, struct.error)
"""What a part may meet that nobody thought of; its text could quote anything."""


@click.command(name="report", short_help="Write a support bundle, without secrets.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to write; an existing file is not overwritten (default: a new one, here).",
)
@place_options
@click.pass_obj
def command(settings: Settings, /, output: Path | None, **places: str | Path | None) -> None:
    """Write a support bundle: what this host shows, without secrets.

    It is a .tar.gz of mode 0600. It holds versions, the findings of doctor and status, our keys in
    the databases, the kernel's IPsec policies and SAs, our nftables table, the IKE_SAs, units, and
    the last lines of the logs of ovn-ipsec and strongSwan. It holds no key and no secret. What
    could not be had is named in it with the reason. Exit status: 0 written, 1 not.
    """
    made = utc_now()
    path = output or Path(default_name(os.uname().nodename, made))
    try:
        missing = _write(settings, places, path, made)
    except EdgeError as error:
        complain(error.diagnostics(), "name another file with --output")
        sys.exit(Exit.DEGRADED)
    if settings.as_json:
        say_json({"file": str(path), "missing": missing})
        return
    for name, why in missing.items():
        say(f"without {name}: {why}")
    say(f"written: {path}")


def default_name(host: str, made: datetime) -> str:
    """Name the file after host and time."""
    return f"ovn-ipsec-report-{re.sub(r'[^A-Za-z0-9._-]', '_', host)}-{made:%Y%m%dT%H%M%SZ}.tar.gz"


def _write(
    settings: Settings, places: Mapping[str, str | Path | None], path: Path, made: datetime
) -> dict[str, str]:
    """Write the file; gives what is missing in it, and why."""
    from .bundle import write  # noqa: PLC0415 - --help stays quick
    from .parts import PART_MAX, Asked, Places, parts, secrets_of  # noqa: PLC0415
    from .redaction import holds_secret  # noqa: PLC0415

    if os.path.lexists(path):
        raise EdgeError(f"{path}: exists, and is not overwritten")
    asked = Asked(settings, Places(**places))  # type: ignore[arg-type]
    secrets = secrets_of(asked.here)
    members: dict[str, bytes] = {"README.txt": README.encode()}
    missing: dict[str, str] = {}
    for part in parts(asked):
        try:
            data = part.make().encode(errors="replace")[:PART_MAX]
        except IPsecError as error:
            missing[part.name] = error.diagnostics()
            continue
        except OSError as error:
            missing[part.name] = f"{error.filename or part.name}: {error.strerror}"
            continue
        except FAULTS as error:
            missing[part.name] = f"internal error {type(error).__name__}"
            continue
        if holds_secret(data, secrets):
            missing[part.name] = HELD
        else:
            members[part.name] = data
    manifest = {
        "made": made.isoformat(timespec="seconds"),
        "host": os.uname().nodename,
        "ovn-ipsec": __version__,
        "parts": sorted(members),
        "missing": missing,
    }
    members["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
    write(path, members, made)
    return missing
