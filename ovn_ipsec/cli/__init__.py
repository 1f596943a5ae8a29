# SPDX-License-Identifier: Apache-2.0
"""Shell: the ovn-ipsec command."""
