# SPDX-License-Identifier: Apache-2.0
"""Edge to the IKE daemon; ``messages`` is pure."""
