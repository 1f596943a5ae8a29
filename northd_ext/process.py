# SPDX-License-Identifier: Apache-2.0
"""Shell: what the loop needs of the process that it runs in, so that a test can bring its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Protocol

import ovs.poller

from ovn_ipsec.model.metric import Sample


class Exporter(Protocol):
    """What metrics are handed to."""

    def publish(self, make: Callable[[datetime], Iterator[Sample]], now: float) -> None:
        """Take what makes them."""


class Process(Protocol):
    """What Northd needs of ovn_ipsec.service.Service."""

    @property
    def stopping(self) -> bool:
        """Whether it has been told to end."""

    @property
    def exporter(self) -> Exporter | None:
        """Where metrics go; None where nobody asks for them."""

    def open(self) -> None:
        """Start."""

    def command(
        self, name: str, usage: str, low: int, high: int, run: Callable[[list[str]], str]
    ) -> None:
        """Offer a command to appctl."""

    def run(self) -> None:
        """Answer what appctl asks."""

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Arm the poller with all that run() could act on."""

    def close(self) -> None:
        """End."""
