# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec pki`, a small certificate authority for a cluster."""

from .commands import command

__all__ = ["command"]
