# SPDX-License-Identifier: Apache-2.0
"""The agent of one chassis: SB rows to tunnels, IKE connections and the guard."""
