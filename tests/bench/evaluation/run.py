# SPDX-License-Identifier: Apache-2.0
"""Measure what one tunnel carries with each cipher suite, in user-mode Linux.

What measures is that of `ovn-ipsec evaluate`; there is no cluster around it. The table goes into
docs/explanation/evaluation.md, between its marks, and the picture beside it::

    run.py [--seconds 2] [--repeat 5] [--results FOLDER] [--no-write]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
PAGE = ROOT / "docs" / "explanation" / "evaluation.md"
RESULTS = ROOT / "build"
ALT = "Bars: throughput, CPU seconds for a gigabyte, and ping under load, by profile"
PICTURE = PAGE.with_name("evaluation.svg")
BEGIN, END = "<!-- bench begin -->", "<!-- bench end -->"
TRAFFIC = {
    "one_stream": "1 stream",
    "four_streams": "4 streams",
    "idle": "none",
}
HEAD = ("profile", "traffic", "Mbit/s", "of none", "packets/s", "ping ms", "95 of 100 ms")
HEAD += ("CPU user %", "system %", "softirq %", "CPU s/GB")
TIMEOUT_S = 3600.0


def shown(found: dict[str, Any] | None, scale: float = 1.0) -> str:
    """A median with its spread."""
    if found is None:
        return ""
    low, middle, high = (digits(found[key] * scale) for key in ("low", "median", "high"))
    return middle if low == high else f"{middle} ({low}-{high})"


def digits(value: float) -> str:
    """Three of them."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """One for each profile and kind of traffic."""
    lines = []
    for series in found["series"]:
        for kind, words in TRAFFIC.items():
            if kind not in series["traffic"]:
                continue
            one = series["traffic"][kind]
            (cpu,) = one["cpu"].values()
            lines.append(
                (
                    str(series["profile"]),
                    words,
                    shown(one["mbps"]),
                    share(found, kind, one["mbps"]),
                    shown(one["pps"]),
                    shown(one["rtt_ms"]),
                    shown(one["rtt_95_ms"]),
                    *(shown(cpu[part], 100) for part in ("user", "system", "softirq")),
                    shown(cpu["seconds_for_a_gigabyte"]),
                )
            )
    return lines


def share(found: dict[str, Any], kind: str, mbps: dict[str, Any] | None) -> str:
    """What a median is of that without encryption."""
    clear = [s["traffic"][kind]["mbps"] for s in found["series"] if s["profile"] == "none"]
    if mbps is None or not clear or clear[0] is None:
        return ""
    return f"{mbps['median'] / clear[0]['median']:.2f}"


def page(found: dict[str, Any], versions: dict[str, str]) -> list[str]:
    """What stands between the marks."""
    side = found["chassis"][0]
    programs = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        f"![{ALT}]({PICTURE.name})",
        "",
        f"Both ends share one kernel and its processor: Linux {side['kernel']} "
        f"({side['processor']}); {programs}.",
        f"Underlay: MTU {side['mtu']}; workloads: MTU {found['inner_mtu']}.",
        f"Medians of runs of {found['seconds']} s, with the lowest and highest in brackets.",
        "",
        "| profile | state | suite of the SAs |",
        "|---|---|---|",
        *(f"| {s['profile']} | {s['state']} | {s['suite']} |" for s in found["series"]),
        "",
        "| algorithm | driver (`/proc/crypto`) |",
        "|---|---|",
        *(f"| {name} | `{driver}` |" for name, driver in side["drivers"].items()),
        "",
    ]
    table = (HEAD, ("---",) * len(HEAD), *rows(found))
    return lines + [f"| {' | '.join(words)} |" for words in table]


def write(results: Path) -> None:
    """Put table and picture where the docs have them."""
    found = json.loads((results / "evaluation.json").read_text(encoding="utf-8"))
    versions = json.loads((results / "versions.json").read_text(encoding="utf-8"))
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    body = "\n".join(page(found, versions))
    PAGE.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")
    shutil.copyfile(results / "evaluation.svg", PICTURE)


def measure(given: argparse.Namespace, results: Path) -> int:
    program = (str(HERE.parent / "uml"), "1", str(HERE / "static.py"))
    words = [*program, str(results), given.seconds, given.repeat]
    status = subprocess.run(words, check=False, timeout=TIMEOUT_S).returncode
    said = subprocess.run(["iperf3", "--version"], capture_output=True, text=True, check=True)
    versions = {"iperf3": said.stdout.split()[1]}
    (results / "versions.json").write_text(json.dumps(versions), encoding="utf-8")
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", default="2")
    parser.add_argument("--repeat", default="5")
    parser.add_argument("--results", type=Path, help="what an earlier run has left in this folder")
    parser.add_argument("--no-write", action="store_true", help="leave the page alone")
    given = parser.parse_args()
    results = given.results or RESULTS / "evaluation"
    if given.results is None:
        results.mkdir(parents=True, exist_ok=True)
        if status := measure(given, results):
            return status
    if not given.no_write:
        write(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
