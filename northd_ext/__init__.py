# SPDX-License-Identifier: Apache-2.0
"""The northd side: NB policy to per-encap policy in SB."""
