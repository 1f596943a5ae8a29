# SPDX-License-Identifier: Apache-2.0
"""The guard: two independent layers that deny clear tunnel traffic.

``layer`` is what is asked of each. ``nft`` is one, made of ``nft_table`` (pure), ``libnftables``
and ``nft_events``; ``xfrm`` is the other. ``keeper`` keeps both at one wanted state, and ``host``
holds the guard of this host from the start of the program on.
"""
