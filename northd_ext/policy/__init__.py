# SPDX-License-Identifier: Apache-2.0
"""Pure: from what NB asks for to what each encap should carry.

``intent`` is what NB asks for, and ``standing`` decides whether to obey it; ``target`` checks it
against the cluster, and ``evaluation`` determines what to write; ``settling`` decides when to
repair an encap that someone else has changed. A ``ledger`` keeps what the rules say of every
chassis: ``tally`` has its sums, and ``groups`` the chassis that are alike.
"""
