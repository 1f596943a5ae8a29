# SPDX-License-Identifier: Apache-2.0
"""The guard: two independent layers that deny clear tunnel traffic."""
