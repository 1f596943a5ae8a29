# SPDX-License-Identifier: Apache-2.0
"""Pure: the tunnel ports: which are wanted, whose they are, how often they are written.

``liveness`` says whether an ovn-controller runs, and so whose the ports are; ``tunnels`` plans
them, in the ``values`` that the local database has; ``pace`` bounds the writes for one peer.
"""
