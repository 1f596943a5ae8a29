# SPDX-License-Identifier: Apache-2.0
"""A kernel of its own for the laboratory: a virtual machine that runs one command as root.

``machine`` boots it and takes its console apart with ``relay``; ``initramfs`` is what it starts
from, ``throttle`` makes it as slow as somebody else's, and ``roots`` are those of other Debians.
"""
