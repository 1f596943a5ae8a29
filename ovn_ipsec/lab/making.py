# SPDX-License-Identifier: Apache-2.0
"""Programs that make roots and disks on this machine: started, waited for, and their errors.

Edge (subprocess).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable

from .errors import CommandError, LabError
from .waiting import stretched

Progress = Callable[[str], None]
"""Told what takes long, in words."""


def run(*argv: str, timeout: float) -> str:
    """Run a program to its end.

    Args:
        argv: The program and its arguments.
        timeout: Seconds on a machine of the usual speed.

    Returns:
        What it wrote, without blanks around it.

    Raises:
        CommandError: It failed.
        LabError: It could not be started, or took too long.
    """
    try:
        done = subprocess.run(
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=stretched(timeout),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        raise CommandError(argv, done.returncode, done.stderr[-3000:])
    return done.stdout.strip()


def mmdebstrap(packages: Iterable[str], *more: str) -> tuple[str, ...]:
    """Return the command that makes a small Debian with some packages.

    Args:
        packages: Their names.
        more: Further arguments, the suite and the folder last.
    """
    return (
        *("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(packages)}"),
        # A mirror of a moment has a Release file that is out of date.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *more,
    )
