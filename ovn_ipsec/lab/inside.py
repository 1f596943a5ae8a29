# SPDX-License-Identifier: Apache-2.0
"""What runs inside the laboratory's kernel: ``python -m ovn_ipsec.lab.inside sandbox``.

Shell. Not for calling by hand: ``sandbox`` starts it where it can work.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import show


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and play."""
    parser = argparse.ArgumentParser(prog="ovn_ipsec.lab.inside")
    parser.add_argument("what", choices=["sandbox"])
    parser.add_argument("--chassis", type=int, default=3)
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args(arguments)
    return show.build_and_play(given.chassis, keep=given.keep)


if __name__ == "__main__":
    sys.exit(main())
