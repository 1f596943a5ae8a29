# SPDX-License-Identifier: Apache-2.0
"""How long the switch from `off` to `enforced` takes, by the number of chassis.

The simulator plays it in virtual time, with the real controllers and the real northd, and with what
other benches have measured for one operation. First two real charons say what IKE_SAs cost on this
host. The tables go into docs/explanation/switch-cost.md between its two marks, the results into
switch-cost.json, and the picture is drawn from those. Needs root::

    run.py [--sizes 3,30,100,300,1000] [--workers N] [--no-write]
    run.py --draw
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT), str(HERE.parent), str(HERE.parent / "control_plane")]

import plot  # noqa: E402 - after the path

from tests.bench.control_plane.run import apart  # noqa: E402
from tests.bench.switch.cluster import Cluster, Times  # noqa: E402
from tests.bench.switch.costs import UP_SIZE, Costs, Measured, measured  # noqa: E402
from tests.bench.switch.played import EVENTS  # noqa: E402

PAGE = ROOT / "docs" / "explanation" / "switch-cost.md"
PICTURE = PAGE.with_suffix(".svg")
BEGIN, END = "<!-- bench begin -->", "<!-- bench end -->"
ALL_REAL = 30
"""Up to so many chassis, every one of them runs the real controller."""
CHECKED = 100
"""With so many, it is tried once more with the real controller on all."""
WAITS, HOST, UML = "nothing costs anything", "a host", "user-mode Linux"
PHASES = 3
HEAD = (
    "chassis",
    "real controllers",
    "costs",
    "prepare s",
    "SAs s",
    "evidence s",
    "enforce s",
    "from the switch to enforced s",
    "a controller's CPU s",
    "northd's CPU s",
)
Result = dict[str, Any]


def real_of(count: int) -> list[int]:
    """Which chassis run the real controller: of many the first, one in the middle, and the last."""
    return list(range(count)) if count <= ALL_REAL else [0, count // 2, count - 1]


def play(count: int, real: Iterable[int], costs: Costs) -> Result:
    """Switch on once."""
    # A collection would pass over all that is simulated, in the midst of what is measured.
    gc.disable()
    numbers = list(real)
    with Cluster(count, numbers, costs) as cluster:
        times = cluster.switch_on()
        return {
            **asdict(times),
            "real": len(numbers),
            "northd_cpu_s": cluster.northd.cpu_s,
            "ike_cpu_s": max(host.busy.processor.used_s for host in cluster.hosts.values()),
        }


def agents(found: Measured) -> tuple[Costs, Costs]:
    """Add what an agent of a played chassis spends, from a cluster in which none is played."""
    count = ALL_REAL
    once = play(count, range(count), found.costs)
    ends = count * (count - 1)
    decide_s = once["prepare_cpu_s"] / ends
    event_s = max(0.0, once["cpu_s"] / ends - PHASES * decide_s) / EVENTS
    more = {"decide_s": decide_s, "event_s": event_s}
    return replace(found.costs, **more), replace(found.uml, **more)


def collect(sizes: Iterable[int], ike: Mapping[str, float], workers: int | None) -> Result:
    """Measure all of it, so many at a time, the largest first."""
    found = measured(ike)
    host, uml = agents(found)
    by_name = {WAITS: Costs(), HOST: host, UML: uml}
    largest = sorted(sizes, reverse=True)
    wanted = [(count, name, real_of(count)) for count in largest for name in by_name]
    if CHECKED in largest:
        wanted.append((CHECKED, HOST, list(range(CHECKED))))
    with ProcessPoolExecutor(workers) as pool:
        plays = {
            pool.submit(play, count, real, by_name[name]): {"chassis": count, "costs": name}
            for count, name, real in wanted
        }
        results = []
        for one in as_completed(plays):
            results.append({**plays[one], **one.result()})
            print(results[-1], flush=True)
    return {
        "machine": machine(),
        "ike": dict(ike),
        "slower": found.slower,
        "costs": {HOST: asdict(host), UML: asdict(uml)},
        "results": results,
    }


def row(once: Result) -> tuple[str, ...]:
    times = Times(**{key: once[key] for key in Times.__dataclass_fields__})
    parts = (
        times.establish,
        times.last_sa - times.establish,
        times.enforce - times.last_sa,
        times.enforced - times.enforce,
        times.enforced,
    )
    cpu = (times.cpu_s / once["real"], once["northd_cpu_s"])
    free = once["costs"] == WAITS
    used = ["-" if free else f"{spent:.2f}" for spent in cpu]
    begin = (str(once["chassis"]), str(once["real"]), once["costs"])
    return (*begin, *(f"{part:.2f}" for part in parts), *used)


def cost_rows(stored: Result) -> list[tuple[str, ...]]:
    """One operation a line: what it costs, and who says so."""
    host, uml = stored["costs"][HOST], stored["costs"][UML]
    ike = "[this bench](#what-is-measured-and-what-is-played)"
    peers = "[many peers](peers-cost.md)"
    ratio = f"{peers}, on a host divided by {stored['slower']:.1f}"
    lines = (
        ("IKE daemon: load a connection", "load_s", "[1000 connections](cost.md)"),
        ("IKE daemon: IKE_SA, CHILD_SAs, traps of a pair, initiator", "initiator_s", ratio),
        ("the same, responder", "responder_s", ratio),
        ("IKE daemon: list the SAs of one connection", "list_one_s", ike),
        ("IKE daemon: list all SAs, each IKE_SA", "list_all_s", ike),
        ("controller: a call to the IKE daemon", "vici_s", "[bare vici client](cost.md)"),
        ("southbound: a transaction", "transaction_s", "[reports of 1000](northd-cost.md)"),
        ("played agent: follow a phase, each pair", "decide_s", f"{ALL_REAL} real controllers"),
        ("played agent: an event of a pair", "event_s", f"{ALL_REAL} real controllers"),
    )
    return [
        (what, f"{1000 * host[key]:.3f}", f"{1000 * uml[key]:.3f}", source)
        for what, key, source in lines
    ]


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(words)} |" for words in (head, ("---",) * len(head), *rows)]


def page(stored: Result) -> list[str]:
    """What stands between the marks."""
    order = [WAITS, HOST, UML]
    results = sorted(
        stored["results"],
        key=lambda one: (one["chassis"], order.index(one["costs"]), one["real"]),
    )
    head = ("operation", "a host ms", "user-mode Linux ms", "from")
    lines = [stored["machine"], "", *table(HEAD, list(map(row, results))), ""]
    return lines + table(head, cost_rows(stored))


def draw(stored: Result) -> str:
    series = {
        name: [
            (one["chassis"], one["enforced"])
            for one in stored["results"]
            if one["costs"] == name and one["real"] == len(real_of(one["chassis"]))
        ]
        for name in (WAITS, HOST, UML)
    }
    title = "From the switch to enforced, by the simulator"
    return plot.chart(title, "chassis", "seconds", series)


def machine() -> str:
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next(line.split(":", 1)[1].strip() for line in cpus if line.startswith("model name"))
    return f"Python {platform.python_version()}, {os.cpu_count()} cores ({cpu})."


def write(stored: Result) -> None:
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    body = "\n".join(page(stored))
    PAGE.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")
    PICTURE.write_text(draw(stored), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="3,30,100,300,1000")
    parser.add_argument("--workers", type=int, help="so many at a time; one for each processor")
    parser.add_argument("--draw", action="store_true", help="write the page from earlier results")
    parser.add_argument("--no-write", action="store_true", help="leave the page alone")
    given = parser.parse_args()
    kept = PAGE.with_suffix(".json")
    if given.draw:
        write(json.loads(kept.read_text(encoding="utf-8")))
        return
    ike = apart("../switch/ike.py", UP_SIZE)
    stored = collect(list(map(int, given.sizes.split(","))), ike, given.workers)
    print(*page(stored), sep="\n")
    if not given.no_write:
        kept.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        write(stored)


if __name__ == "__main__":
    main()
