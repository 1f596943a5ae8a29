# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec policy`, the rules: listed, checked, compared, tried, added and deleted.

``commands`` ask ``listing``, ``editing`` and ``rulefile`` (pure), and ``show`` prints what these
found.
"""

from .commands import command

__all__ = ["command"]
