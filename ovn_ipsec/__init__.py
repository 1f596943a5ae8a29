# SPDX-License-Identifier: Apache-2.0
"""What both daemons and the command line share: values, schemas, edges, and the command itself."""

__version__ = "0.1.0"
