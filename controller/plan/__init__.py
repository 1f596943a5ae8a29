# SPDX-License-Identifier: Apache-2.0
"""Pure: the decisions of the controller, as functions of values.

``agent`` ties everything together: it is given the ``cluster``, decides each ``pair``, and says
which steps are due and which guard follows. ``connection`` and ``guard`` are the values of both.

Beside it: ``credentials`` and ``ports``; ``configs``, the connections; ``boot``, ``latch`` and
``audit``, what an earlier run and the kernel show; ``pace``, when a negotiation may start; and
``invariants``, what must always hold.
"""
