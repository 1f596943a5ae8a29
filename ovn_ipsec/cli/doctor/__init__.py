# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec doctor`, which checks this host.

``host`` looks at what the databases say of the host, and ``survey`` at the machine itself. Pure
modules judge what they find: ``checkup`` (what the controller reports of itself), ``hostcheck``,
``unitcheck``, ``daemoncheck``, ``kernelcheck`` and ``credentialcheck``. ``layout`` prints it.
"""

from .commands import command, find_checks, place_options

__all__ = ["command", "find_checks", "place_options"]
