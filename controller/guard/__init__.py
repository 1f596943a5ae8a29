# SPDX-License-Identifier: Apache-2.0
"""The guard: two independent layers that deny clear tunnel traffic.

``layer`` is the interface of a layer. ``nft`` is one layer, built on ``nft_table`` (pure), which
has its rules from ``nft_rules`` (pure), on ``libnftables`` and ``nft_events``; ``xfrm`` is the
other. ``keeper`` keeps both in one wanted state, and ``host`` holds the guard of this host from the
start of the program on.
"""
