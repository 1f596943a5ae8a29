# SPDX-License-Identifier: Apache-2.0
"""Bring up N IKE_SAs and 2 N CHILD_SAs against real charons, and rekey all of them.

A bare vici client and ovn-ipsec-controller take turns, each in a user-mode Linux of its own, which
has ESP (Debian: user-mode-linux busybox-static). The tables go into docs/explanation/peers-cost.md
between its two marks, the results of all runs beside it into peers-cost.json. Needs root::

    run.py [--sizes 30,100] [--runs 3] [--add] [--no-write]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PAGE = ROOT / "docs" / "explanation" / "peers-cost.md"
BEGIN, END = "<!-- bench begin -->", "<!-- bench end -->"
RESULTS = ROOT / "build" / "thousand"
FLOOR, OURS = "floor", "ours"
SYSTEMS = {FLOOR: "bare vici client", OURS: "ovn-ipsec-controller"}
GIB = 4
LOOK_S = 0.05
CHILDREN = 2
IKE_HOURS = 4.0
"""An IKE_SA is rekeyed that seldom, a CHILD_SA each hour."""
UP = (
    "peers",
    "system",
    "runs",
    "all up: wall s",
    "all processes: CPU s",
    "agent CPU s",
    "IKE CPU s",
    "peers' CPU s",
)
UP += ("agent MB", "IKE MB", "then idle: agent CPU %", "IKE CPU %")
RATIO = ("peers", "wall, times the bare client", "by run", "CPU of all processes", "by run")
REKEY = ("peers", "system", "rekey of a CHILD_SA: agent CPU ms", "IKE CPU ms")
REKEY += ("of an IKE_SA: agent CPU ms", "IKE CPU ms", "an hour's worth: agent CPU s", "IKE CPU s")

Result = dict[str, Any]
Runs = dict[str, list[Result]]


def spent_s(starter: int) -> float:
    """CPU seconds of the session that a child of a process leads: of all that UML consists of.

    Processes of it that have ended count with the one that has seen them end.
    """
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            found.append((int(fields[1]), int(fields[3]), sum(map(int, fields[11:15]))))
    leads = {session for parent, session, _ in found if parent == starter}
    ticks = sum(spent for _, session, spent in found if session in leads - {starter})
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(system: str, count: int) -> Result:
    """Run one, and note what the host has spent on the guest at each of its marks."""
    folder = RESULTS / f"{system}-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    kept, marks = folder / "result.json", folder / "marks"
    kept.unlink(missing_ok=True)
    marks.write_bytes(b"")
    words = [str(HERE.parent / "uml"), str(GIB), str(HERE / "measure.py"), str(folder), system]
    guest = subprocess.Popen([*words, str(count)], stdout=sys.stderr, start_new_session=True)
    spent: list[float] = []
    while guest.poll() is None:
        while len(spent) < marks.read_bytes().count(b"\n"):
            spent.append(spent_s(guest.pid))
        time.sleep(LOOK_S)
    found: Result = json.loads(kept.read_text())
    for cost in (found["up"], found["idle"], *found["rekeys"].values()):
        mark = cost.pop("mark")
        cost["host_cpu_s"] = spent[mark + 1] - spent[mark]
    wanted = {"ike_sas": count, "child_sas": CHILDREN * count}
    if {key: found[key] for key in wanted} != wanted:
        raise ValueError(f"{system}, {count}: {found}, and not {wanted}")
    return found


def collect(count: int, runs: int) -> Runs:
    """Measure both, in turn, so that other work disturbs both alike."""
    found: Runs = {system: [] for system in SYSTEMS}
    for _ in range(runs):
        for system in SYSTEMS:
            found[system].append(measure(system, count))
            print(count, system, found[system][-1]["up"], flush=True)
    return found


def middle(runs: list[Result], value: Callable[[Result], float]) -> float:
    return median(map(value, runs))


def up_rows(count: str, found: Runs) -> list[tuple[str, ...]]:
    rows = []
    for system, runs in found.items():
        cost = [
            middle(runs, lambda one, key=key: one["up"][key])
            for key in ("wall_s", "host_cpu_s", "agent_cpu_s", "ike_cpu_s", "peers_cpu_s")
        ]
        memory = [middle(runs, lambda one, k=k: one[k]) for k in ("agent_rss_mb", "ike_rss_mb")]
        idle = [
            f"{middle(runs, lambda one, k=k: 100 * one['idle'][k] / one['idle']['wall_s']):.1f}"
            for k in ("agent_cpu_s", "ike_cpu_s")
        ]
        if system == FLOOR:
            idle[0] = "-"
        words = [f"{value:.2f}" for value in cost] + [f"{value:.0f}" for value in memory]
        rows.append((count, SYSTEMS[system], str(len(runs)), *words, *idle))
    return rows


def ratio_row(count: str, found: Runs) -> tuple[str, ...]:
    """Ours beside the bare client; by run: each beside the one just before it."""
    words = [count]
    for key in ("wall_s", "host_cpu_s"):
        bare, our = ([one["up"][key] for one in found[system]] for system in SYSTEMS)
        each = [f"{b / a:.2f}" for a, b in zip(bare, our, strict=True)]
        words += [f"{median(our) / median(bare):.2f}", ", ".join(each)]
    return tuple(words)


def rekey_rows(count: str, found: Runs) -> list[tuple[str, ...]]:
    rows = []
    for system, runs in found.items():
        words, hour = [], {"agent_cpu_s": 0.0, "ike_cpu_s": 0.0}
        for kind, number, per_hour in (
            ("children", CHILDREN * int(count), CHILDREN * int(count)),
            ("ikes", int(count), int(count) / IKE_HOURS),
        ):
            for key in hour:
                each_s = middle(runs, lambda one, k=kind, x=key: one["rekeys"][k][x]) / number
                hour[key] += each_s * per_hour
                words.append(f"{1000 * each_s:.1f}")
        words += [f"{spent:.1f}" for spent in hour.values()]
        if system == FLOOR:
            words[0] = words[2] = words[4] = "-"
        rows.append((count, SYSTEMS[system], *words))
    return rows


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(words)} |" for words in (head, ("---",) * len(head), *rows)]


def page(stored: Result) -> list[str]:
    """What stands between the marks."""
    results = sorted(stored["results"].items(), key=lambda item: int(item[0]))
    lines = [stored["machine"], ""]
    lines += [*table(UP, [row for one in results for row in up_rows(*one)]), ""]
    lines += [*table(RATIO, [ratio_row(*one) for one in results]), ""]
    return lines + table(REKEY, [row for one in results for row in rekey_rows(*one)])


def machine(kernel: str) -> str:
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next(line.split(":", 1)[1].strip() for line in cpus if line.startswith("model name"))
    words = ("dpkg-query", "-W", "-f", "${source:Upstream-Version}", "charon-systemd")
    charon = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return (
        f"Linux {kernel} (UML, one processor) on one of {os.cpu_count()} cores ({cpu}); "
        f"strongSwan {charon} at both ends."
    )


def write(lines: list[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    body = "\n".join(lines)
    PAGE.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="30,100")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--add", action="store_true", help="keep earlier results of other sizes")
    parser.add_argument("--no-write", action="store_true", help="leave the page alone")
    given = parser.parse_args()
    kept = PAGE.with_suffix(".json")
    sizes = given.sizes.split(",")
    fresh = {size: collect(int(size), given.runs) for size in sizes}
    before = json.loads(kept.read_text())["results"] if given.add and kept.exists() else {}
    kernel = fresh[sizes[0]][OURS][0]["kernel"]
    stored = {"machine": machine(kernel), "results": {**before, **fresh}}
    lines = page(stored)
    print(*lines, sep="\n")
    if not given.no_write:
        kept.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        write(lines)


if __name__ == "__main__":
    main()
