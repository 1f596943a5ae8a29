# SPDX-License-Identifier: Apache-2.0
"""Two Debian hosts for a person, and a way into each: ``python -m ovn_ipsec.lab.hosts up``.

Shell. ``console HOST`` connects this terminal to a host that ``up`` runs in another.
"""

from __future__ import annotations

import argparse
import os
import selectors
import shutil
import signal
import socket
import sys
import termios
import tty
from collections.abc import Sequence
from pathlib import Path

from ovn_ipsec.lab.errors import LabError

from . import image
from .pair import Pair
from .recipe import HOSTS, SUITES, suites_of

CACHE = Path("build/hosts")
RUNNING = CACHE / "running"
"""The disks and sockets of the hosts of ``up``; its path is short, as a socket's must be."""
LEAVE = b"\x1d"
"""Ctrl-]"""

_WAY_IN = """
  h1 {h1.address}, also central        .venv/bin/python -m ovn_ipsec.lab.hosts console h1
  h2 {h2.address}                      .venv/bin/python -m ovn_ipsec.lab.hosts console h2

Run these in other terminals, as root; Ctrl-] leaves a host.
OVN is up; workloads w1 ({h1.workload_address}) and w2 ({h2.workload_address}) ping each other.
docs/tutorial.md goes on from here with its chapter 2: ./build/deb is there on both hosts.
The wire, as seen outside: tcpdump -r {running}/wire-h1-1.pcap -c 10 udp port 6081 or esp
Ctrl-C ends both hosts; what is on their disks is gone then.
"""


def up(suites: tuple[str, str], debs: Sequence[Path]) -> None:
    """Run both hosts until Ctrl-C.

    Args:
        suites: The release of Debian that each of them has.
        debs: Our packages, which they get.

    Raises:
        LabError: This machine lacks something, or a host does not come up.
    """
    if missing := image.missing():
        raise LabError(f"this machine lacks {', '.join(missing)}")
    if not debs:
        raise LabError("no packages in build/deb: make deb")
    h1_image, h2_image = (image.ready(suite, CACHE, debs, _say) for suite in suites)
    shutil.rmtree(RUNNING, ignore_errors=True)
    try:
        with Pair((h1_image, h2_image), RUNNING, _say) as pair:
            pair.set_up(debs)
            h1, h2 = HOSTS
            print(_WAY_IN.format(h1=h1, h2=h2, running=RUNNING), flush=True)
            signal.pause()
    finally:
        shutil.rmtree(RUNNING, ignore_errors=True)


def console(name: str) -> None:
    """Connect this terminal to the console of a host, until Ctrl-].

    Raises:
        LabError: It does not run.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(RUNNING / f"{name}.console"))
        except OSError as error:
            raise LabError(f"{name} does not run: make hosts ({error})") from error
        before = termios.tcgetattr(0)
        tty.setraw(0)
        try:
            size = os.get_terminal_size()
            words = f"stty rows {size.lines} cols {size.columns}; clear\r"
            connection.sendall(words.encode())
            _copy(connection)
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def _copy(connection: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(connection, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                data = os.read(key.fd, 1 << 16)
                if not data or (key.fd == 0 and LEAVE in data):
                    return
                if key.fd == 0:
                    connection.sendall(data)
                else:
                    sys.stdout.buffer.write(data)
                    sys.stdout.buffer.flush()


def _say(text: str) -> None:
    print(f"hosts: {text}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="ovn_ipsec.lab.hosts", description="Two Debian hosts.")
    commands = parser.add_subparsers(dest="what", required=True)
    run = commands.add_parser("up", help="run both until Ctrl-C")
    run.add_argument(
        "--suite",
        type=suites_of,
        default=SUITES[0],
        metavar="SUITE[,SUITE]",
        help=f"Debian's release, or that of each host: {', '.join(SUITES)}",
    )
    into = commands.add_parser("console", help="connect this terminal to one of them")
    into.add_argument("host", choices=[host.name for host in HOSTS])
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if given.what == "up":
            up(given.suite, image.packages(Path("build/deb")))
        else:
            console(given.host)
    except LabError as error:
        print(f"hosts: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
