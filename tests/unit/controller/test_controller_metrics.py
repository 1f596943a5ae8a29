# SPDX-License-Identifier: Apache-2.0
"""controller.metrics: a chassis in numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address

from controller import metrics
from controller.metrics import METRICS, Snapshot, Validity, samples
from controller.plan.connection import ConnName
from controller.plan.guard import GuardCounters
from controller.plan.pair.record import PairRecord
from ovn_ipsec.model.chassis import ChassisName, EncapType, Pair
from ovn_ipsec.model.policy import Auth, Phase
from ovn_ipsec.model.status import PairCounts, PairState, Room
from tests.metrics import told

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PAIR = Pair(
    peer=ChassisName("hv2"),
    type=EncapType.GENEVE,
    local=ip_address("10.0.0.1"),
    remote=ip_address("fd00::2"),
    out_port=6081,
    in_port=6081,
)
NOTHING = Snapshot(
    generation=0,
    phase=Phase.OFF,
    counts=None,
    certificates=(),
    guard=(),
    problems=0,
    ike_up=False,
    connected=False,
)
ALL = replace(
    NOTHING,
    generation=3,
    phase=Phase.ENFORCE,
    counts=PairCounts(encrypted=2, blocked=1),
    pairs=((PAIR, PairState.BLOCKED),),
    certificates=(
        Validity(
            auth=Auth.CA,
            not_before=datetime(1970, 1, 2, tzinfo=UTC),
            not_after=datetime(1970, 1, 3, tzinfo=UTC),
        ),
    ),
    guard=(
        ("nft", GuardCounters(out_denied=1, out_clear=2, in_denied=3, in_clear=4)),
        ("xfrm", GuardCounters(out_denied=5, out_clear=None, in_denied=6, in_clear=None)),
        ("gone", None),
    ),
    problems=2,
    ike_up=True,
    connected=True,
    room=Room(underlay=1500, inner=1408, larger=3),
    inner_mtus=((PAIR, 1388),),
)


def test_chassis_in_numbers() -> None:
    """All there is, by the names of the reference page."""
    assert told(samples(ALL, NOW)) == {
        "generation": 3,
        "phase['enforce']": 1,
        "pairs['blocked']": 1,
        "pairs['encrypted']": 2,
        "pair_state['hv2', 'geneve', '10.0.0.1', 'fd00::2', 'blocked']": 1,
        "certificate_not_before_timestamp_seconds['ca']": 86400,
        "certificate_not_after_timestamp_seconds['ca']": 2 * 86400,
        "guard_denied_packets_total['nft', 'in']": 3,
        "guard_denied_packets_total['nft', 'out']": 1,
        "guard_denied_packets_total['xfrm', 'in']": 6,
        "guard_denied_packets_total['xfrm', 'out']": 5,
        "guard_clear_packets_total['nft', 'in']": 4,
        "guard_clear_packets_total['nft', 'out']": 2,
        "problems": 2,
        "ike_daemon_up": 1,
        "southbound_connected": 1,
        "inner_mtu_bytes": 1408,
        "interfaces_above_inner_mtu": 3,
        "pair_inner_mtu_bytes['hv2', 'geneve', '10.0.0.1', 'fd00::2']": 1388,
    }


def test_what_is_not_known_has_no_sample() -> None:
    """A chassis without a name has no pairs, not none in each state."""
    assert told(samples(NOTHING, NOW)) == {
        "generation": 0,
        "phase['off']": 1,
        "problems": 0,
        "ike_daemon_up": 0,
        "southbound_connected": 0,
    }


def test_every_state_is_there_while_nothing_is_in_it() -> None:
    """Or an alert on it would have nothing to look at."""
    found = {s.labels: s.value for s in samples(ALL, NOW) if s.metric is metrics.PAIRS}
    assert {(("state", state.value),) for state in PairState} == found.keys()


def test_every_metric_of_the_table_is_used() -> None:
    """In the order of the table, which is the order of the reference page."""
    assert tuple(dict.fromkeys(s.metric for s in samples(ALL, NOW))) == METRICS


def test_pairs_are_copied_with_their_states() -> None:
    """So that the other thread sees nothing that changes."""
    record = PairRecord(name=ConnName("x"), pair=PAIR, state=PairState.ENCRYPTED)
    assert metrics.pair_states([record]) == ((PAIR, PairState.ENCRYPTED),)
