# SPDX-License-Identifier: Apache-2.0
"""What IKE_SAs cost two real charons on this host, without CHILD_SAs: its kernel may lack ESP.

Run it in namespaces of its own, as run.py does; it prints JSON, CPU seconds for one::

    ike.py N
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / folder) for folder in ("thousand", "control_plane")]

import inside  # noqa: E402 - after the path
import lab  # noqa: E402
import measure  # noqa: E402

LISTS = 50
"""Of all IKE_SAs."""


def costs(count: int) -> dict[str, float]:
    """Measure them: set-up and rekey at both ends, and lists."""
    measure.connect(count)
    daemon = inside.start_charon()
    peers = measure.start_peers(count)
    control = measure.session(inside.VICI)
    measure.load_key(control, measure.LOCAL)
    sections = [measure.section(measure.config(index)) for index in range(count)]
    for one in sections:
        control.load_conn(one)
    names = [next(iter(one)) for one in sections]
    found: dict[str, float] = {}

    def cost(what: str, times: int, run: Callable[[], None]) -> None:
        before = lab.cpu_s(daemon), lab.cpu_s(peers)
        run()
        found[what] = (lab.cpu_s(daemon) - before[0]) / times
        found[f"{what}_far"] = (lab.cpu_s(peers) - before[1]) / times

    cost("up", count, lambda: _each(control, names, "ike-updown"))
    up = sum(sa["state"] == b"ESTABLISHED" for item in control.list_sas({}) for sa in item.values())
    if up != count:
        raise ValueError(f"{up} of {count} IKE_SAs are up")
    cost("list_one", count, lambda: _list(control, [{"ike": name} for name in names]))
    cost("list_all", LISTS * count, lambda: _list(control, [{}] * LISTS))
    cost("rekey", count, lambda: _each(control, names, "ike-rekey"))
    return found


def _each(control: Any, names: list[str], kind: str) -> None:
    """Bring up or rekey IKE_SAs, some at once, and wait for the event of each."""
    events, done = measure.listened(kind), 0
    for number, name in enumerate(names):
        if kind == "ike-rekey":
            control.rekey({"ike": name})
        else:
            for _ in control.initiate({"ike": name, "timeout": "-1"}):
                pass
        while number - done >= measure.REKEYS_AT_ONCE:
            events.get(timeout=60.0)
            done += 1
    for _ in range(len(names) - done):
        events.get(timeout=60.0)


def _list(control: Any, filters: list[dict[str, str]]) -> None:
    for one in filters:
        for _ in control.list_sas(one):
            pass


if __name__ == "__main__":
    print(json.dumps(costs(int(sys.argv[1]))))
