# SPDX-License-Identifier: Apache-2.0
"""Pure: what the southbound says of the cluster, and how much of it is obeyed.

``intake`` limits how often changed rows of one chassis are processed, ``world`` makes pairs of
them, and two modules keep the southbound from weakening what was agreed: ``weakening`` for the row
of an encap, ``regress`` for the policy.
"""
