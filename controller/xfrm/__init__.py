# SPDX-License-Identifier: Apache-2.0
"""XFRM, the kernel's IPsec, over netlink.

``values`` are the contents of its tables, ``messages`` the same as bytes, and ``socket`` exchanges
them. Below it, ``netlink`` also carries the messages of other families.
"""
