# SPDX-License-Identifier: Apache-2.0
"""Pure: what ovn-ipsec-northd waits for, and what it does, each in one line. Input: Situation."""

from __future__ import annotations

from dataclasses import dataclass

from ovn_ipsec.model.wait import Reached, Wait, away

from .metrics import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a headline is made of."""

    northbound: Reached
    southbound: Reached
    lacking: str
    """A row without which there is nothing to decide, and who makes it; empty: none is lacking."""
    authority: str
    """Why nothing can be signed; empty: it can, or nobody asked for that."""
    role: str
    """`active`, `standby` or `paused`."""
    cluster: Cluster | None
    """What the active one has last made of the databases."""


def waits_for(seen: Situation) -> Wait | None:
    """The first thing that is waited for; None: nothing."""
    found = away("northbound not reached", seen.northbound)
    found = found or away("southbound not reached", seen.southbound)
    if found is None and seen.lacking:
        return Wait(seen.lacking)
    if found is None and seen.authority:
        return Wait(f"the authority cannot be used: {seen.authority}", told=True)
    return found


def headline(seen: Situation) -> str:
    """What is waited for and done, for people."""
    wait, cluster = waits_for(seen), seen.cluster
    does = seen.role
    if cluster is not None:
        counts = cluster.census.counts.plus(cluster.census.across)
        does = (
            f"{seen.role}: {cluster.state} generation {cluster.generation},"
            f" {cluster.census.chassis} chassis,"
            f" {counts.encrypted} of {counts.wanted} pairs encrypted"
        )
    return does if wait is None else f"waiting: {wait.reason}; {does}"
