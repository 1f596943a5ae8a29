# SPDX-License-Identifier: Apache-2.0
"""The agent of one chassis: from SB rows to tunnels, IKE connections and the guard."""
