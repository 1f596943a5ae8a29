# SPDX-License-Identifier: Apache-2.0
"""Pure: what the southbound says of the cluster, and how much of it is obeyed.

``intake`` bounds how often the rows of one chassis count, ``world`` makes pairs of them, and two
modules keep the southbound from weakening what was agreed: ``weakening`` for the row of an encap,
``regress`` for the policy.
"""
