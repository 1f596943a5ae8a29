# SPDX-License-Identifier: Apache-2.0
"""The connection of a pair as it shall be, and the events of its changes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
import structlog

from controller.changes import log_change
from controller.plan.cluster.world import PairIntent
from controller.plan.configs import Configs
from controller.plan.connection import SUITES
from controller.plan.credentials.credential import Credential, Secret
from controller.plan.credentials.proof import LocalCredentials
from controller.plan.pair.record import PairRecord
from ovn_ipsec.model.policy import NO_POLICY, Auth, Mode, Profile, Tuning
from ovn_ipsec.model.status import PairState
from tests.contracts.ike_backend import NOW, config
from tests.worlds import A, B, C

INTENT = PairIntent(pair=config().pair, mode=Mode.REQUIRE, csum=None)
REQIDS = (7, 8)
POLICY = replace(NO_POLICY, auth=(Auth.PSK,))
SECRET = LocalCredentials(secrets=(Secret(b"the secret of the cluster"),))


@pytest.mark.parametrize("profile", Profile)
def test_a_connection_offers_its_pairs_profile_and_nothing_else(profile: Profile) -> None:
    """Made again when that changes; else the same one is given."""
    configs = Configs()
    assert configs.put_credentials(SECRET)
    assert not configs.put_credentials(SECRET)
    first = configs.make(A, INTENT, POLICY, REQIDS)
    made = configs.make(A, replace(INTENT, profile=profile), POLICY, REQIDS)
    assert first is not None
    assert made is not None
    suite = SUITES[profile]
    assert (suite.ike, suite.esp) == (made.ike_proposals, made.esp_proposals)
    assert REQIDS == (made.reqid_out, made.reqid_in)
    again = replace(INTENT, profile=profile, mode=Mode.PREFER)
    assert made is configs.make(A, again, POLICY, REQIDS)
    other = replace(POLICY, tuning=Tuning(force_encapsulation=True))
    assert made != configs.make(A, again, other, REQIDS)


def test_another_name_of_ours_is_another_connection() -> None:
    """What was made under the old one would be refused by every peer."""
    configs = Configs()
    configs.put_credentials(SECRET)
    first = configs.make(A, INTENT, POLICY, REQIDS)
    renamed = Configs()
    renamed.put_credentials(SECRET)
    second = renamed.make(C, INTENT, POLICY, REQIDS)
    assert first is not None
    assert second is not None
    assert (A, C) == (first.local_id, second.local_id)
    assert first.marks != second.marks


def test_addresses_that_come_and_go_cost_nothing_for_long() -> None:
    """What a peer is proven with is made once, whatever addresses its rows have had."""
    configs = Configs()
    configs.put_credentials(SECRET, frozenset({B}))
    shown = set()
    for last in range(2, 200):
        pair = replace(INTENT.pair, remote=ip_address(f"10.0.0.{last}"))
        made = configs.make(A, replace(INTENT, pair=pair), POLICY, REQIDS)
        assert made is not None
        shown.add(made.proofs[0].keys[0].owner)
        configs.drop(made.name)
    assert len(shown) == 198, "where the secret is the key as it is, it is known by the address"
    assert len(configs._proofs) == 1


def test_without_a_way_to_authenticate_there_is_no_connection() -> None:
    """And it is said what is missing; what was made is made anew when the pair was gone."""
    configs = Configs()
    assert configs.make(A, INTENT, POLICY, REQIDS) is None
    assert "nothing to authenticate with: psk" in configs.lack(POLICY, B)
    configs.put_credentials(SECRET)
    made = configs.make(A, INTENT, POLICY, REQIDS)
    assert made is not None
    assert configs.shared_ids() == {made.proofs[0].keys[0].id}
    configs.drop(config().name)
    assert configs.shared_ids() == frozenset()
    again = configs.make(A, INTENT, POLICY, REQIDS)
    assert again is not made
    assert again == made
    configs.put_credentials(LocalCredentials())
    assert configs.make(A, INTENT, POLICY, REQIDS) is None
    assert configs.shared_ids() == frozenset()


def test_a_secret_in_plain_is_another_connection() -> None:
    """Towards a chassis that is named as a stock one."""
    configs = Configs()
    configs.put_credentials(SECRET)
    derived = configs.make(A, INTENT, POLICY, REQIDS)
    assert configs.put_credentials(SECRET, frozenset({B}))
    plain = configs.make(A, INTENT, POLICY, REQIDS)
    assert derived is not None
    assert plain is not None
    assert (False, True) == (derived.proofs[0].plain, plain.proofs[0].plain)


OWN = Credential(
    certificate_der=b"own",
    key_id="id",
    ca_der=(),
    not_before=NOW,
    not_after=NOW,
    names=(A,),
    subject="CN=chA",
    fingerprint="print",
)


def test_pins_are_the_peers_own() -> None:
    """Other ones make another connection, none at all no connection; the same ones are no news."""
    policy = replace(POLICY, auth=(Auth.PINNED,))
    configs = Configs()
    configs.put_credentials(LocalCredentials(pinned=OWN))
    assert configs.make(A, INTENT, policy, REQIDS) is None
    assert f"{B} has published no certificate" in configs.lack(policy, B)
    assert configs.put_pins(B, (b"one",))
    assert not configs.put_pins(B, (b"one",))
    assert not configs.put_pins(C, ())
    assert configs.put_pins(C, (b"other",))
    made = configs.make(A, INTENT, policy, REQIDS)
    assert made is not None
    assert (b"one",) == made.proofs[0].trusted_der
    assert configs.put_pins(B, (b"two", b"one"))
    again = configs.make(A, INTENT, policy, REQIDS)
    assert again is not None
    assert (b"two", b"one") == again.proofs[0].trusted_der
    assert configs.put_pins(B, ())
    assert configs.make(A, INTENT, policy, REQIDS) is None


RECORD = PairRecord(name=config().name, pair=config().pair)


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        (None, RECORD, 1),
        (RECORD, RECORD, 0),
        (RECORD, None, 0),
        (RECORD, replace(RECORD, up_at=3.0), 0),
        (RECORD, replace(RECORD, state=PairState.BLOCKED, mode=Mode.REQUIRE), 1),
        (RECORD, replace(RECORD, profile=Profile.CNSA), 1),
    ],
)
def test_a_pair_is_logged_once_for_each_change(
    before: PairRecord | None, after: PairRecord | None, count: int
) -> None:
    """Of its state, its mode or its profile."""
    with structlog.testing.capture_logs() as logs:
        log_change(before, after)
    assert count == len(logs)
