# SPDX-License-Identifier: Apache-2.0
"""Pure: what one chassis writes causes bounded work, whatever it writes.

``encaps`` limits how many of its rows count, ``damping`` how often its classification may change,
and ``refusals`` what is logged about it, both with a ``bucket``.
"""
