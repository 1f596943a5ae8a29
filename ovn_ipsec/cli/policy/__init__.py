# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec policy`, which lists, checks, compares, tries out, adds and deletes rules.

``commands`` use ``listing``, ``editing`` and ``rulefile`` (pure), and ``show`` prints what these
found.
"""

from .commands import command

__all__ = ["command"]
