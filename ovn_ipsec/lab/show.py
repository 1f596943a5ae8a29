# SPDX-License-Identifier: Apache-2.0
"""The show of the sandbox, from the inside: a cluster goes from clear text to encryption.

Edge. One line for each change: seconds, topic, text; ``sandbox`` paints them outside. Central is
given a certificate authority, and no chassis is given anything: each asks for its certificate.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from ..schema.report import AGENT, ANSWER, EXPIRES, REQUEST
from .cluster.cluster import Cluster
from .cluster.host import PROJECT, python
from .cluster.settings import ClusterSettings
from .errors import LabError
from .waiting import poll, stretched, wait_until
from .witness.traffic import Mark as PingMark
from .witness.traffic import Pinger
from .witness.wire import Kind, Mark

AUTHORITY = "/var/lib/ovn-ipsec/ca"
"""Where ``ovn-ipsec pki`` keeps it by default."""
PATIENCE_S = 90.0
"""How long the show waits for the pairs to be encrypted."""
WINDOW_S = 1.5
"""Over which time the wire is judged."""

NEXT = """
  ovn-nbctl --no-leader-only get NB_Global . external_ids     what the operator reads back
  ovs-appctl -t ovn-ipsec-controller peers/show               the pairs as one chassis sees them
  ovs-appctl -t ovn-ipsec-controller guard/show               the guard and what it counted
  ovn-nbctl set NB_Global . ipsec=false                       and back to clear text
"""

SHELL = """
on() {{ local h=$1; shift; nsenter -t "$(cat {folder}/$h.holder)" -m -n -- "$@"; }}
ovn-nbctl() {{ on central ovn-nbctl "$@"; }}
ovn-sbctl() {{ on central ovn-sbctl "$@"; }}
export PYTHONPATH={project}
export PATH={bin}:$PATH
PS1='sandbox# '
echo 'on h1 CMD... runs a command on chassis h1 (and h2, ..., central); exit ends the sandbox.'
"""


class Show:
    """The state of the show: what was last said of each pair."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._start = time.monotonic()
        self._said: dict[str, str] = {}
        self._pingers: dict[tuple[str, str], tuple[Pinger, PingMark]] = {}

    def say(self, topic: str, text: str) -> None:
        """Print one line at once."""
        print(f"{time.monotonic() - self._start:6.1f} s  {topic:<8} {text}", flush=True)

    def play(self) -> int:
        """Switch encryption on under traffic and show what happens; 0 when it was encrypted."""
        self._start_traffic()
        before = self._cluster.wire.mark()
        time.sleep(WINDOW_S)
        self._say_wire(before)
        self.say("pki", "ovn-ipsec pki init, on central; no chassis is given a certificate")
        self._cluster.central.run(python("-m", "ovn_ipsec.cli", "pki", "--ca", AUTHORITY, "init"))
        northd = ("--ca-dir", AUTHORITY)
        self.say("start", f"ovn-ipsec-northd {' '.join(northd)}, on central")
        self.say("start", "ovn-ipsec-controller, on each chassis")
        self._cluster.start_ipsec(northd=northd)
        wait_until(self._all_report, PATIENCE_S, "a report of every controller")
        switched = self._cluster.wire.mark()
        self.say("switch", "ovn-nbctl set NB_Global . ipsec=true")
        self._cluster.nbctl("set", "NB_Global", ".", "ipsec=true")
        done = self._follow()
        self._summary(switched, encrypted=done)
        return 0 if done else 1

    def _all_report(self) -> bool:
        self._say_states()
        rows = self._cluster.sb.rows("Chassis_Private", "external_ids")
        return all(AGENT in self._external_ids([row]) for row in rows)

    def _start_traffic(self) -> None:
        workloads = list(self._cluster.workloads.values())
        for one, other in zip(workloads, workloads[1:] + workloads[:1], strict=True):
            if one.name == other.name:
                continue
            pinger = self._cluster.pinger(one.name, other.name)
            since = pinger.mark()
            wait_until(functools.partial(pinger.received_since, since), 60, "an answer")
            self._pingers[one.name, other.name] = (pinger, pinger.mark())
            self.say("traffic", f"{one.name} on {one.chassis} pings {other.name}, 20 a second")

    def _follow(self) -> bool:
        return poll(self._say_all, stretched(PATIENCE_S), every=0.5)

    def _say_all(self) -> bool:
        kinds = self._say_wire(Mark(time.monotonic() - WINDOW_S))
        state = self._say_states()
        return kinds == {"ESP"} and state in ("enforced", "established")

    def _say_states(self) -> str:
        ours = self._external_ids(self._cluster.nb.rows("NB_Global", "external_ids"))
        for key in ("state", "summary", "error"):
            self._say_once("cluster", key, ours.get(f"ovn-ipsec-{key}", ""))
        columns = ("name", "external_ids")
        for row in self._cluster.sb.rows("Chassis_Private", *columns):
            values = self._external_ids([row])
            for key in ("phase", "pairs", "problem"):
                self._say_once(str(row["name"]), key, values.get(f"ovn-ipsec-{key}", ""))
            self._say_once(str(row["name"]), "certificate", _certificate(values))
        return ours.get("ovn-ipsec-state", "")

    def _say_wire(self, since: Mark) -> set[str]:
        names = self._names()
        seen: dict[tuple[str, str], dict[Kind, int]] = {}
        for (kind, source, target), flow in self._cluster.wire.counts(since).items():
            if kind is not Kind.IKE and source in names and target in names:
                counts = seen.setdefault((names[source], names[target]), {})
                counts[kind] = counts.get(kind, 0) + flow.count
        kinds = {pair: _word(counts) for pair, counts in sorted(seen.items())}
        for (source, target), word in kinds.items():
            self._say_once("wire", f"{source} -> {target}", word)
        return set(kinds.values())

    def _say_once(self, topic: str, what: str, text: str) -> None:
        key = f"{topic} {what}"
        if self._said.get(key, "") != text:
            self._said[key] = text
            self.say(topic, f"{what}: {text or 'gone'}")

    def _names(self) -> Mapping[str, str]:
        return {ip: one.name for one in self._cluster.chassis.values() for ip in one.encap_ips}

    def _external_ids(self, rows: list[dict[str, object]]) -> dict[str, str]:
        values = rows[0]["external_ids"] if rows else {}
        return values if isinstance(values, dict) else {}

    def _summary(self, switched: Mark, *, encrypted: bool) -> None:
        since = Mark(time.monotonic())
        time.sleep(3)
        counts = {kind: self._cluster.wire.total(kind, since) for kind in Kind}
        self.say("wire", f"last 3 s: {counts[Kind.CLEAR]} clear, {counts[Kind.ESP]} ESP")
        # One end for all: each would wait for the answers to what it has just sent.
        ends = {pair: pinger.mark() for pair, (pinger, _) in self._pingers.items()}
        for (source, target), (pinger, mark) in self._pingers.items():
            end = ends[source, target]
            sent, lost = pinger.sent_since(mark, end), pinger.lost_since(mark, end)
            gap = pinger.longest_gap(mark, end) * 1000
            words = f"{sent} sent, {lost} lost, longest gap {gap:.0f} ms"
            self.say("traffic", f"{source} -> {target}: {words}")
        rows = self._cluster.sb.rows("Chassis_Private", "external_ids")
        enrolled = sum({ANSWER, EXPIRES} <= self._external_ids([row]).keys() for row in rows)
        words = f"{enrolled} of {len(rows)} chassis asked for their certificates"
        self.say("pki", f"one certificate authority, on central; {words}")
        spent = time.monotonic() - switched.at
        result = "encrypted" if encrypted else "not encrypted in time"
        self.say("result", f"{result}, {spent:.0f} s after the switch")


