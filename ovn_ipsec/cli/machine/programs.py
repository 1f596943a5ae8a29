# SPDX-License-Identifier: Apache-2.0
"""Edge: a program of the system run to its end, within a time and without a shell."""

from __future__ import annotations

import os
import subprocess

from ...errors import EdgeError

LIMIT_S = 10.0


def output_of(*argv: str, limit_s: float = LIMIT_S) -> str:
    """Run a program.

    Args:
        argv: Its name and arguments; no value of a database is among them.
        limit_s: Seconds that it may take.

    Returns:
        What it printed.

    Raises:
        EdgeError: It is not here, took too long or failed.
    """
    try:
        done = subprocess.run(  # noqa: S603 - a list of words, and none of them a stranger's
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise EdgeError(f"{argv[0]} did not end within {limit_s:g} s") from None
    except OSError as error:
        raise EdgeError(f"{argv[0]}: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise EdgeError(f"{argv[0]} failed ({done.returncode}): {said[:200]}")
    return done.stdout.decode(errors="replace")
