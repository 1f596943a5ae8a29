# SPDX-License-Identifier: Apache-2.0
"""A whole cluster on this machine that goes from clear text to encryption before your eyes.

Shell. ``ovn-ipsec sandbox`` calls ``show_encryption``. The cluster is built on this kernel where it
can carry one, else in a guest; nothing stays behind.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .capabilities import missing_capabilities
from .guest.machine import GUEST_FAILED, GuestError, GuestOptions, run_anywhere

TIMEOUT_S = 1800.0
"""Ends what hangs: the parts have their own limits. 56 s on a fast machine, 300 on a slow one."""
KEEP_TIMEOUT_S = 24 * 3600.0
STYLES = {
    "build": "dim",
    "pki": "bold",
    "start": "bold",
    "switch": "bold magenta",
    "traffic": "cyan",
    "wire": "yellow",
    "result": "bold green",
}
_LINE = re.compile(r"^( *[\d.]+ s|  build) +(\S+) ")


def show_encryption(*, chassis: int = 3, keep: bool = False, logs: Path | None = None) -> int:
    """Show a cluster being encrypted.

    Args:
        chassis: How many chassis, 2 to 8.
        keep: Leave a shell in the cluster at the end.
        logs: Where the logs go when something fails; None drops them.

    Returns:
        0 encrypted, 1 not in time, 2 the laboratory failed, 125 no laboratory on this machine.
    """
    argv = [sys.executable, "-m", "ovn_ipsec.lab.inside", "sandbox", "--chassis", str(chassis)]
    argv += ["--keep"] if keep else []
    options = GuestOptions(
        mem_gib=2 + (chassis + 2) // 3,
        timeout=KEEP_TIMEOUT_S if keep else TIMEOUT_S,
        interactive=keep,
        artefacts=logs,
    )
    missing = missing_capabilities()
    where = f"in a guest: this kernel lacks {', '.join(missing)}" if missing else "on this kernel"
    print(f"A cluster with {chassis} chassis, {where}.", flush=True)
    try:
        return run_anywhere(argv, options, _painter() if sys.stdout.isatty() and not keep else None)
    except GuestError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return GUEST_FAILED


def _painter() -> Callable[[bytes], None]:
    from rich.console import Console  # noqa: PLC0415 - half a second that only a terminal needs
    from rich.text import Text  # noqa: PLC0415

    console, held = Console(highlight=False), bytearray()

    def paint(data: bytes) -> None:
        held.extend(data)
        *lines, rest = bytes(held).split(b"\n")
        held[:] = rest
        for line in lines:
            text = line.decode(errors="replace")
            console.print(Text(text, style=style_of(text)))

    return paint


def style_of(line: str) -> str:
    """Return the colour of a line by its topic and by what it says."""
    if "in clear" in line or ("lost" in line and " 0 lost" not in line):
        return "red"
    if line.endswith((": ESP", "enforced")):
        return "green"
    if line.startswith("  build"):
        return STYLES["build"]
    found = _LINE.match(line)
    return STYLES.get(found[2], "") if found else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="ovn-ipsec sandbox")
    parser.add_argument("--chassis", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="leave a shell in the cluster")
    parser.add_argument("--logs", type=Path, metavar="DIR")
    given = parser.parse_args(arguments)
    return show_encryption(chassis=given.chassis, keep=given.keep, logs=given.logs)


if __name__ == "__main__":
    sys.exit(main())
