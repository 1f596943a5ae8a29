# SPDX-License-Identifier: Apache-2.0
"""What the databases say, as values: the inputs of every decision.

``views`` (pure) are those values. ``northbound`` reads and answers NB_Global, ``networks`` reads
the rows behind ``network:`` selectors, and ``members`` makes chassis of them, whose memberships
``hold`` (pure) lets end only after a while. The southbound is beside the daemon, since what is
decided goes into it.
"""
