# SPDX-License-Identifier: Apache-2.0
"""Workloads, and the ``ip`` and ``ovn-nbctl`` words that make them and their hosts.

Edge (processes), but for the functions that return words.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import CommandError
from ..waiting import stretched

WORKLOAD_MTU = 1300
"""Leaves room for Geneve and ESP over IPv6 within 1500."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A logical port with a network namespace behind it."""

    name: str
    """Of the logical port, the namespace and the interface."""
    chassis: str
    """Where it runs."""
    ip: str
    """Its address, in a /24."""
    ipv6: str
    """Its other address, in a /64."""
    mac: str
    """Its hardware address."""

    @property
    def network(self) -> Path:
        """Its network namespace."""
        return Path("/run/netns") / self.name


def ip_batch(lines: Iterable[str], network: str = "", *, force: bool = False) -> None:
    """Run many ``ip`` commands by one fork, in a named network namespace or in this one.

    Raises:
        CommandError: One of them failed.
    """
    where = ["-n", network] if network else []
    where += ["-force"] if force else []
    run_text(["ip", *where, "-batch", "-"], stdin="\n".join(lines) + "\n")


def run_text(argv: list[str], *, stdin: str = "", timeout: float = 60.0) -> str:
    """Run a command outside all hosts and return what it printed.

    Raises:
        CommandError: It failed.
    """
    done = subprocess.run(
        argv,
        check=False,
        capture_output=True,
        text=True,
        input=stdin,
        timeout=stretched(timeout),
    )
    if done.returncode != 0:
        raise CommandError(tuple(argv), done.returncode, done.stderr + done.stdout)
    return done.stdout


def host_lines(fours: Iterable[str], sixes: Iterable[str]) -> list[str]:
    """Return the ``ip`` lines that set up a host inside its namespace."""
    return [
        "link set lo up",
        *(f"addr add {address}/24 dev eth0" for address in fours),
        *(f"addr add {address}/64 dev eth0 nodad" for address in sixes),
        "link set eth0 up",
    ]


def workload_at(name: str, chassis: str, number: int) -> Workload:
    """Return a workload with the addresses that follow from its number."""
    return Workload(
        name=name,
        chassis=chassis,
        ip=f"192.168.0.{number}",
        ipv6=f"fd0a::{number:x}",
        mac=f"02:00:00:00:00:{number:02x}",
    )


def logical_words(switch: str, workloads: Iterable[Workload]) -> list[str]:
    """Return the words of one ``ovn-nbctl`` call that makes their logical ports."""
    words = ["--may-exist", "ls-add", switch]
    for one in workloads:
        words += ["--", "lsp-add", switch, one.name]
        words += ["--", "lsp-set-addresses", one.name, f"{one.mac} {one.ip} {one.ipv6}"]
    return words


def workload_lines(one: Workload) -> list[str]:
    """Return the ``ip`` lines that set up a workload inside its namespace."""
    return [
        "link set lo up",
        f"link set {one.name} address {one.mac} mtu {WORKLOAD_MTU}",
        f"addr add {one.ip}/24 dev {one.name}",
        f"addr add {one.ipv6}/64 dev {one.name} nodad",
        f"link set {one.name} up",
    ]
