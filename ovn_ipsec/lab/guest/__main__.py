# SPDX-License-Identifier: Apache-2.0
"""Run a command in the guest: ``python -m ovn_ipsec.lab.guest``."""

from __future__ import annotations

import sys

from .machine import main

if __name__ == "__main__":
    sys.exit(main())
