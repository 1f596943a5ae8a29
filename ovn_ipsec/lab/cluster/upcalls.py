# SPDX-License-Identifier: Apache-2.0
"""Whether ovs-vswitchd takes what the kernel's datapath cannot decide by itself: its upcalls.

Edge (the clock, /proc).

ovs-vswitchd 3.1 counts the processors at most every 10 s, and its first count is due when the
monotonic clock has passed 10 s: until then the number is the 0 that it began with. With a kernel
datapath that hands upcalls out by processor it then starts no handler thread ("Overriding
n-handler-threads to 0"), and every upcall is lost (`ovs-dpctl show`: missed = lost). Some time
after the 10 s it does count again and starts them, and the datapath goes on losing every upcall all
the same. A host that boots faster than that starts it too early, so the laboratory waits for the
clock before it starts one, and afterwards looks at the threads and at what was said of them.

Source: ovs lib/ovs-thread.c, count_cpu_cores() and COUNT_CPU_UPDATE_TIME_MS; lib/dpif-netlink.c,
dpif_netlink_number_handlers_required().
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

COUNTED_S = 10.5
"""On the monotonic clock: from then on processors are counted; 10 s and a margin."""
HANDLER = "handler"
"""How the names of the threads begin (ofproto/ofproto-dpif-upcall.c, udpif_start_threads)."""
TOO_EARLY = "Overriding n-handler-threads to 0,"
"""What its log says then (udpif_set_threads)."""
STARTED = "opened log file"
"""What its log begins with at each start (lib/vlog.c)."""


def wait_until_counted(
    clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Wait until an ovs-vswitchd that starts now counts the processors.

    Args:
        clock: The monotonic clock of the host, which starts with its kernel.
        sleep: What waits.
    """
    while (left := COUNTED_S - clock()) > 0:
        sleep(left)


def began_too_early(log: str) -> bool:
    """Tell from its log whether the ovs-vswitchd that was last started loses all upcalls."""
    return TOO_EARLY in log.rpartition(STARTED)[2]


def handlers(pid: int) -> int:
    """Return how many threads of an ovs-vswitchd take upcalls; 0 while it has no datapath.

    Raises:
        OSError: There is no such process.
    """
    names = (task.joinpath("comm") for task in Path(f"/proc/{pid}/task").iterdir())
    return sum(name.read_text().startswith(HANDLER) for name in names)
