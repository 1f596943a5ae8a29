# SPDX-License-Identifier: Apache-2.0
"""Measure what a large cluster costs ovn-ipsec-northd: start, rollout, a join, a flap, a pest.

Real ovsdb-servers with OVN's schemas and a real ovn-ipsec-northd; the chassis are rows that this
program writes, one transaction for each report. The table goes into
docs/explanation/northd-cost.md between its two marks::

    run.py [--sizes 300,1000,3000] [--no-write]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "functional")]

from ovsdb import Central  # noqa: E402 - after the path

PAGE = ROOT / "docs" / "explanation" / "northd-cost.md"
BEGIN, END = "<!-- bench begin -->", "<!-- bench end -->"
PATIENCE_S = 240.0
QUIET_S = 1.5
PEST_S = 20.0
PEST_EVERY_S = 0.02
HEAD = ("chassis", "event", "wall s", "CPU s", "our transactions in SB", "bytes written to SB")
Row = dict[str, Any]


class Link:
    """One JSON-RPC connection to a database."""

    def __init__(self, path: str, database: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._database, self._text = database, ""
        self._decoder = json.JSONDecoder()

    def send(self, *operations: Row) -> None:
        """Send one transaction, and do not wait for its answer."""
        request = {"method": "transact", "params": [self._database, *operations], "id": 0}
        self._socket.sendall(json.dumps(request).encode())

    def answer(self) -> list[Row]:
        """Wait for the next answer."""
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text)
            except ValueError:
                self._text += self._socket.recv(1 << 20).decode()
                continue
            self._text = self._text[end:]
            results: list[Row] = found["result"]
            assert not [one for one in results if one and "error" in one], results
            return results

    def transact(self, *operations: Row) -> list[Row]:
        """Send one transaction and wait for its answer."""
        self.send(*operations)
        return self.answer()

    def each(self, transactions: Iterable[list[Row]]) -> None:
        """Send several, a hundred at a time."""
        waiting = 0
        for operations in transactions:
            self.send(*operations)
            waiting += 1
            if waiting == 100:
                self.answer()
                waiting -= 1
        for _ in range(waiting):
            self.answer()


def ovs_map(values: dict[str, str]) -> list[Any]:
    return ["map", [[key, value] for key, value in values.items()]]


def address(index: int) -> str:
    return f"10.{index // 62500}.{index // 250 % 250}.{index % 250 + 1}"


def name_of(index: int) -> str:
    return f"ch{index:05d}"


def chassis_rows(index: int) -> list[Row]:
    """Insert what ovn-controller does for a chassis."""
    name, encap, chassis = name_of(index), f"e{index}", f"c{index}"
    tunnel = {"type": "geneve", "ip": address(index), "chassis_name": name}
    tunnel["options"] = ovs_map({"csum": "true"})  # type: ignore[assignment]
    return [
        {"op": "insert", "table": "Encap", "uuid-name": encap, "row": tunnel},
        {
            "op": "insert",
            "table": "Chassis",
            "uuid-name": chassis,
            "row": {"name": name, "hostname": name, "encaps": ["named-uuid", encap]},
        },
        {
            "op": "insert",
            "table": "Chassis_Private",
            "row": {"name": name, "chassis": ["named-uuid", chassis]},
        },
    ]


def gone(index: int) -> list[Row]:
    where = [["name", "==", name_of(index)]]
    tables = ("Chassis_Private", "Chassis")
    return [{"op": "delete", "table": table, "where": where} for table in tables]


def digest(index: int, keys: dict[str, str], pairs: str) -> list[Row]:
    """Report as a controller does."""
    said = {
        "ovn-ipsec-generation": keys.get("generation", "0"),
        "ovn-ipsec-phase": keys.get("phase", "off"),
        "ovn-ipsec-pairs": pairs,
        "ovn-ipsec-agent": "bench",
    }
    change = [
        ["external_ids", "delete", ["set", list(said)]],
        ["external_ids", "insert", ovs_map(said)],
    ]
    where = [["name", "==", name_of(index)]]
    return [{"op": "mutate", "table": "Chassis_Private", "where": where, "mutations": change}]


def cpu_s(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


class Bench:
    """One cluster."""

    def __init__(self, ovn: Central, count: int) -> None:
        self.ovn, self.count = ovn, count
        self.nb = Link(f"{ovn.folder}/ovnnb_db.sock", "OVN_Northbound")
        self.sb = Link(f"{ovn.folder}/ovnsb_db.sock", "OVN_Southbound")
        self.rows: list[tuple[str, ...]] = []
        self.pid = 0

    def build(self) -> None:
        """Rows of every chassis, switched on, and a report of each controller."""
        self.nb.transact({"op": "insert", "table": "NB_Global", "row": {"ipsec": True}})
        self.sb.transact({"op": "insert", "table": "SB_Global", "row": {"ipsec": True}})
        self.sb.each(chassis_rows(index) for index in range(self.count))
        self._report(range(self.count), {}, "")

    def run(self) -> None:
        """All events, one after the other."""
        self.measure("start, until the policy is in SB", self._start)
        self.measure("every chassis follows, until enforced", self._roll_out)
        self.measure("every chassis reports once more", self._report_all)
        self.measure("one chassis joins", lambda: self._join([self.count]))
        tenth = range(self.count // 10)
        self.measure(f"{len(tenth)} chassis restart at once", lambda: self._flap(tenth))
        self._pest()
        status = Path(f"/proc/{self.pid}/status").read_text()
        memory = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
        self._add("memory at the end", f"{memory:.0f} MB")

    def _start(self) -> None:
        self.ovn.start_northd("northd", "--log-level=info")
        process = self.ovn.processes["northd"].running
        assert process is not None
        self.pid = process.pid
        self._wait(lambda: self._keys().get("phase") == "prepare", "prepare")

    def _roll_out(self) -> None:
        up = f"encrypted={self.count - 1}"
        for phase, following in (("prepare", "establish"), ("establish", "enforce")):
            keys = self._keys()
            assert keys["phase"] == phase
            self._report(range(self.count), keys, up)
            self._wait(lambda word=following: self._keys()["phase"] == word, following)  # type: ignore[misc]
        self._report(range(self.count), self._keys(), up)
        self._wait(lambda: self._state() == "enforced", "enforced")

    def _report_all(self) -> None:
        self._report(range(self.count), self._keys(), f"encrypted={self.count}")

    def _join(self, numbers: Iterable[int]) -> None:
        listed = list(numbers)
        self.sb.each(chassis_rows(index) for index in listed)
        self._report(listed, self._keys(), f"encrypted={self.count}")
        wanted = [name_of(index) for index in listed]
        self._wait(lambda: self._labelled(wanted), "their keys")

    def _flap(self, numbers: Iterable[int]) -> None:
        listed = list(numbers)
        self.sb.each(gone(index) for index in listed)
        self._join(listed)

    def _pest(self) -> None:
        """One chassis writes its rows and its report fifty times a second."""
        used, begin = cpu_s(self.pid), time.monotonic()
        turn = 0
        while time.monotonic() < begin + PEST_S:
            turn += 1
            zones = {"transport_zones": f"zone{turn % 7}", "hostname": f"h{turn}"}
            where = [["name", "==", name_of(1)]]
            change = {"op": "update", "table": "Chassis", "where": where, "row": zones}
            keys = {"generation": str(turn), "phase": "establish"}
            self.sb.transact(change, *digest(1, keys, f"blocked={turn}"))
            time.sleep(PEST_EVERY_S)
        spent = (cpu_s(self.pid) - used) * 60.0 / (time.monotonic() - begin)
        self._add(f"one chassis writes {turn / PEST_S:.0f} times a second", "60", f"{spent:.2f}")

    def measure(self, what: str, event: Callable[[], object]) -> None:
        """Let one event happen, wait until northd is quiet, and note what that took."""
        used = cpu_s(self.pid) if self.pid else 0.0
        size, sent = self._size(), self._transactions()
        begin = time.monotonic()
        event()
        wall = time.monotonic() - begin
        self._quiet()
        self._add(
            what,
            f"{wall:.2f}",
            f"{cpu_s(self.pid) - used:.2f}",
            str(self._transactions() - sent),
            str(self._size() - size),
        )

    def _add(self, *words: str) -> None:
        row = (str(self.count), *words, *["-"] * (len(HEAD) - 1 - len(words)))
        self.rows.append(row)
        print(*row, sep=" | ", flush=True)

    def _report(self, numbers: Iterable[int], keys: dict[str, str], pairs: str) -> None:
        self.sb.each(digest(index, keys, pairs) for index in numbers)

    def _keys(self) -> dict[str, str]:
        return self._global(self.sb, "SB_Global")

    def _state(self) -> str:
        return self._global(self.nb, "NB_Global").get("state", "")

    @staticmethod
    def _global(link: Link, table: str) -> dict[str, str]:
        columns = ["external_ids"]
        select = {"op": "select", "table": table, "where": [], "columns": columns}
        ((row,),) = (one["rows"] for one in link.transact(select))
        return {key.removeprefix("ovn-ipsec-"): text for key, text in row["external_ids"][1]}

    def _labelled(self, names: list[str]) -> bool:
        select: list[Row] = [
            {
                "op": "select",
                "table": "Encap",
                "where": [["chassis_name", "==", name]],
                "columns": ["options"],
            }
            for name in names
        ]
        found = [one["rows"] for one in self.sb.transact(*select)]
        return all(rows and "ovn-ipsec" in dict(rows[0]["options"][1]) for rows in found)

    def _transactions(self) -> int:
        """Ours, from the log of the database."""
        text = (self.ovn.folder / "sb.db").read_bytes()
        return text.count(b"ovn-ipsec-northd")

    def _size(self) -> int:
        """Bytes that transactions of ours have in that log."""
        lines = (self.ovn.folder / "sb.db").read_bytes().split(b"OVSDB JSON ")
        return sum(len(one) for one in lines if b"ovn-ipsec-northd" in one)

    def _quiet(self) -> None:
        used, since = cpu_s(self.pid), time.monotonic()
        while time.monotonic() < since + QUIET_S:
            time.sleep(0.25)
            now = cpu_s(self.pid)
            if now - used > 0.02:
                used, since = now, time.monotonic()

    @staticmethod
    def _wait(fact: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not fact():
            assert time.monotonic() < end, f"not within {PATIENCE_S} s: {what}"
            time.sleep(0.05)


def measure(count: int) -> list[tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ovn = Central(Path(folder))
        stack.callback(lambda: [one.stop() for one in reversed(ovn.processes.values())])
        ovn.start_database("nb")
        ovn.start_database("sb")
        bench = Bench(ovn, count)
        bench.build()
        bench.run()
        return bench.rows


def machine() -> str:
    text = Path("/proc/cpuinfo").read_text()
    cpu = re.search(r"^model name\s*:\s*(.*)$", text, re.M)
    named = cpu[1] if cpu else platform.machine()
    return f"Python {platform.python_version()}, {os.cpu_count()} cores ({named})."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="300,1000,3000")
    parser.add_argument("--no-write", action="store_true", help="leave the page alone")
    given = parser.parse_args()
    print(*HEAD, sep=" | ")
    rows = [row for count in map(int, given.sizes.split(",")) for row in measure(count)]
    lines = [machine(), ""]
    lines += [f"| {' | '.join(words)} |" for words in (HEAD, ("---",) * len(HEAD), *rows)]
    if not given.no_write:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        _, after = rest.split(END)
        body = "\n".join(lines)
        PAGE.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
