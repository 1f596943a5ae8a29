# SPDX-License-Identifier: Apache-2.0
"""How long JSON parsers take for the first answer of a southbound of N chassis.

Run it with each Python whose ovs package is of interest; it prints JSON: seconds by parser.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import ovs.json


def answer(count: int) -> str:
    """Make the reply to a monitor of the columns that a controller asks for."""
    tables: dict[str, Any] = {"Chassis": {}, "Encap": {}, "Chassis_Private": {}}
    for index in range(count):
        name, encap = f"ch{index:05d}", str(uuid.uuid4())
        options = [["csum", "true"], ["ovn-ipsec", "require"]]
        config = [[f"ovn-feature-{n}", "true"] for n in range(8)]
        digest = [
            ["ovn-ipsec-generation", "1"],
            ["ovn-ipsec-phase", "enforce"],
            ["ovn-ipsec-pairs", "clear=0 pending=0 blocked=0 encrypted=999 lingering=0"],
            ["ovn-ipsec-agent", "ovn-ipsec-controller strongSwan"],
        ]
        tables["Chassis"][str(uuid.uuid4())] = {
            "insert": {
                "name": name,
                "hostname": name,
                "encaps": ["uuid", encap],
                "external_ids": ["map", []],
                "other_config": ["map", config],
                "transport_zones": ["set", []],
            }
        }
        tables["Encap"][encap] = {
            "insert": {
                "type": "geneve",
                "ip": f"10.0.{index // 250}.{index % 250}",
                "chassis_name": name,
                "options": ["map", options],
            }
        }
        tables["Chassis_Private"][str(uuid.uuid4())] = {
            "insert": {"name": name, "external_ids": ["map", digest]}
        }
    return json.dumps({"id": 1, "error": None, "result": [False, str(uuid.uuid4()), tables]})


class PurePython(ovs.json.Parser):
    """The package's own parser, where it would pick the C one."""

    def __new__(cls) -> PurePython:  # noqa: D102 - see the class
        return object.__new__(cls)


def by_ovs(parser: Any, text: str) -> Any:
    parser.feed(text)
    return parser.finish()


def by_stream(text: str) -> Any:
    """Ours, in parts as they come from a socket."""
    from ovn_ipsec.ovsdb.jsonstream import JsonStream  # noqa: PLC0415 - not in every Python

    parser, at = JsonStream(), 0
    while not parser.is_done():
        at += parser.feed(text[at : at + 4096])
    return parser.finish()


def parsers() -> dict[str, Callable[[str], Any]]:
    """Find every parser that this Python has, by a name for people."""
    found: dict[str, Callable[[str], Any]] = {
        "stdlib json": json.loads,
        "ovs, pure Python": lambda text: by_ovs(PurePython(), text),
    }
    if importlib.util.find_spec("ovn_ipsec") is not None:
        found["ours: ends of messages, then stdlib json"] = by_stream
    if ovs.json.PARSER == ovs.json.PARSER_C:
        found["ovs, C extension"] = lambda text: by_ovs(ovs.json.Parser(), text)
    return found


def main() -> None:
    text = answer(int(sys.argv[1]))
    times = {"bytes": len(text)}
    for name, parse in parsers().items():
        best = float("inf")
        for _ in range(3):
            begin = time.process_time()
            assert parse(text)["result"][2]["Chassis"]
            best = min(best, time.process_time() - begin)
        times[name] = best
    print(json.dumps(times))


if __name__ == "__main__":
    main()
