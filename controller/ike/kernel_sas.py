# SPDX-License-Identifier: Apache-2.0
"""Pure: the kernel's IPsec tables to the SAs of pairs, for an IKE daemon that nobody asks.

A child is up if the kernel has the policy that matters for it, and an SA of that policy in each
direction. What an IKE daemon has only begun lacks the one over which it would send.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ovn_ipsec.model.chassis import IpAddress, Pair

from ..plan.audit import PolicyKey, pair_keys, policy_key
from ..plan.connection import IN, OUT, ChildSa, ConnName, IkeSa
from ..xfrm.values import Action, Mode, XfrmPolicy, XfrmState

_ESP = 50
"""The protocol number of ESP."""
Flow = tuple[IpAddress, IpAddress, int]
"""Source, destination and reqid of an SA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the kernel holds, sorted for questions about pairs."""

    policies: Mapping[PolicyKey, tuple[XfrmPolicy, ...]]
    """Those that demand ESP, by what they are for."""
    newest: Mapping[Flow, XfrmState]
    """Of the SAs that carry traffic, the last one made."""

    def outward(self, pair: Pair) -> tuple[XfrmPolicy, ...]:
        """The policies for what a pair sends."""
        return self.policies.get(pair_keys(pair)[OUT], ())


NOTHING_HELD = Held(policies={}, newest={})


def held(policies: Iterable[XfrmPolicy], states: Iterable[XfrmState]) -> Held:
    """Sort what the kernel holds.

    Args:
        policies: The SPD.
        states: The SAD.
    """
    found: dict[PolicyKey, tuple[XfrmPolicy, ...]] = {}
    for policy in policies:
        key = policy_key(policy)
        if key is not None and policy.action is Action.ALLOW:
            found[key] = (*found.get(key, ()), policy)
    newest: dict[Flow, XfrmState] = {}
    for state in states:
        # What waits for an SA has no number yet.
        if state.proto != _ESP or state.mode is not Mode.TRANSPORT or not state.spi:
            continue
        flow = state.src, state.dst, state.reqid
        before = newest.get(flow)
        if before is None or (before.made_at, before.spi) < (state.made_at, state.spi):
            newest[flow] = state
    return Held(policies=found, newest=newest)


def sas_of(found: Held, name: ConnName, pair: Pair, now: float) -> tuple[IkeSa, ...]:
    """Tell which SAs a pair has.

    Args:
        found: What the kernel holds.
        name: Of the pair's connection.
        pair: The pair.
        now: Seconds since the epoch.

    Returns:
        At most one IKE_SA, under which its children are: the kernel does not show whether there are
        more, nor what they agreed upon.
    """
    keys = pair_keys(pair)
    children = tuple(
        child
        for which in (OUT, IN)
        if (child := _child(found, which, keys[which], pair, now)) is not None
    )
    if not children:
        return ()
    return (
        IkeSa(
            conn=name,
            id=children[-1].id,
            state="ESTABLISHED",
            initiator=False,
            initiator_spi=0,
            children=children,
            established_s=max(child.install_s for child in children),
        ),
    )


def _child(found: Held, which: str, key: PolicyKey, pair: Pair, now: float) -> ChildSa | None:
    reqids = {one.reqid for policy in found.policies.get(key, ()) for one in policy.templates}
    for reqid in sorted(reqids):
        out = found.newest.get((pair.local, pair.remote, reqid))
        into = found.newest.get((pair.remote, pair.local, reqid))
        if out is not None and into is not None:
            return ChildSa(
                name=which,
                id=into.spi,
                state="INSTALLED",
                reqid=reqid,
                spi_in=into.spi,
                spi_out=out.spi,
                install_s=max(0, int(now) - into.made_at),
                packets_in=into.packets,
            )
    return None
