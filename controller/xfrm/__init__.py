# SPDX-License-Identifier: Apache-2.0
"""XFRM, the kernel's IPsec, over netlink.

``values`` is what its tables hold, ``messages`` is the same as bytes, and ``socket`` exchanges
them. Under it is ``netlink``, which carries the messages of other families, too.
"""
