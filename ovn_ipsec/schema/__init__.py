# SPDX-License-Identifier: Apache-2.0
"""Pure: column keys to model values and back, with one module for each database table."""
