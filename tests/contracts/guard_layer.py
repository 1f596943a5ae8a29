# SPDX-License-Identifier: Apache-2.0
"""What every layer of the guard keeps; run on the fake and on the kernel.

A suite inherits the mixin and gives the fixture ``layer``, empty at the start.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from controller.guard.layer import GuardLayer
from controller.plan.guard import (
    DENY_ALL,
    ClearPair,
    GuardObserved,
    GuardState,
    PeerPort,
    flows_of,
)
from ovn_ipsec.model.observation import Known


def pair(remote: str, *, local: str = "10.9.0.1", out: int = 6081, into: int = 6081) -> ClearPair:
    """Build a pair."""
    return ClearPair(local=ip_address(local), remote=ip_address(remote), out_port=out, in_port=into)


def guard(*pairs: ClearPair) -> GuardState:
    """Build the guard of a chassis with one address of each family."""
    return GuardState(
        ports=frozenset({6081, 4789}),
        local=frozenset({ip_address("10.9.0.1"), ip_address("fd00:9::1")}),
        may_clear=flows_of(pairs),
    )


CLOSED = guard()
FIRST = pair("10.9.0.2")
SECOND = pair("fd00:9::2", local="fd00:9::1", out=6081, into=4789)


class GuardLayerContract:
    """One test for each promise."""

    def holds(self, layer: GuardLayer, state: GuardState | None) -> None:
        """Check what is in force, as far as the layer can see."""
        state = None if state is None else layer.part_of(state)
        assert layer.observe() == Known(GuardObserved(state=state))

    def test_is_available(self, layer: GuardLayer) -> None:
        """Asking leaves no trace."""
        assert layer.available() == Known(value=True)
        self.holds(layer, None)

    def test_builds_from_nothing(self, layer: GuardLayer) -> None:
        """What was applied is what is seen."""
        layer.apply(None, guard(FIRST, SECOND))
        self.holds(layer, guard(FIRST, SECOND))

    def test_nothing_is_allowed_at_first(self, layer: GuardLayer) -> None:
        """An empty set of pairs is a guard, and not the lack of one."""
        layer.apply(None, CLOSED)
        self.holds(layer, CLOSED)

    def test_changes_pairs(self, layer: GuardLayer) -> None:
        """Pairs come and go in one step."""
        layer.apply(None, guard(FIRST))
        layer.apply(guard(FIRST), guard(SECOND))
        self.holds(layer, guard(SECOND))

    def test_changes_ports_and_addresses(self, layer: GuardLayer) -> None:
        """The default deny follows the encaps."""
        less = replace(CLOSED, ports=frozenset({6081}), local=frozenset({ip_address("10.9.0.1")}))
        layer.apply(None, less)
        layer.apply(less, CLOSED)
        self.holds(layer, CLOSED)
        layer.apply(CLOSED, less)
        self.holds(layer, less)

    def test_changes_ports_of_peers(self, layer: GuardLayer) -> None:
        """Each is denied towards its peer, beside the ports of all."""
        ports = [
            PeerPort(local=one.local, remote=one.remote, port=number)
            for one, number in ((FIRST, 7000), (FIRST, 7001), (SECOND, 7000))
        ]
        now = replace(guard(FIRST), peer_ports=frozenset(ports[:2]))
        layer.apply(None, now)
        self.holds(layer, now)
        for chosen in (ports[1:], [], ports):
            after = replace(now, peer_ports=frozenset(chosen))
            layer.apply(now, after)
            self.holds(layer, after)
            now = after
        layer.rebuild(replace(now, peer_ports=frozenset(ports[2:])))
        self.holds(layer, replace(now, peer_ports=frozenset(ports[2:])))

    def test_denies_everything(self, layer: GuardLayer) -> None:
        """An unspecified address stands for all of its family."""
        layer.apply(None, DENY_ALL)
        self.holds(layer, DENY_ALL)
        layer.apply(DENY_ALL, guard(FIRST))
        self.holds(layer, guard(FIRST))

    def test_changes_vnis(self, layer: GuardLayer) -> None:
        """Protected networks come and go, few or many, with and without other changes."""
        now = replace(guard(FIRST), vnis=frozenset({5}))
        layer.apply(None, now)
        self.holds(layer, now)
        for vnis, *pairs in (
            ({5, 0xFFFFFF}, FIRST),
            ({6}, FIRST),
            ({7}, FIRST, SECOND),
            (set(range(1, 10_000, 33)), SECOND),
            ({4096}, SECOND),
            (set(), SECOND),
        ):
            after = replace(guard(*pairs), vnis=frozenset(vnis))
            layer.apply(now, after)
            self.holds(layer, after)
            now = after

    def test_parts_with_vnis_alone(self, layer: GuardLayer) -> None:
        """A layer holds everything else of a state."""
        state = replace(guard(FIRST), vnis=frozenset({5}))
        assert replace(layer.part_of(state), vnis=state.vnis) == state
        assert layer.part_of(CLOSED) == CLOSED

    def test_keeps_the_flow_of_another_pair(self, layer: GuardLayer) -> None:
        """Two pairs that share a flow do not take it from each other."""
        other = replace(FIRST, in_port=4789)
        layer.apply(None, guard(FIRST, other))
        layer.apply(guard(FIRST, other), guard(FIRST))
        self.holds(layer, guard(FIRST))

    def test_removes_everything(self, layer: GuardLayer) -> None:
        """No guard afterwards, also when there was none."""
        layer.apply(None, guard(FIRST))
        layer.apply(guard(FIRST), None)
        self.holds(layer, None)
        layer.apply(guard(FIRST), None)
        self.holds(layer, None)

    def test_repeats_without_error(self, layer: GuardLayer) -> None:
        """Adding what is there and deleting what is gone are no errors."""
        layer.apply(None, guard(FIRST))
        layer.apply(CLOSED, guard(FIRST))
        self.holds(layer, guard(FIRST))
        layer.apply(guard(FIRST, SECOND), guard(FIRST))
        self.holds(layer, guard(FIRST))

    def test_rebuilds(self, layer: GuardLayer) -> None:
        """From nothing, over itself, and over another state."""
        protected = replace(guard(SECOND), vnis=frozenset({5, 6}))
        for state in (guard(FIRST), guard(FIRST), guard(SECOND), protected, CLOSED):
            layer.rebuild(state)
            self.holds(layer, state)

    def test_counts(self, layer: GuardLayer) -> None:
        """Counters can be read as soon as the layer is built."""
        layer.apply(None, CLOSED)
        assert isinstance(layer.counters(), Known)