def _certificate(values: Mapping[str, str]) -> str:
    """Tell how far a chassis has come on the way to its certificate."""
    if until := values.get(EXPIRES):
        return f"in use, until {until}"
    if ANSWER in values:
        return "signed on central"
    return "asked for" if REQUEST in values else ""


def _word(counts: Mapping[Kind, int]) -> str:
    clear = counts.get(Kind.CLEAR, 0)
    hidden = counts.get(Kind.ESP, 0) + counts.get(Kind.ESP_UDP, 0)
    if clear and hidden:
        return "Geneve and ESP"
    return "Geneve, in clear" if clear else "ESP"


def build_and_play(chassis: int, *, keep: bool) -> int:
    """Build the cluster, play the show, and leave a shell when asked to.

    Returns:
        0 when every pair was encrypted, 1 when not, 2 when the laboratory failed.
    """

    def progress(text: str) -> None:
        print(f"  build  {text}", flush=True)

    try:
        settings = ClusterSettings(
            chassis=chassis, tls=True, rbac=True, northd_socket=True, enrol=True
        )
        with Cluster(settings, progress=progress) as cluster:
            try:
                status = Show(cluster).play()
            except LabError as error:
                print(f"sandbox: {error}", flush=True)
                cluster.save_logs()
                status = 2
            print(f"What to try next{' (on a chassis: on h1 ...)' if keep else ' (--keep)'}:{NEXT}")
            if keep:
                _shell(cluster)
            return status
    except LabError as error:
        print(f"sandbox: {error}", flush=True)
        return 2


def _shell(cluster: Cluster) -> None:
    for host in (cluster.central, *cluster.chassis.values()):
        (cluster.folder / f"{host.name}.holder").write_text(str(host.holder))
    text = SHELL.format(folder=cluster.folder, project=PROJECT, bin=Path(sys.executable).parent)
    file = cluster.folder / "bashrc"
    file.write_text(text)
    subprocess.run(["bash", "--rcfile", str(file), "-i"], check=False)
