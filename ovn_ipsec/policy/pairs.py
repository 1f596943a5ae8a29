# SPDX-License-Identifier: Apache-2.0
"""Pure: between which encaps OVN makes tunnels.

The controller uses this to form pairs, and the command to explain them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from ..model.chassis import EncapType
from ..schema.encap import Chassis


def tunnels_to(local: Chassis, peer: Chassis) -> bool:
    """Whether the ovn-controller of `local` makes tunnels to `peer`.

    Source: ovn controller/encaps.c encaps_run, chassis_tzones_overlap.
    """
    if peer.is_remote and not local.is_interconn:
        return False
    return bool(local.zones & peer.zones) or not (local.zones or peer.zones)


def preferred_type(one: Chassis, other: Chassis) -> EncapType | None:
    """The tunnel type that both ends have and OVN prefers: geneve, then vxlan."""
    ours, theirs = ({intent.encap.type for intent in end.encaps} for end in (one, other))
    return next((kind for kind in EncapType if kind in ours and kind in theirs), None)


def encap_pairs(one: Chassis, other: Chassis) -> Iterator[tuple[int, int]]:
    """Pair every encap with every one at the other end, of the preferred type and one IP version.

    Yields:
        Positions in the encaps of both, in their order.
    """
    kind = preferred_type(one, other)
    for (i, ours), (j, theirs) in product(enumerate(one.encaps), enumerate(other.encaps)):
        fit = ours.encap.ip.version == theirs.encap.ip.version
        if kind is not None and ours.encap.type == theirs.encap.type == kind and fit:
            yield i, j
