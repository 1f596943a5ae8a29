# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec doctor`, what is well on this host.

``host`` looks at what the databases say of it, and ``survey`` at the machine itself. What they find
is judged in pure modules: ``checkup`` (what the controller says of itself), ``hostcheck``,
``unitcheck``, ``daemoncheck``, ``kernelcheck`` and ``credentialcheck``. ``layout`` puts it on the
screen.
"""

from .commands import command, find_checks, place_options

__all__ = ["command", "find_checks", "place_options"]
