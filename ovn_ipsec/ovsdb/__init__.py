# SPDX-License-Identifier: Apache-2.0
"""Edge: OVSDB through the ovs package's IDL, without threads."""
