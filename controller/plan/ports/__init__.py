# SPDX-License-Identifier: Apache-2.0
"""Pure: the tunnel ports: which are wanted, who owns them, how often they are written.

``liveness`` says whether an ovn-controller runs, and so who owns the ports; ``tunnels`` plans them,
in the ``values`` that the local database has; ``pace`` limits the writes for one peer.
"""
