# SPDX-License-Identifier: Apache-2.0
"""Pure: what the operator's rules say of each pair of encaps, and which encaps are alike."""
