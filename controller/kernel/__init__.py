# SPDX-License-Identifier: Apache-2.0
"""The kernel's IPsec tables: read in ``tables``, watched and audited in ``watch``."""
