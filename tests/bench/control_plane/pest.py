# SPDX-License-Identifier: Apache-2.0
"""What one chassis that writes its rows all the time costs the controller of another one.

Run it in namespaces of its own, as run.py does with inside.py; it prints JSON::

    pest.py N pest|still

With `still` it writes nothing: in that time the controller tries N peers that do not answer.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import inside
import lab

PEST_S, EVERY_S = 30.0, 0.02


class Served(lab.Database):
    """The database that a measurement before has started."""

    def __init__(self) -> None:
        """Start nothing."""


def pester(turn: int) -> None:
    """Change everything that a chassis may change of itself: another port, zone and name."""
    name = lab.peer_name(1)
    options = {"csum": "true", "ovn-ipsec": "require", "dst_port": str(7000 + turn % 5)}
    chassis = {"hostname": f"h{turn}", "transport_zones": f"zone{turn % 3}" if turn % 2 else ""}
    if not chassis["transport_zones"]:
        del chassis["transport_zones"]
    Served().transact(
        "OVN_Southbound",
        [
            {
                "op": "update",
                "table": "Encap",
                "where": [["chassis_name", "==", name]],
                "row": {"options": lab.ovs_map(options)},
            },
            {
                "op": "update",
                "table": "Chassis",
                "where": [["name", "==", name]],
                "row": chassis,
            },
        ],
    )


def main() -> None:
    count = int(sys.argv[1])
    lab.prepare("ours")
    inside.ours(count)
    agent = int(Path(f"{lab.FOLDER}/controller.pid").read_text())
    used, begin, turn = lab.cpu_s(agent), time.monotonic(), 0
    while time.monotonic() < begin + PEST_S:
        if sys.argv[2] == "pest":
            turn += 1
            pester(turn)
        time.sleep(EVERY_S)
    spent = time.monotonic() - begin
    found = {
        "peers": count,
        "writes_a_second": turn / spent,
        "cpu_s_a_minute": (lab.cpu_s(agent) - used) * 60.0 / spent,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
