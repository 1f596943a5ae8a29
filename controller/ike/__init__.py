# SPDX-License-Identifier: Apache-2.0
"""The IKE daemon: its interface, how it is reached, and what it holds of ours.

``backend`` is the interface of any daemon. ``strongswan`` implements it, over ``transport``, with
``messages`` and ``sections`` (pure), and with ``charon_credentials`` for all but connections;
``libreswan`` does, too, and ``delegate`` for one that ovs-monitor-ipsec drives, of which
``kernel_sas`` (pure) finds the SAs in the kernel's tables.
Above it, ``link`` keeps the connection to it, ``keyring`` keeps its keys in order, ``apply``
applies the steps of a pair, and ``conflict`` notices if another program drives the daemon.
"""
