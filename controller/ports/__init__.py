# SPDX-License-Identifier: Apache-2.0
"""The tunnel ports: whose they are, which there are, and what is written of them.

``liveness`` tells whether an ovn-controller runs, ``keeper`` decides with that at every look, and
``ovsdb`` reads the rows and writes them by ``commands``. A ``knock`` sends one datagram to the port
of a peer.
"""
