# SPDX-License-Identifier: Apache-2.0
"""Compare what N peers cost: a bare vici client, our controller, and ovs-monitor-ipsec.

Each measurement runs in namespaces of its own that end with it. The tables go into
docs/explanation/cost.md between its two marks, the results beside it into cost.json, and the
pictures are drawn from those. The newer ovs-monitor-ipsec are fetched from Debian. Needs root::

    run.py [--sizes 100,300,1000] [--systems floor,ours,stock,trixie,sid] [--runs 3] [--no-write]
    run.py --pest 300
    run.py --draw
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE.parent))

import newer  # noqa: E402 - beside this file
import plot  # noqa: E402 - after the path

PAGE = ROOT / "docs" / "explanation" / "cost.md"
BEGIN, END = "<!-- bench begin -->", "<!-- bench end -->"
SYSTEMS = {"floor": "bare vici client", "ours": "ovn-ipsec-controller"}
STOCK = {"stock": "", "trixie": "trixie", "sid": "sid"}
"""Suites whose ovs-monitor-ipsec is measured; empty: the one that is installed."""
HEAD = (
    "| peers | system | runs | start: wall s | agent CPU s | IKE CPU s "
    "| +1 peer: wall s | agent CPU s | IKE CPU s | told to go down | policies deleted "
    "| agent MB | IKE MB | idle CPU % |"
)
COLUMNS = 14
TIMEOUT_S = 290
LONG_S = 40.0
"""A measurement that takes longer is made once."""

Result = dict[str, Any]


def stock(system: str) -> tuple[list[str], str]:
    """Which script to run, and the name of what it is."""
    suite = STOCK[system]
    if suite:
        script, version = newer.script(suite)
        return [str(script)], f"ovs-monitor-ipsec {version}"
    text = subprocess.run(["ovs-vsctl", "--version"], capture_output=True, text=True, check=True)
    return [], f"ovs-monitor-ipsec {text.stdout.split()[3]}"


def measure(system: str, count: int, script: list[str]) -> Result:
    kind = "stock" if system in STOCK else system
    return apart("inside.py", kind, str(count), *script)


def apart(program: str, *words: str) -> Result:
    """Run a program of this folder in namespaces of its own; it prints JSON."""
    spaces = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    shell = 'mount -t tmpfs run /run && exec "$@"'
    done = subprocess.run(
        [
            *("unshare", *spaces, "--", "sh", "-c", shell, "sh"),
            *(sys.executable, str(HERE / program), *words),
        ],
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    found: Result = json.loads(done.stdout.splitlines()[-1])
    return found


def middle(found: list[Result]) -> Result:
    """The median of each value over several runs."""

    def of(pick: Callable[[Result], Any]) -> Any:
        values = [pick(one) for one in found]
        return None if None in values else median(values)

    def cost(when: str) -> Result:
        return {key: of(lambda one, key=key: one[when][key]) for key in found[0][when]}

    flat = [key for key in found[0] if key not in ("initial", "added")]
    totals = {key: of(lambda one, key=key: one[key]) for key in flat}
    return {**totals, "initial": cost("initial"), "added": cost("added"), "runs": len(found)}


def line(name: str, count: int, seen: Result) -> str:
    words = [str(count), name, str(seen["runs"])]
    for change in (seen["initial"], seen["added"]):
        words += [f"{change[key]:.2f}" for key in ("wall_s", "agent_cpu_s")]
        words.append(f"{change['ike_cpu_s']:.2f}")
    down, idle = seen["added"]["torn_down"], seen["idle_percent"]
    words += ["-" if down is None else f"{down:g}", f"{seen['added']['policies_deleted']:g}"]
    words += [f"{seen['agent_rss_mb']:.0f}", f"{seen['ike_rss_mb']:.0f}"]
    return f"| {' | '.join([*words, '-' if idle is None else f'{idle:.2f}'])} |"


def work(change: Result) -> float:
    """CPU seconds of the agent and of its IKE daemon."""
    return float(change["agent_cpu_s"] + change["ike_cpu_s"])


def ratios(results: dict[str, dict[str, Result]]) -> list[str]:
    """Ours beside the bare client, at the same size in the same run."""
    floor, ours = results.get(SYSTEMS["floor"], {}), results.get(SYSTEMS["ours"], {})
    lines = [
        "| peers | start: wall, times the bare client | CPU of both, times the bare client "
        "| the controller's own start: CPU s | CPU of both but for that, times the bare client |"
    ]
    lines.append("|---|---|---|---|---|")
    for count in floor.keys() & ours.keys():
        one, other = ours[count]["initial"], floor[count]["initial"]
        words = [f"{one['wall_s'] / other['wall_s']:.2f}", f"{work(one) / work(other):.2f}"]
        start_s = ours[count].get("start_cpu_s")
        if start_s is None:
            words += ["-", "-"]
        else:
            words += [f"{start_s:.2f}", f"{(work(one) - start_s) / work(other):.2f}"]
        lines.append(f"| {count} | {' | '.join(words)} |")
    return [*lines[:2], *sorted(lines[2:], key=lambda text: int(text.split()[1]))]


def joined(results: dict[str, dict[str, Result]]) -> list[str]:
    """What one chassis that joins costs all the others together, and itself."""
    lines = ["| chassis | system | all others together: CPU s | the one that joins: CPU s |"]
    lines.append("|---|---|---|---|")
    for name, by_count in results.items():
        for count in ("300", "1000"):
            if name != SYSTEMS["floor"] and count in by_count:
                seen = by_count[count]
                total = int(count) * work(seen["added"])
                lines.append(f"| {count} | {name} | {total:.0f} | {work(seen['initial']):.1f} |")
    return [*lines[:2], *sorted(lines[2:], key=lambda text: int(text.split()[1]))]


def pestered(seen: list[Result]) -> list[str]:
    """What a chassis that writes all the time costs the controller of another one."""
    lines = ["| peers | writes a second by one of them | CPU s a minute |", "|---|---|---|"]
    return lines + [
        f"| {one['peers']} | {one['writes_a_second']:.0f} | {one['cpu_s_a_minute']:.2f} |"
        for one in seen
    ]


def draw(results: dict[str, dict[str, Result]]) -> None:
    """Draw both pictures."""
    pictures = {
        "cost-start.svg": ("Load all connections", "initial"),
        "cost-join.svg": ("One more peer", "added"),
    }
    for file, (title, when) in pictures.items():
        series = {
            name: [(float(count), work(seen[when])) for count, seen in by_count.items()]
            for name, by_count in results.items()
        }
        label = "CPU seconds of the agent and of its IKE daemon on one chassis"
        text = plot.chart(title, "number of peers", label, series)
        (PAGE.parent / file).write_text(text, encoding="utf-8")


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


def collect(sizes: Iterable[int], systems: list[str], runs: int) -> dict[str, dict[str, Result]]:
    """Measure everything, the systems in turn, so that other work disturbs all of them alike."""
    named = {one: stock(one) if one in STOCK else ([], SYSTEMS[one]) for one in systems}
    results: dict[str, dict[str, Result]] = {name: {} for _, name in named.values()}
    for count in sizes:
        found: dict[str, list[Result]] = {one: [] for one in systems}
        for run in range(runs):
            for one in systems:
                long = run and found[one] and _wall_s(found[one][0]) > LONG_S
                if long or (run and not found[one]):
                    continue
                try:
                    found[one].append(measure(one, count, named[one][0]))
                except (subprocess.SubprocessError, ValueError, IndexError) as error:
                    print(f"{one} {count}: {error}", file=sys.stderr)
        for one in systems:
            name = named[one][1]
            if found[one]:
                results[name][str(count)] = middle(found[one])
                print(line(name, count, results[name][str(count)]), flush=True)
    return results


def _wall_s(one: Result) -> float:
    return float(one["initial"]["wall_s"] + work(one["added"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="100,300,1000")
    parser.add_argument("--systems", default=",".join([*SYSTEMS, *STOCK]))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-write", action="store_true", help="leave the page alone")
    parser.add_argument("--add", action="store_true", help="keep earlier results of other sizes")
    parser.add_argument("--pest", type=int, metavar="N", help="only this one, with N peers")
    parser.add_argument("--draw", action="store_true", help="only write page and pictures again")
    given = parser.parse_args()
    kept = PAGE.with_suffix(".json")
    stored: Result = json.loads(kept.read_text()) if kept.exists() else {}
    if given.pest:
        pests = [apart("pest.py", str(given.pest), how) for how in ("still", "pest")]
        print(*pests, sep="\n")
        stored["pests"] = pests
    elif not given.draw:
        print(HEAD, flush=True)
        sizes = map(int, given.sizes.split(","))
        fresh = collect(sizes, given.systems.split(","), given.runs)
        before = stored.get("results", {}) if given.add else {}
        names = dict.fromkeys([*before, *fresh])
        results = {name: {**before.get(name, {}), **fresh.get(name, {})} for name in names}
        fresh_parts = {"machine": machine(), "results": results, "parsers": parsers()}
        stored = {**stored, **fresh_parts}
    results = stored["results"]
    rows = sorted(
        (int(count), line(name, int(count), seen))
        for name, by_count in results.items()
        for count, seen in by_count.items()
    )
    lines = [stored["machine"], "", HEAD, "|" + "---|" * COLUMNS, *(row for _, row in rows)]
    lines += ["", *ratios(results), "", *joined(results), ""]
    lines += [*pestered(stored.get("pests", [])), "", *stored["parsers"]]
    if given.no_write:
        print(*lines, sep="\n")
        return
    kept.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    draw(results)
    write(lines)


if __name__ == "__main__":
    main()
