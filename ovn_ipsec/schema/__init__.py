# SPDX-License-Identifier: Apache-2.0
"""Pure: column keys to model values and back, one table of the databases for each file."""
