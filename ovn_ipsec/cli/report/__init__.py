# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec report`, what this host shows, in one file and without secrets.

``parts`` gathers, ``bundle`` writes, and ``redaction`` (pure) says what must not be in it.
"""

from .commands import command

__all__ = ["command"]
