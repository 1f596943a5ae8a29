# SPDX-License-Identifier: Apache-2.0
"""Pure: the decisions of the controller, functions of values.

``agent`` is all of it: it takes in the ``cluster``, runs each ``pair``, and says which steps are
due and what guard that makes. The values of both are ``connection`` and ``guard``.

Beside it: ``credentials`` and ``ports``; ``configs``, the connections; ``boot``, ``latch`` and
``audit``, what an earlier life and the kernel tell; ``pace``, when a negotiation may start; and
``invariants``, what must always hold.
"""
