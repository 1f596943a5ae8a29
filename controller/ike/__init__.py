# SPDX-License-Identifier: Apache-2.0
"""The IKE daemon: what is asked of it, how it is reached, and what it has of ours.

``backend`` is what the loop asks of any daemon. ``strongswan`` is one, over ``transport``, with
``messages`` and ``sections`` (pure) and with ``charon_credentials`` for what is no connection.
Above it, ``link`` keeps in touch with it, ``keyring`` keeps its keys in order, ``apply`` does the
steps of a pair, and ``conflict`` leaves a daemon alone that somebody else drives.
"""
