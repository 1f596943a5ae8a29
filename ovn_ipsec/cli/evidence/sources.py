# SPDX-License-Identifier: Apache-2.0
"""Edge: where evidence comes from: the controller that runs here, its journal, or a document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ... import __version__
from ...clock import utc_now
from ...errors import EdgeError
from ...evidence.document import FORMAT, Request, document
from ...evidence.events import JOURNAL
from ...evidence.ledger import Ledger
from ...pki import files
from ..local import PROGRAM, ask, own_socket

NEXT = f"run it as root on a chassis where {PROGRAM} runs or has run, or name one with -t"


def of_controller(target: str, since: int | None) -> dict[str, Any]:
    """Ask a controller.

    Raises:
        EdgeError: It does not answer, or keeps nothing.
    """
    return checked(target, ask(target, "evidence/show", *(() if since is None else (str(since),))))


def of_journal(state_dir: Path, since: int | None) -> dict[str, Any]:
    """Read what a controller has left, which does not run now.

    Raises:
        IPsecError: There is nothing, or it cannot be read.
    """
    path = state_dir / JOURNAL
    text = files.read(path).decode("ascii", "replace")
    now = int(utc_now().timestamp())
    asked = Request(now=now, since=since, running=False, version=__version__)
    return document(Ledger.of(text), asked)


def of_file(path: Path) -> dict[str, Any]:
    """Read a document that was made before.

    Raises:
        IPsecError: It is none of this version.
    """
    try:
        return checked(str(path), json.loads(files.read(path)))
    except ValueError as error:
        raise EdgeError(f"{path}: no JSON: {error}") from error


def checked(where: str, found: object) -> dict[str, Any]:
    """Refuse what is no document of this version.

    Raises:
        EdgeError: What it is instead.
    """
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise EdgeError(f"{where}: not {FORMAT!r}: made by another release?")
    return found


def socket_here() -> str | None:
    """Where the controller of this host listens; None: none has left a pidfile."""
    try:
        return own_socket()
    except EdgeError:
        return None
