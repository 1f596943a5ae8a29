# SPDX-License-Identifier: Apache-2.0
"""Compare what N peers cost: a bare vici client, our controller, and ovs-monitor-ipsec.

Each measurement runs in namespaces of its own that end with it. The table goes into
docs/explanation/cost.md between its two marks. Needs root::

    run.py [--sizes 100,300,1000] [--systems floor,ours,stock] [--no-write]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PAGE = ROOT / "docs" / "explanation" / "cost.md"
BEGIN, END = "<!-- bench begin -->", "<!-- bench end -->"
SYSTEMS = {
    "floor": "bare vici client",
    "ours": "ovn-ipsec-controller",
    "stock": "ovs-monitor-ipsec",
}
HEAD = (
    "| peers | system | start: wall s | agent CPU s | IKE CPU s "
    "| +1 peer: wall s | agent CPU s | IKE CPU s | told to go down | policies deleted "
    "| agent MB | IKE MB |"
)
TIMEOUT_S = 290


def measure(system: str, count: int) -> dict[str, Any]:
    spaces = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    script = 'mount -t tmpfs run /run && exec "$@"'
    done = subprocess.run(
        [
            *("unshare", *spaces, "--", "sh", "-c", script, "sh"),
            *(sys.executable, str(HERE / "inside.py"), system, str(count)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def line(system: str, count: int) -> str:
    try:
        seen = measure(system, count)
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        print(f"{system} {count}: {error}", file=sys.stderr)
        return f"| {count} | {SYSTEMS[system]} | failed | | | | | | | | | |"
    words = [str(count), SYSTEMS[system]]
    for change in (seen["initial"], seen["added"]):
        words += [f"{change[key]:.2f}" for key in ("wall_s", "agent_cpu_s", "ike_cpu_s")]
    down = seen["added"]["torn_down"]
    words += ["-" if down is None else str(down), str(seen["added"]["policies_deleted"])]
    words += [f"{seen['agent_rss_mb']:.0f}", f"{seen['ike_rss_mb']:.0f}"]
    return f"| {' | '.join(words)} |"


def parsers() -> list[str]:
    """Time the JSON parsers of this Python and of Debian's, which has the C extension."""
    rows: dict[str, float] = {}
    size = 0
    for python in (sys.executable, "/usr/bin/python3"):
        done = subprocess.run(
            [python, str(HERE / "jsonparse.py"), "1000"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            found = json.loads(done.stdout)
            size = found.pop("bytes")
            for name, seconds in found.items():
                rows.setdefault(name, seconds)
    table = [f"| parser, southbound of 1000 chassis ({size / 1e6:.1f} MB) | CPU s |", "|---|---|"]
    return table + [f"| {name} | {seconds:.3f} |" for name, seconds in rows.items()]


def machine() -> str:
    cpu = next(
        (
            text.split(":", 1)[1].strip()
            for text in Path("/proc/cpuinfo").read_text().splitlines()
            if text.startswith("model name")
        ),
        platform.machine(),
    )
    return f"Python {platform.python_version()}, {os.cpu_count()} cores ({cpu})."


def write(lines: list[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    body = "\n".join(lines)
    PAGE.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="100,300,1000")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--no-write", action="store_true", help="leave the page alone")
    given = parser.parse_args()
    lines = [machine(), "", HEAD, "|" + "---|" * 12]
    print(lines[0], HEAD, lines[3], sep="\n", flush=True)
    for count in map(int, given.sizes.split(",")):
        for system in given.systems.split(","):
            lines.append(line(system, count))
            print(lines[-1], flush=True)
    lines += ["", *parsers()]
    print(*lines[-6:], sep="\n")
    if not given.no_write:
        write(lines)


if __name__ == "__main__":
    main()
