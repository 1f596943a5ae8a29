# SPDX-License-Identifier: Apache-2.0
"""Short schedules, each of which has to end well: the least forms of what has failed, and its kind.

docs/explanation/simulator.md tells which of them were seen to fail, and how; the others hold the
rest of their kinds closed.
"""

from __future__ import annotations

import pytest

from tests.simulation import logs
from tests.simulation.play import play, told
from tests.simulation.steps import Step

ON = Step(1, "on")
UP = 40.0
"""After this a cluster that was switched on is enforced."""
NFT, KERNEL = 1252, 1258
"""Numbers of steps.explode: these calls fail until the end."""

CASES: dict[str, list[Step]] = {
    # --- absence or regress read as an order ---
    "an_empty_northbound_is_no_order": [ON, Step(UP, "empty_nb")],
    "an_older_northbound_is_no_order": [Step(1, "backup"), ON, Step(UP, "restore_nb")],
    "an_empty_southbound_is_no_order": [ON, Step(UP, "empty_sb")],
    "an_older_southbound_is_no_order": [Step(1, "backup"), ON, Step(UP, "restore_sb")],
    "two_older_databases_are_no_order": [Step(1, "backup"), ON, Step(UP, "restore_both")],
    "off_of_the_same_generation_is_no_order_after_two_restarts": [
        ON,
        Step(UP, "upgrade", 0),
        Step(UP, "stop_northds", 0, 59),
        Step(1, "wipe_keys", 0, 2),
        Step(1, "upgrade", 0),
    ],
    "two_databases_of_the_first_phase_are_no_order": [
        ON,
        Step(0.1, "backup"),
        Step(UP, "restore_both"),
    ],
    "databases_from_before_the_first_report_are_no_order": [ON, Step(UP, "restore_both")],
    "a_southbound_without_policy_opens_nothing": [ON, Step(UP, "wipe_keys", 0, 0)],
    "nor_beside_a_controller_that_starts": [
        ON,
        Step(UP, "stop_northds", 0, 30),
        Step(0, "wipe_keys", 0, 0),
        Step(0.3, "upgrade", 0),
        Step(0.3, "reboot", 1),
    ],
    "another_schema_opens_nothing": [ON, Step(UP, "wipe_keys", 0, 1), Step(2, "upgrade", 0)],
    "another_schema_opens_no_host_that_boots": [
        ON,
        Step(UP, "wipe_keys", 0, 1),
        Step(2, "reboot", 0),
    ],
    "off_of_the_same_generation_is_no_order": [ON, Step(UP, "wipe_keys", 0, 2)],
    "an_older_generation_is_no_order": [ON, Step(UP, "wipe_keys", 0, 3)],
    "a_phase_that_is_none_opens_nothing": [ON, Step(UP, "wipe_keys", 0, 4), Step(1, "upgrade", 0)],
    "another_southbound_opens_nothing": [ON, Step(UP, "wrong_remote", 0, 30)],
    "nor_does_it_open_a_host_that_boots": [
        ON,
        Step(UP, "wrong_remote", 0, 55),
        Step(2, "reboot", 0),
    ],
    "another_southbound_and_a_new_peer": [
        ON,
        Step(UP, "wrong_remote", 0, 30),
        Step(2, "rename", 1),
    ],
    "a_renamed_chassis_keeps_its_guard": [ON, Step(UP, "rename", 0, 1)],
    "a_renamed_chassis_keeps_it_over_a_reboot": [
        ON,
        Step(UP, "rename", 0, 1),
        Step(0.3, "reboot", 0),
    ],
    "a_chassis_is_renamed_without_its_ike_daemon": [
        ON,
        Step(UP, "restart_charon", 1, 33),
        Step(5, "rename", 1, 1),
    ],
    # --- something in front of the guard ---
    "half_a_boot_guard_is_closed": [ON, Step(UP, "torn_disk", 0, 0)],
    "one_odd_byte_in_the_state_is_closed": [ON, Step(UP, "torn_disk", 0, 1)],
    "empty_files_of_state_are_closed": [ON, Step(UP, "torn_disk", 0, 2)],
    "a_full_disk_opens_nothing": [ON, Step(0.1, "full_disk", 0, 39), Step(UP, "reboot", 0)],
    "a_host_boots_while_its_ike_daemon_hangs": [ON, Step(UP, "hang_boot", 0, 45)],
    "an_ike_daemon_hangs_during_the_rollout": [ON, Step(0.1, "hang_charon", 0, 40)],
    "a_host_boots_in_the_midst_of_a_new_policy": [
        ON,
        Step(UP, "restart_charon", 1, 39),
        Step(0.3, "rule", 0, 1),
        Step(3, "reboot", 2),
    ],
    "a_kernel_table_that_cannot_be_read": [
        ON,
        Step(UP, "explode", 0, KERNEL),
        Step(1, "flush_nft", 0),
        Step(1, "flush_xfrm", 0),
    ],
    "a_layer_that_explodes_leaves_the_other": [
        ON,
        Step(UP, "explode", 0, NFT),
        Step(0.3, "flush_xfrm", 0),
        Step(0.3, "restart_charon", 0, 20),
    ],
    "ports_that_move_leave_the_usual_one_guarded": [ON, Step(UP, "move_port", 0, 1)],
    "a_ruleset_restored_at_boot_opens_nothing": [ON, Step(UP, "stale_nft", 0)],
    "nor_beside_an_older_southbound": [
        Step(1, "backup"),
        ON,
        Step(UP, "stop_northds", 0, 50),
        Step(0, "restore_sb"),
        Step(0.3, "stale_nft", 0),
    ],
    # --- one chassis' rows as everybody's work or loss ---
    "port_500_of_one_chassis_stops_no_ike": [
        ON,
        Step(UP, "hostile", 0, 0),
        Step(5, "renew", 0),
        Step(30, "kill_charon", 1, 2),
    ],
    "port_4500_likewise": [ON, Step(UP, "hostile", 0, 5), Step(5, "renew", 0)],
    "many_silent_encaps": [ON, Step(UP, "hostile", 0, 1), Step(5, "renew", 0)],
    "forty_ports": [ON, Step(UP, "hostile", 0, 2), Step(5, "renew", 0)],
    "a_claim_of_an_address_under_another_type": [ON, Step(UP, "hostile", 0, 3)],
    "junk_in_an_encap": [ON, Step(UP, "hostile", 0, 4)],
    "junk_in_a_digest": [ON, Step(UP, "hostile", 0, 8)],
    "a_digest_that_lies": [ON, Step(UP, "hostile", 0, 19)],
    "a_digest_that_lies_during_the_rollout": [
        Step(1, "hostile", 0, 19),
        Step(3, "on"),
        Step(UP, "auth", 0, 0),
    ],
    "prepare_ends_whatever_changes": [
        Step(1, "stop_controller", 2, 199),
        ON,
        *(Step(25, "rule", 0, number) for number in (1, 5, 9, 2, 6, 10)),
    ],
    "policies_flushed_twice_come_back_twice": [
        ON,
        Step(UP, "flush_policies", 0),
        Step(2, "flush_policies", 0),
    ],
    # --- northd ends beside a write ---
    **{
        f"northd_ends_beside_write_{number}": [
            Step(1, "crash_northd", 0, 2 * number),
            Step(0, "crash_northd", 0, 2 * number + 1),
            Step(1, "on"),
            Step(UP, "crash_northd", 0, 2 * number),
            Step(0, "crash_northd", 0, 2 * number + 1),
            Step(1, "rule", 0, 1),
        ]
        for number in range(6)
    },
    # --- other releases beside this one ---
    "an_older_controller_in_the_rollout": [Step(1, "other_release", 0, 0), Step(3, "on")],
    "an_older_and_a_newer_controller": [
        ON,
        Step(UP, "other_release", 0, 0),
        Step(5, "other_release", 1, 1),
        Step(20, "rule", 0, 1),
    ],
    "an_older_northd_takes_over": [
        Step(1, "other_northd", 0, 0),
        ON,
        Step(UP, "upgrade_northd", 0, 1),
        Step(20, "rule", 0, 5),
        Step(20, "other_northd", 0, 2),
        Step(5, "off"),
        Step(60, "on"),
    ],
    "a_newer_northd_and_back": [
        Step(1, "other_northd", 0, 1),
        ON,
        Step(UP, "rule", 0, 5),
        Step(20, "other_northd", 0, 2),
    ],
    # --- found by seeds ---
    "a_renewal_beside_a_change_of_authentication": [
        ON,
        Step(33.6, "renew", 1, 34),
        Step(0.3, "auth", 2, 798),
    ],
    "a_prefer_pair_stays_closed_under_another_name": [
        ON,
        Step(20, "mode", 3, 961),
        Step(9.3, "restart_ovn", 0, 654),
        Step(1, "rename", 1, 512),
    ],
    "a_controller_starts_right_after_its_ike_daemon_was_killed": [
        ON,
        Step(34, "kill_charon", 0, 230),
        Step(1, "upgrade", 0),
    ],
    "a_disk_is_full_while_a_port_moves_and_back": [
        ON,
        Step(25, "backup"),
        Step(3, "full_disk", 0, 137),
        Step(0.3, "move_port", 3, 403),
        Step(20, "restore_sb"),
    ],
    "a_disk_is_full_while_certificates_change": [
        ON,
        Step(45, "bad_files", 0, 536),
        Step(11, "upgrade", 0, 66),
        Step(0.3, "full_disk", 0, 39),
    ],
    "a_port_is_left_for_another_and_back": [
        ON,
        Step(40, "monitor", 0, 898),
        Step(8.3, "move_port", 2, 217),
        Step(1.3, "move_port", 3, 54),
    ],
    "a_disk_that_explodes_while_a_chassis_is_renamed": [
        ON,
        Step(28, "explode", 0, 143),
        Step(3, "rename", 2, 578),
    ],
    "a_port_moves_beside_a_policy_that_cannot_be_read": [
        ON,
        Step(20.3, "wipe_keys", 0, 445),
        Step(4, "move_port", 2, 249),
    ],
    "a_chassis_renamed_in_the_midst_of_a_rollout": [ON, Step(4, "rename", 1, 27)],
    "the_peers_of_a_renamed_chassis_keep_it_closed": [
        ON,
        Step(1, "hang_charon", 0, 893),
        Step(3, "rename", 1, 27),
        Step(8, "monitor", 0, 105),
        Step(70, "on"),
    ],
    "the_end_finds_sas_of_an_ike_daemon_that_was_killed": [
        ON,
        Step(45.3, "off"),
        Step(3, "restart_sb", 0, 18),
        Step(8, "kill_charon", 0, 3),
    ],
    "two_older_databases_after_a_silent_southbound": [
        ON,
        Step(29.3, "restart_sb", 0, 14),
        Step(1.3, "restore_both"),
    ],
    "an_older_northbound_and_then_an_empty_southbound": [
        ON,
        Step(23, "restore_nb"),
        Step(1.3, "empty_sb"),
    ],
    "an_older_northbound_and_then_an_older_southbound": [
        ON,
        Step(23, "restore_nb"),
        Step(8, "restore_sb"),
    ],
    "the_end_right_after_an_ike_daemon_was_killed": [
        ON,
        Step(28, "kill_charon", 2, 3),
        Step(3.3, "off"),
    ],
    "a_profile_that_flips_beside_a_new_ike_daemon": [
        ON,
        Step(28, "kill_charon", 1, 958),
        Step(8, "profile", 0, 2),
        Step(8, "profile", 0, 0),
    ],
    "a_way_of_authentication_that_flips": [ON, Step(30, "auth", 0, 0), Step(0.3, "auth", 0, 1)],
    "an_event_of_the_ike_daemon_that_was_not_taken_in": [
        ON,
        Step(25.3, "restart_charon", 3, 589),
        Step(2, "explode", 2, 509),
    ],
    "ports_that_wait_for_a_southbound_that_was_emptied": [
        ON,
        Step(45.3, "restart_nb", 0, 193),
        Step(0.3, "empty_sb", 3, 456),
    ],
    # --- said to be well, or ill, when it is not ---
    "a_disk_that_was_full": [ON, Step(0.3, "full_disk", 1, 10)],
    "a_failure_that_is_over_is_not_told_for_ever": [ON, Step(UP, "fail", 2, 442)],
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_it_ends_well(name: str) -> None:
    """As every seed has to."""
    logs.capture()
    violation = play(CASES[name], 1).violation
    assert violation is None, told(CASES[name], 1, violation)
