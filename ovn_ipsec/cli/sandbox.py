# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec sandbox`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click

from .output import say_json
from .settings import Settings


@click.command(name="sandbox", short_help="Build an encrypted OVN cluster on this machine.")
@click.option(
    "--chassis", type=click.IntRange(2, 8), default=3, show_default=True, help="How many chassis."
)
@click.option("--keep", is_flag=True, help="Leave a shell in the cluster at the end.")
@click.option("--logs", type=click.Path(path_type=Path), metavar="DIR", help="Keep logs in DIR.")
@click.pass_obj
def command(settings: Settings, chassis: int, keep: bool, logs: Path | None) -> None:
    """Build a whole OVN cluster on this machine and watch it being encrypted.

    With --json, what happens is told on standard error, and how it ended on standard output.
    """
    from ..lab.sandbox import show_encryption  # noqa: PLC0415 - --help stays quick

    with _told_on_stderr() if settings.as_json else nullcontext():
        status = show_encryption(chassis=chassis, keep=keep, logs=logs)
    if settings.as_json:
        say_json({"exit": status})
    sys.exit(status)


@contextmanager
def _told_on_stderr() -> Iterator[None]:
    """Send there what this process and its children print."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
