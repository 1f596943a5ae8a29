# SPDX-License-Identifier: Apache-2.0
"""The language that both daemons and the command line share."""

__version__ = "0.1.0"
