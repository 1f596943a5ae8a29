# SPDX-License-Identifier: Apache-2.0
"""What the databases contain, as values: the inputs of every decision.

``views`` (pure) are these values. ``northbound`` reads NB_Global and writes the report into it,
``networks`` reads the rows behind ``network:`` selectors, and ``members`` determines the chassis of
these networks, whose memberships ``hold`` (pure) ends only after a while. The southbound module is
beside the daemon, because the result of a decision is written there.
"""
