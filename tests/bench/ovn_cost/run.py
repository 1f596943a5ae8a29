# SPDX-License-Identifier: Apache-2.0
"""Count what each kind of event costs OVN itself: Encap writes, recomputes of its daemons.

Real ovsdb-servers, ovn-northd, ovn-ipsec-northd, and one ovn-controller on the dummy datapath; the
other chassis are rows, whose digests this program writes. The table goes into
docs/explanation/ovn-cost.md between its two marks::

    run.py [--chassis 20] [--no-write]
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "functional")]

from ovsdb import Central, central, wait_until  # noqa: E402 - after the path

from tests.functional.test_tunnels import Machine  # noqa: E402

PAGE = ROOT / "docs" / "explanation" / "ovn-cost.md"
BEGIN, END = "<!-- bench begin -->", "<!-- bench end -->"
QUIET_S, LONG_S = 1.5, 30.0
HEAD = ("event", "Encap rows written", "our transactions in SB")
HEAD += ("ovn-northd recomputes", "ovn-controller recomputes")


class Bench:
    """The cluster, and what its counters stand at."""

    def __init__(self, ovn: Central, machine: Machine, chassis: int) -> None:
        """Store the parts."""
        self.ovn, self.machine = ovn, machine
        self.names = [f"hv{number}" for number in range(1, chassis + 1)]
        self.rows: list[tuple[str, ...]] = []

    def build(self) -> None:
        """One real chassis, and rows for the others, in two zones each shares with all."""
        self.machine.build()
        self.machine.external_ids(**{"ovn-remote": self.ovn.remote("sb")})
        self.machine.external_ids(**{"ovn-transport-zones": "all,dc1"})
        for switch in ("payments", "public"):
            self.ovn.nbctl("ls-add", switch)
            for name in self.names:
                self.ovn.nbctl("lsp-add", switch, f"{switch}-{name}")
        for number, name in enumerate(self.names[1:], 2):
            self.ovn.sbctl("chassis-add", name, "geneve", f"10.0.0.{number}")
            zones = f"transport_zones=all,dc{1 + number % 2}"
            self.ovn.sbctl("set", "Chassis", name, zones)
        self.machine.start("ovn-controller", self.machine.remote)
        wait_until(lambda: self._has("hv1"), LONG_S, "chassis hv1")
        self.ovn.sbctl("lsp-bind", "payments-hv2", "hv2")
        self.ovn.sbctl("lsp-bind", "payments-hv3", "hv3")
        self.ovn.start_northd()
        self.follow()

    def _has(self, name: str) -> bool:
        return any(row["name"] == name for row in self.ovn.rows("sb", "Chassis"))

    def follow(self) -> None:
        """Let every controller say that it has done what SB says."""
        for name in self.names:
            self.ovn.follow(name, f"encrypted={len(self.names) - 1}")

    def counters(self) -> tuple[int, int, int, int]:
        """Encap writes and our transactions so far, and what OVN has computed again."""
        log = self.ovn.run("ovsdb-tool", "-mm", "show-log", str(self.ovn.folder / "sb.db"))
        encaps = sum(len(re.findall(r"^ *table Encap ", part, re.M)) for part in _ours(log))
        process = self.machine.running["ovn-controller"]
        agent = str(self.machine.control("ovn-controller", process.pid))
        pid = (self.ovn.folder / "ovn-northd.pid").read_text().strip()
        central_ = str(self.ovn.folder / f"ovn-northd.{pid}.ctl")
        return (
            encaps,
            len(self.ovn.transactions("sb")),
            self._recomputes(central_, "northd"),
            self._recomputes(agent, "physical_flow_output"),
        )

    def _recomputes(self, target: str, node: str) -> int:
        text = self.ovn.run("ovn-appctl", "-t", target, "inc-engine/show-stats", node, "recompute")
        return int(text.split()[-1])

    def measure(self, what: str, event: Callable[[], object]) -> None:
        """Let one event happen, wait until all is quiet, and note the differences."""
        before = self.settled()
        event()
        after = self.settled()
        row = (what, *(str(b - a) for a, b in zip(before, after, strict=True)))
        self.rows.append(row)
        print(*row, sep=" | ", flush=True)

    def settled(self) -> tuple[int, int, int, int]:
        """The counters once they have not moved for a while."""
        found, since = self.counters(), time.monotonic()
        while time.monotonic() < since + QUIET_S:
            time.sleep(0.2)
            now = self.counters()
            if now != found:
                found, since = now, time.monotonic()
        return found

    def reach(self, phase: str) -> None:
        """Follow until SB is at a phase; then follow that."""

        def there() -> bool:
            self.follow()
            return self.ovn.keys("sb").get("phase") == phase

        wait_until(there, LONG_S, phase)
        self.follow()

    def ask(self, **options: str) -> None:
        """Set NB options `ovn-ipsec-...`."""
        words = [f'options:ovn-ipsec-{k.replace("_", "-")}="{v}"' for k, v in options.items()]
        self.ovn.nbctl("set", "NB_Global", ".", "ipsec=true", *words)

    def run(self) -> None:
        """All events, one after the other."""
        quiet = self.ovn.rows("nb", "NB_Global")[0]["options"]
        assert quiet is not None
        self.measure("switch on, until enforced", self._switch_on)
        self.measure("one chassis reports (its digest)", self._digest)
        self.measure("lost key of one Encap row restored", self._lost)
        zones = {"rule_100": "zone:dc1 zone:dc2 require", "rule_1": "any any prefer"}
        self.measure("two rules by zone, until enforced", lambda: self._rules(**zones))
        turned = {"rule_100": "zone:dc1 zone:dc1 require"}
        self.measure("one of them changed", lambda: self._rules(**turned))
        nets = {"rule_100": "network:payments any require", "hold": "1s"}
        self.measure("a network rule in its place", lambda: self._rules(**nets))
        bind = self.ovn.sbctl
        self.measure("a port of that network appears", lambda: self._moved(bind, True))
        self.measure("the port disappears, after the hold", lambda: self._moved(bind, False))
        self.measure("switch off, until off", self._switch_off)

    def _switch_on(self) -> None:
        self.ovn.nbctl("set", "NB_Global", ".", "ipsec=true")
        self.reach("enforce")

    def _switch_off(self) -> None:
        self.ovn.nbctl("set", "NB_Global", ".", "ipsec=false")
        self.reach("off")

    def _digest(self) -> None:
        self.ovn.report("hv2", problem="a bench")

    def _lost(self) -> None:
        (row,) = self.ovn.sbctl(
            "--bare", "--columns=_uuid", "find", "Encap", "chassis_name=hv2"
        ).split()
        self.ovn.sbctl("remove", "Encap", row, "options", "ovn-ipsec")
        wait_until(lambda: None not in self.ovn.encap_modes().values(), LONG_S, "the key")

    def _rules(self, **rules: str) -> None:
        before = self.ovn.keys("sb")["generation"]
        self.ask(**rules)
        wait_until(lambda: self.ovn.keys("sb")["generation"] != before, LONG_S, "generation")
        self.reach("enforce")

    def _moved(self, bind: Callable[..., object], comes: bool) -> None:
        before = self.ovn.keys("sb"), self.ovn.rows("sb", "Encap")
        if comes:
            bind("lsp-bind", "payments-hv5", "hv5")
        else:
            bind("lsp-unbind", "payments-hv5")
        wait_until(
            lambda: (self.ovn.keys("sb"), self.ovn.rows("sb", "Encap")) != before, LONG_S, "follow"
        )
        self.follow()


def _ours(log: str) -> list[str]:
    parts = re.split(r"^(?=record \d+:)", log, flags=re.M)
    return [part for part in parts if "ovn-ipsec-northd" in part]


def write(rows: list[tuple[str, ...]], chassis: int) -> None:
    lines = [f"{chassis} chassis, OVN as installed.", ""]
    lines += [f"| {' | '.join(words)} |" for words in (HEAD, ("---",) * len(HEAD), *rows)]
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    body = "\n".join(lines)
    PAGE.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chassis", type=int, default=20)
    parser.add_argument("--no-write", action="store_true", help="leave the page alone")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        places = Path(folder, "central"), Path(folder, "hv1")
        for place in places:
            place.mkdir()
        with central(places[0]) as ovn:
            machine = Machine(places[1])
            try:
                bench = Bench(ovn, machine, given.chassis)
                bench.build()
                bench.run()
            finally:
                machine.close()
    if not given.no_write:
        write(bench.rows, given.chassis)


if __name__ == "__main__":
    main()
