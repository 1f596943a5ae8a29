# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec doctor`, what is well on this host.

``host`` looks at it; ``hostcheck`` judges what that found, and ``checkup`` what the controller
says of itself (both pure).
"""

from .commands import command

__all__ = ["command"]
