# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec sandbox`."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command(name="sandbox")
@click.option(
    "--chassis", type=click.IntRange(2, 8), default=3, show_default=True, help="How many chassis."
)
@click.option("--keep", is_flag=True, help="Leave a shell in the cluster at the end.")
@click.option("--logs", type=click.Path(path_type=Path), metavar="DIR", help="Keep logs in DIR.")
def command(chassis: int, keep: bool, logs: Path | None) -> None:
    """Build a whole OVN cluster on this machine and watch it being encrypted."""
    from ..lab.sandbox import run  # noqa: PLC0415 - --help stays quick

    sys.exit(run(chassis=chassis, keep=keep, logs=logs))
