# SPDX-License-Identifier: Apache-2.0
"""Pure: the values that everything shares: frozen, slotted, hashable; standard library only."""
