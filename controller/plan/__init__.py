# SPDX-License-Identifier: Apache-2.0
"""Pure: the decisions of the controller, functions of values."""
