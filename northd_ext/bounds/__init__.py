# SPDX-License-Identifier: Apache-2.0
"""Pure: what one chassis writes is bounded work, whatever it writes.

``encaps`` bounds how many rows of it count; ``damping`` how often what it is may change, and
``refusals`` what the log says of it, both by a ``bucket``.
"""
