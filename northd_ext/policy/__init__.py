# SPDX-License-Identifier: Apache-2.0
"""Pure: from what NB asks for to what each encap is to carry.

``intent`` is what NB asks for and ``standing`` whether that is an order; ``target`` checks it
against the cluster, and ``evaluation`` says what has to be written; ``settling`` says when an
encap is put right that somebody else has changed. A ``ledger`` keeps what the rules say of every
chassis: ``tally`` has its sums, and ``groups`` the chassis that are alike.
"""
