# SPDX-License-Identifier: Apache-2.0
"""A real OVN cluster on one kernel.

``cluster`` builds it from ``settings``: a ``central`` and some ``chassis``, each on a ``host`` of
its own, which is a network and a mount namespace with ``process``es in it.
"""
