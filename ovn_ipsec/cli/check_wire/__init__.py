# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec check-wire`, proof that what leaves for a peer is ESP.

``probes`` makes marked packets and tells packets apart, ``verdict`` judges (both pure), and
``wire`` sends and watches.
"""

from .commands import command

__all__ = ["command"]
