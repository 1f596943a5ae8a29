# SPDX-License-Identifier: Apache-2.0
"""A controller as far as appctl sees it: a control socket that answers in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ovs.poller
import ovs.unixctl
import ovs.unixctl.server

PEERS_SHOW = "peers/show"


@contextmanager
def controller(path: Path, reply: Callable[[], str]) -> Iterator[None]:
    """Answer peers/show on a control socket, from a thread, until the block ends.

    Args:
        path: Of the socket.
        reply: Called for each question; the text of the answer.
    """

    def peers(conn: Any, _argv: object, _aux: object) -> None:
        conn.reply(reply())

    # The library keeps the first function that a command was given in this process.
    ovs.unixctl.commands.pop(PEERS_SHOW, None)
    ovs.unixctl.command_register(PEERS_SHOW, "[json]", 0, 1, peers, None)
    error, server = ovs.unixctl.server.UnixctlServer.create(str(path))
    assert not error
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            server.run()
            poller = ovs.poller.Poller()
            server.wait(poller)
            poller.timer_wait(50)
            poller.block()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        server.close()
        ovs.unixctl.commands.pop(PEERS_SHOW)
