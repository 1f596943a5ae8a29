# SPDX-License-Identifier: Apache-2.0
"""Pure: the nouns. Frozen, slotted, hashable values; the standard library only."""
