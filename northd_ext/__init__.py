# SPDX-License-Identifier: Apache-2.0
"""The northd side: from NB policy to per-encap policy in SB."""
