# SPDX-License-Identifier: Apache-2.0
"""Encrypt N hosts, each with each, in one user-mode Linux, and look at every packet between them.

The switch of the northbound is turned on, two connections are deleted by hand, and it is turned off
again. What was seen goes into docs/explanation/mesh.md between its two marks; it fails if a packet
was clear that should not be, or none came from some host to another. Needs root, and
user-mode-linux and busybox-static of Debian::

    run.py [--hosts 20] [--no-write]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PAGE = ROOT / "docs" / "explanation" / "mesh.md"
BEGIN, END = "<!-- bench begin -->", "<!-- bench end -->"
RESULTS = ROOT / "build" / "mesh"
MEMORY_MIB = 512
EACH_MIB = 160
HEAD = ("", "after s", "ways on which packets came", "clear packets", "ESP packets")
STEPS = {
    "before": ("before the switch", ""),
    "enforced": ("`enforced`", "enforced_s"),
    "reconciled": ("two connections of one host deleted, and there again", "whole_s"),
    "after": ("off, no SA left", "off_s"),
}

Result = dict[str, Any]


def faults(found: Result) -> list[str]:
    """What is not as it has to be."""
    ways = found["hosts"] * (found["hosts"] - 1)
    words = []
    for step in ("enforced", "reconciled"):
        seen = found[step]
        if seen["missed"]:
            words.append(f"{step}: {seen['missed']} packets were not looked at")
        if seen["clear"] or not seen["esp"]:
            words.append(f"{step}: {seen['clear']} clear packets, {seen['esp']} of ESP")
        if (seen["heard"], seen["flows"]) != (ways, ways):
            words.append(f"{step}: {seen['heard']} of {ways} ways, {seen['flows']} on the wire")
    if found["after"]["esp"] or found["after"]["heard"] != ways:
        words.append(f"off: {found['after']}")
    if not found["encrypted"]:
        words.append("enforced, and a kernel lacks SAs")
    if not found["deleted"]:
        words.append("nothing was deleted by hand")
    return words


def page(found: Result) -> list[str]:
    """What stands between the marks."""
    count = found["hosts"]
    rows = [HEAD, ("---",) * len(HEAD)]
    for step, (words, key) in STEPS.items():
        seen = found[step]
        after = f"{found[key]:.1f}" if key else "-"
        ways = f"{seen['heard']} of {count * (count - 1)}"
        rows.append((words, after, ways, str(seen["clear"]), str(seen["esp"])))
    cores = f"one of {os.cpu_count()} cores"
    return [
        f"{count} hosts, Linux {found['kernel']} (UML, one processor, {cores}): "
        f"{found['started_s']:.0f} s to start everything.",
        f"From the switch to `enforced` all controllers together used {found['controller_cpu_s']} s"
        f" of its time and all charons {found['charon_cpu_s']} s; the largest controller has "
        f"{found['controller_mb']} MB, the largest charon {found['charon_mb']} MB.",
        "",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=20, metavar="N", help="3 to 250")
    parser.add_argument("--no-write", action="store_true", help="leave the page alone")
    given = parser.parse_args()
    if not 3 <= given.hosts <= 250:
        parser.error(f"--hosts {given.hosts}: expected 3 to 250")
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept = RESULTS / "result.json"
    kept.unlink(missing_ok=True)
    gib = -(-(MEMORY_MIB + EACH_MIB * given.hosts) // 1024)
    words = [HERE.parent / "uml", gib, HERE / "mesh.py", RESULTS, given.hosts]
    subprocess.run([*map(str, words)], check=True)
    found: Result = json.loads(kept.read_text())
    print(*page(found), sep="\n")
    for fault in (wrong := faults(found)):
        print(f"mesh: {fault}", file=sys.stderr)
    if not given.no_write and not wrong:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        _, after = rest.split(END)
        body = "\n".join(page(found))
        PAGE.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
