# SPDX-License-Identifier: Apache-2.0
"""Towards whom the secret is the key as it is: named, and without a controller of ours."""

from __future__ import annotations

from controller.plan.credentials.plain import PlainPeers
from tests.worlds import A, B, C

NAMED = frozenset({A, B})


def test_only_who_is_named_and_does_not_report() -> None:
    """Whoever has reported once is out for good, and is named."""
    peers = PlainPeers()
    assert peers.update(NAMED, lambda name: name in (B, C))
    assert peers.names == {A}
    assert B in peers.problem
    assert not peers.update(NAMED, lambda _name: False)
    assert peers.names == {A}
    assert peers.update(frozenset({B}), lambda _name: False)
    assert peers.names == frozenset()


def test_what_is_not_known_adds_nobody() -> None:
    """Nor does it take anybody away who is still named."""
    peers = PlainPeers()
    assert not peers.update(NAMED, None)
    assert peers.names == frozenset()
    assert peers.update(frozenset({A}), lambda _name: False)
    assert not peers.update(NAMED, None)
    assert peers.names == {A}
    assert peers.update(frozenset(), None)
    assert (peers.names, peers.problem) == (frozenset(), "")
