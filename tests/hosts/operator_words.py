# SPDX-License-Identifier: Apache-2.0
"""What an operator types on the hosts, and what tests ask of them.

The operator is a reader of docs/tutorial.md, who goes aside between two of its chapters.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ovn_ipsec.lab.hosts.machine import Machine
from ovn_ipsec.lab.hosts.pair import Pair, Typed
from ovn_ipsec.lab.hosts.tutorial import TUTORIAL, steps
from ovn_ipsec.lab.hosts.underlay import Mark
from ovn_ipsec.lab.waiting import wait_until
from ovn_ipsec.lab.witness.wire import Kind

DOCS = Path(__file__).parents[2] / "docs"
ENFORCED_S = 300.0
"""As the tutorial waits."""
CHAPTERS = {
    "install": 2,
    "authority": 3,
    "on": 4,
    "rule": 5,
    "certificate": 6,
    "reboot": 7,
    "off": 8,
}
"""Of the tutorial."""
APT_S = 300.0
"""How long apt may take for packages that are there already; 20 s were seen."""
NEXT = "next"
"""Where packages of another version are in a host, below root's home."""


def documented(command: str, page: str = "howto/install.md") -> str:
    """Return a command that stands on a page of the documentation as it is given here."""
    assert command in (DOCS / page).read_text("utf-8"), f"{page} does not say: {command}"
    return command


def say(fact: str, **values: object) -> None:
    """Print what was measured, for whoever reads the log of a run."""
    words = " ".join(f"{name}={value}" for name, value in values.items())
    print(f"MEASURED {fact}: {words}", flush=True)


@dataclass(slots=True)
class Loss:
    """What a ping over the overlay lost."""

    sent: int = 0
    answered: int = 0

    @property
    def lost(self) -> int:
        """How many were not answered."""
        return self.sent - self.answered


class Operator:
    """Somebody at the keyboards of both hosts, with the tutorial."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._chapter = 1

    def read_to(self, chapter: int) -> list[Typed]:
        """Type all that the tutorial says up to the end of a chapter and was not typed yet."""
        typed: list[Typed] = []
        while self._chapter < chapter:
            self._chapter += 1
            typed += self.pair.enter_chapter(self._chapter)
        return typed

    def again(self, beginning: str) -> str:
        """Type the first command of the tutorial with this beginning once more."""
        text = TUTORIAL.read_text("utf-8")
        return self.pair.enter(
            next(step for step in steps(text) if step.command.startswith(beginning))
        )

    def wait_enforced(self) -> None:
        """Wait until the cluster says it again, in the row that ``ovn-ipsec wait`` reads."""
        key = "ovn-ipsec-state"

        def enforced() -> bool:
            output = self.pair.h1.check(f"ovn-nbctl get NB_Global . external_ids:{key}")
            return output.strip() == "enforced"

        wait_until(enforced, ENFORCED_S, "the state enforced")


@contextlib.contextmanager
def nothing_clear(pair: Pair, what: str) -> Iterator[None]:
    """Assert that nothing goes out in clear meanwhile, and that ESP does afterwards, both ways."""
    mark, begin = pair.underlay.mark(), time.monotonic()
    yield
    pair.wait_answers()
    back = time.monotonic() - begin
    pair.wait_forwarding()
    now = pair.underlay.mark()
    for host in pair.hosts:
        wait_until(partial(packets_from, host, pair, now), 60, f"ESP from {host.name}")
    counts = pair.underlay.counts(mark)
    say(what, seconds=f"{back:.1f}", esp=counts[Kind.ESP], clear=counts[Kind.CLEAR])
    clear = [one for one in pair.underlay.seen(mark) if one.kind is Kind.CLEAR]
    assert clear == []


def shown_on_wire(typed: list[Typed]) -> list[set[str]]:
    """Return which protocols each tcpdump of the tutorial has shown."""
    shown = (one.output for one in typed if one.step.command.startswith("tcpdump"))
    return [set(re.findall(r": (ESP|Geneve)\b", output)) for output in shown]


def packets_from(host: Machine, pair: Pair, since: Mark) -> int:
    """Return how many packets of ESP a host has sent since a moment."""
    seen = pair.underlay.seen(since)
    return sum(one.kind is Kind.ESP and one.sender == host.name for one in seen)


def sent_by_workload(host: Machine) -> int:
    """Return how many packets a workload has given to Open vSwitch, whatever became of them."""
    counter = f"/sys/class/net/{host.host.workload}/statistics/tx_packets"
    return int(host.check(f"cat {counter}"))


@contextlib.contextmanager
def pinging(host: Machine, address: str) -> Iterator[Loss]:
    """Send ten pings a second from a host's workload meanwhile, and count the answers."""
    name = "counted-ping"
    output = f"/root/{name}"
    host.check(
        f"rm -f {output}; systemd-run --quiet --collect --unit={name} "
        f"-p StandardOutput=file:{output} ping -n -q -i 0.1 {address}"
    )
    loss = Loss()
    try:
        yield loss
    finally:
        host.check(f"systemctl kill -s INT {name}")
    found = wait_until(
        lambda: re.search(
            r"(\d+) packets transmitted, (\d+) received", host.run(f"cat {output}").output
        ),
        60,
        "the counts of ping",
    )
    loss.sent, loss.answered = int(found[1]), int(found[2])


def spis(host: Machine) -> frozenset[str]:
    """Return the SPIs of the SAs in a host's kernel; those of acquires are not there yet."""
    output = host.check("ip xfrm state")
    return frozenset(re.findall(r"spi (0x[0-9a-f]{8})", output)) - {"0x00000000"}


def is_active(host: Machine, unit: str) -> bool:
    """Return whether a unit of systemd runs."""
    return host.run(f"systemctl is-active --quiet {unit}").status == 0
