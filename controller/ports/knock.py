# SPDX-License-Identifier: Apache-2.0
"""Shell: one empty datagram to a peer's tunnel port, so that it hears ESP without any traffic.

It leaves like everything that a pair sends: over ESP, once the pair has switched. A tunnel port
drops anything shorter than a Geneve or VXLAN header.
"""

from __future__ import annotations

import contextlib
import socket

from ovn_ipsec.model.chassis import Pair


def knock(pair: Pair) -> None:
    """Send it, or not: a peer that hears nothing changes over a few seconds later all the same."""
    family = socket.AF_INET if pair.remote.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.bind((str(pair.local), 0))
        sender.sendto(b"", (str(pair.remote), pair.out_port))
