# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec evaluate`, what a pair of chassis carries and what that costs.

``values``, ``readings``, ``answers``, ``summary`` and ``picture`` are pure: figures, how they are
read, passed from one end to the other, summed up and drawn. ``host`` and ``traffic`` measure,
``port``, ``network`` and ``rule`` make what a measurement needs and take it away, ``far`` is the
other end.
"""

from .commands import command

__all__ = ["command"]
