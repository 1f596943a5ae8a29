# SPDX-License-Identifier: Apache-2.0
"""The reader of a tutorial, who types its commands on the hosts of the laboratory.

There is no systemd: a daemon that the page starts by ``systemctl`` is started as the laboratory
starts it, and masks do nothing. What the page types on h1 for the whole cluster is typed on
central, which is a host of its own here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from helpers import PATIENCE_S, say

from ovn_ipsec.lab.cluster.chassis import Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.hosts.tutorial import Step, steps
from ovn_ipsec.lab.waiting import wait_until

COMMAND_S = 400.0
"""How long one may take; ``ovn-ipsec wait`` is typed with a limit of 300 s."""
FOR_THE_CLUSTER = (
    "ovn-nbctl ",
    *(f"ovn-ipsec {what} " for what in ("explain", "policy", "status", "wait")),
)
MASKS = ("mask", "unmask")


def section(page: Path, begin: str) -> list[Step]:
    """Return the steps of the section whose heading begins so."""
    found = [one for one in steps(page.read_text("utf-8")) if one.section.startswith(begin)]
    assert found, begin
    return found


class Reader:
    """Types steps, and keeps what was printed."""

    def __init__(self, cluster: Cluster) -> None:
        """Sit down."""
        self._cluster = cluster

    def type_all(self, typed: Iterable[Step], on: Chassis | None = None) -> None:
        """Type steps; each has to succeed, a question after a while."""
        for step in typed:
            self.type(step, on)

    def type(
        self, step: Step, on: Chassis | None = None, until: Callable[[str], bool] | None = None
    ) -> str:
        """Type a command, which has to succeed, and return what it printed.

        Args:
            step: The step.
            on: Another chassis than that of the page.
            until: What a question is to be answered; it is asked until then.
        """
        chassis = on or self._cluster.chassis[step.host]
        words = step.command.split()
        if words[0] == "systemctl":
            self._systemctl(chassis, words[1:])
            return ""
        if not step.is_question:
            done = self._typed(step, chassis)
            assert done.returncode == 0, (step, done.stdout, done.stderr)
            return done.stdout
        answers: list[subprocess.CompletedProcess[str]] = []

        def answered() -> bool:
            answers.append(self._typed(step, chassis))
            text = answers[-1].stdout
            return until(text) if until is not None else answers[-1].returncode == 0

        try:
            wait_until(answered, 2 * PATIENCE_S, f"{step}", every=1.0)
        except Exception:
            print(answers[-1:], flush=True)
            raise
        return answers[-1].stdout

    def _typed(self, step: Step, chassis: Chassis) -> subprocess.CompletedProcess[str]:
        whole = f"{step.command} ".startswith(FOR_THE_CLUSTER)
        host = self._cluster.central if whole else chassis
        say("typed", host=host.name, command=step.command)
        script = f"PATH={Path(sys.executable).parent}:$PATH; {step.command}"
        return host.run(["sh", "-c", script], check=False, timeout=COMMAND_S)

    def _systemctl(self, chassis: Chassis, words: list[str]) -> None:
        if words == ["enable", "--now", "strongswan"]:
            chassis.start_ike()
        elif words == ["enable", "--now", "ovn-ipsec-controller"]:
            chassis.start_ipsec()
        else:
            assert words[0] in MASKS, words
