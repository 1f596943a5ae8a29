# SPDX-License-Identifier: Apache-2.0
"""Play seeds: `python -m tests.simulation FIRST[-LAST]...`; failures are told in the least form."""

from __future__ import annotations

import sys
import time

from .many import seeds_of, try_many


def main(words: list[str]) -> int:
    """Play what is asked for, and say how it went."""
    begun, count, failed = time.monotonic(), 0, 0
    for result in try_many(seeds_of(words)):
        count += 1
        if result.failure:
            failed += 1
            print(result.failure, flush=True)
        if count % 500 == 0:
            print(f"{count} seeds, {failed} failed, {time.monotonic() - begun:.0f} s", flush=True)
    print(f"{count} seeds, {failed} failed, {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
