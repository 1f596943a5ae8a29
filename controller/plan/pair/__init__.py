# SPDX-License-Identifier: Apache-2.0
"""Pure: the life of a pair of encaps, from the first row that names it until its last SA is gone.

``lifecycle`` decides: from the ``record`` that is kept of the pair and the current ``facts`` it
makes the next record and the ``steps`` to apply. It uses ``evidence`` (does the peer accept ESP?),
``clear`` (which flows may still be clear?), ``upkeep`` (traps, repairs and ``attempts`` of a wanted
pair) and ``replacement`` (which SAs are to be replaced, according to their ``lineage``?).
"""
