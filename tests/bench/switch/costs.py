# SPDX-License-Identifier: Apache-2.0
"""What operations take, as this bench and others have measured them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

DOCS = Path(__file__).parents[3] / "docs" / "explanation"
SIZE = "1000"
"""Peers in the measurements that are taken from cost.json and northd-cost.md."""
UP_SIZE = "100"
"""Peers in those of peers-cost.json, and in ike.py's: the most with several runs."""
FLOOR, OURS = "bare vici client", "ovn-ipsec-controller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds of a processor for one operation, by the program that spends them."""

    load_s: float = 0.0
    """The IKE daemon loads one connection."""
    initiator_s: float = 0.0
    """The IKE daemon that initiates: an IKE_SA, both CHILD_SAs and both traps of one pair."""
    responder_s: float = 0.0
    """The one that answers."""
    list_one_s: float = 0.0
    """The IKE daemon lists the SAs of one connection."""
    list_all_s: float = 0.0
    """The IKE daemon lists all SAs, for each IKE_SA."""
    vici_s: float = 0.0
    """The controller makes one call to the IKE daemon."""
    transaction_s: float = 0.0
    """The southbound takes in one transaction."""
    decide_s: float = 0.0
    """A played chassis: its agent follows a phase, for each pair."""
    event_s: float = 0.0
    """A played chassis: its agent handles an event of a pair."""
    cpu: float = 0.0
    """What the own CPU time of the controllers and of northd is multiplied by."""

    def slower(self, factor: float) -> Costs:
        """The same with an IKE daemon that needs that many times as long for everything."""
        words = ("load_s", "initiator_s", "responder_s", "list_one_s", "list_all_s")
        return replace(self, **{word: factor * getattr(self, word) for word in words})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Costs on a host, and how much slower an IKE daemon was in user-mode Linux."""

    costs: Costs
    """Without those of played chassis."""
    slower: float
    """CPU time of a rekey of an IKE_SA there, times that here."""
    uml: Costs
    """As measured there; on a host it is that much less."""


def measured(ike: Mapping[str, float]) -> Measured:
    """Read the results of the other benches.

    Args:
        ike: What ike.py says.

    Raises:
        LookupError: A page or a file of results lacks what is needed.
    """
    start = json.loads((DOCS / "cost.json").read_text())["results"]
    up = json.loads((DOCS / "peers-cost.json").read_text())["results"][UP_SIZE]["floor"]
    count, peers = int(SIZE), int(UP_SIZE)

    def spent(run: Mapping[str, Any], who: str) -> float:
        return float(run[who])

    initiator_s = median(spent(run["up"], "ike_cpu_s") for run in up) / peers
    responder_s = median(spent(run["up"], "peers_cpu_s") for run in up) / peers
    rekey_s = median(spent(run["rekeys"]["ikes"], "ike_cpu_s") for run in up) / peers
    slower = rekey_s / ike["rekey"]
    calls = 3 * count  # a connection and two traps
    costs = Costs(
        load_s=_initial(start, OURS, "ike_cpu_s") / count,
        initiator_s=initiator_s / slower,
        responder_s=responder_s / slower,
        list_one_s=ike["list_one"],
        list_all_s=ike["list_all"],
        vici_s=_initial(start, FLOOR, "agent_cpu_s") / calls,
        transaction_s=_reports_s() / count,
        cpu=1.0,
    )
    return Measured(costs=costs, slower=slower, uml=costs.slower(slower))


def _initial(results: Mapping[str, Any], system: str, who: str) -> float:
    return float(results[system][SIZE]["initial"][who])


def _reports_s() -> float:
    """Until a southbound has taken in the reports of all chassis, by the page of northd's bench."""
    text = (DOCS / "northd-cost.md").read_text(encoding="utf-8")
    found = re.search(rf"^\| {SIZE} \| every chassis reports once more \| ([\d.]+) \|", text, re.M)
    if found is None:
        raise LookupError("northd-cost.md: every chassis reports once more")
    return float(found[1])
