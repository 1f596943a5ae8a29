# SPDX-License-Identifier: Apache-2.0
"""Edge: OVSDB, by the ovs package's IDL, without threads."""
