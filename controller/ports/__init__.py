# SPDX-License-Identifier: Apache-2.0
"""The tunnel ports: who owns them, which exist, and what is written to them.

``liveness`` tells whether an ovn-controller runs, ``keeper`` decides with that in every pass, and
``ovsdb`` reads the rows and writes them through ``commands``. A ``knock`` sends one datagram to a
peer's port.
"""
