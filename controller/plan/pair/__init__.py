# SPDX-License-Identifier: Apache-2.0
"""Pure: the life of a pair of encaps, from the first row that names it until its last SA is gone.

``lifecycle`` decides: from the ``record`` that is kept of the pair and the ``facts`` of the moment
it makes the next record and the ``steps`` to do. What it asks: ``evidence`` whether the peer takes
ESP, ``clear`` what may still leave in clear, ``upkeep`` how a wanted pair is kept up, with its
``attempts``, and ``replacement`` which SAs are to be made anew, by their ``lineage``.
"""
