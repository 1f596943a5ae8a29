# SPDX-License-Identifier: Apache-2.0
"""What is kept on disk, and what becomes of it when the disk is full, torn or read by nobody."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from controller.plan.boot import BootGuard
from controller.plan.connection import ConnName
from controller.plan.guard import DENY_ALL, ClearFlow, Direction, GuardState, PeerPort
from controller.state_dir import FIRST_REQID, RETRY_S, SLACK, StateDir, boot_id
from ovn_ipsec.errors import EdgeError
from ovn_ipsec.model.policy import Mode, Phase, Treatment
from ovn_ipsec.pki import files
from ovn_ipsec.pki.errors import PkiError
from tests.contracts.ike_backend import config
from tests.worlds import matrix, policy

NAME, OTHER = config().name, ConnName("ovn-other")
US, THEM = ip_address("10.0.0.1"), ip_address("10.0.0.2")
GUARD = GuardState(
    ports=frozenset({6081, 4789}),
    local=frozenset({US, ip_address("fd00::1")}),
    may_clear=frozenset(),
    peer_ports=frozenset({PeerPort(local=US, remote=THEM, port=7000)}),
)
FLOW = ClearFlow(direction=Direction.OUT, local=US, remote=THEM, port=6081)
BOOT = BootGuard(guard=GUARD, latched=frozenset({FLOW}), boot="this one")


def opened(path: Path) -> StateDir:
    state = StateDir(path)
    state.open()
    return state


def test_reqids_are_the_same_after_a_restart(tmp_path: Path) -> None:
    """Junk lines cost nothing but themselves, not even an odd byte or half a line."""
    first = opened(tmp_path)
    assert (FIRST_REQID, FIRST_REQID + 1) == first.reqids(NAME) == first.reqids(NAME)
    with (tmp_path / "reqids").open("ab") as file:
        file.write(b"junk\n1 ovn-low\n\xff\xfe\n99999999999999 ovn-high\n100002 ovn-ha")
    second = opened(tmp_path)
    assert first.reqids(NAME) == second.reqids(NAME)
    number, _ = second.reqids(OTHER)
    assert number >= FIRST_REQID + 4
    assert opened(tmp_path).reqids(OTHER) == (number, number + 1)
    assert second.problem == ""


def test_a_released_reqid_is_not_given_out_again(tmp_path: Path) -> None:
    """Its SAs may live on in the kernel; and they stay known as ours."""
    state = opened(tmp_path)
    number, _ = state.reqids(NAME)
    state.keep_mark(NAME, "one,ca:x")
    state.release(NAME)
    state.release(NAME)
    for again in (state, opened(tmp_path)):
        assert number in again.own_reqids()
        assert again.mark(NAME) == ""
    assert opened(tmp_path).reqids(NAME)[0] > number


def test_the_journal_does_not_grow_with_connections_that_come_and_go(tmp_path: Path) -> None:
    """One chassis that changes its address for ever costs no disk."""
    state = opened(tmp_path)
    kept = state.reqids(NAME)
    for number in range(2 * SLACK):
        state.reqids(ConnName(f"ovn-{number}"))
        state.keep_mark(ConnName(f"ovn-{number}"), "one,ca:x")
        state.release(ConnName(f"ovn-{number}"))
    for journal in ("reqids", "made-from"):
        assert len((tmp_path / journal).read_text().splitlines()) <= SLACK + 10
    again = opened(tmp_path)
    assert again.reqids(NAME) == kept
    assert again.reqids(OTHER) == state.reqids(OTHER)


def test_a_reqid_that_the_kernel_has_is_not_given_out(tmp_path: Path) -> None:
    """Though no line says so: the disk was full when it was."""
    state = opened(tmp_path)
    state.note_used(FIRST_REQID + 7)
    state.note_used(3)
    state.note_used(2**32 - 4)
    assert state.reqids(NAME) == (FIRST_REQID + 8, FIRST_REQID + 9)


def test_what_could_not_be_written_is_written_in_time(tmp_path: Path) -> None:
    """Though nothing changes, and not in every pass."""
    folder = tmp_path / "state"
    state = opened(folder)
    assert state.wake_at() is None
    (folder / "made-from").mkdir()
    state.keep_mark(NAME, "mark")
    state.retry(5.0)
    assert state.problem
    assert state.wake_at() == 5.0 + RETRY_S
    (folder / "made-from").rmdir()
    state.retry(5.5)
    assert state.problem
    state.retry(6.0)
    assert state.problem == ""
    assert state.wake_at() is None
    assert opened(folder).mark(NAME) == "mark"


def test_a_file_that_nobody_wants_otherwise_any_more_is_no_problem_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full when it was to be another one, and what it holds is right again."""
    state = opened(tmp_path)
    state.keep_key_ids(frozenset({"one"}))
    with monkeypatch.context() as full:
        full.setattr(files, "write", _refuse)
        with pytest.raises(EdgeError, match="No space left"):
            state.keep_key_ids(frozenset({"one", "two"}))
        assert not state.keep_policy(policy(Phase.OFF))
        state.retry(5.0)
        assert state.wake_at() == 5.0 + RETRY_S
    state.retry(5.5)
    assert "key-ids" in state.problem
    state.retry(6.0)
    assert "key-ids" not in state.problem
    assert state.key_ids() == {"one"}
    # Of a file that was never there nothing can be written but what is wanted.
    assert "policy.json" in state.problem
    assert state.keep_policy(policy(Phase.OFF))
    assert (state.problem, state.wake_at()) == ("", None)


def _refuse(*_: object) -> None:
    raise PkiError("here", "No space left on device")


def test_what_could_not_be_written_is_written_with_the_next_change(tmp_path: Path) -> None:
    """Meanwhile it counts, and the problem is said."""
    folder = tmp_path / "state"
    state = opened(folder)
    (folder / "reqids").mkdir()
    first = state.reqids(NAME)
    assert "reqids" in state.problem
    assert state.reqids(NAME) == first
    (folder / "reqids").rmdir()
    second = state.reqids(OTHER)
    assert state.problem == ""
    again = opened(folder)
    assert (again.reqids(NAME), again.reqids(OTHER)) == (first, second)


def test_marks_are_kept_over_a_restart(tmp_path: Path) -> None:
    """The last word counts, and nothing is written twice."""
    first = opened(tmp_path)
    assert first.mark(NAME) == ""
    for mark in ("one,ca:x", "two,ca:x", "two,ca:x"):
        first.keep_mark(NAME, mark)
    assert 2 == len((tmp_path / "made-from").read_text().splitlines())
    assert "two,ca:x" == opened(tmp_path).mark(NAME)


def test_key_ids_are_kept_and_a_failure_is_told(tmp_path: Path) -> None:
    """Whoever gives the daemon a key must not lose sight of it."""
    state = opened(tmp_path)
    state.keep_key_ids(frozenset({"a", "b"}))
    assert {"a", "b"} == opened(tmp_path).key_ids()
    (tmp_path / "key-ids").unlink()
    (tmp_path / "key-ids").mkdir()
    with pytest.raises(EdgeError):
        state.keep_key_ids(frozenset())


def test_the_boot_guard_is_kept_and_taken_away(tmp_path: Path) -> None:
    """With ports of peers, what is latched, and the boot of which it is."""
    state = opened(tmp_path)
    assert state.boot_guard() is None
    assert state.keep_boot_guard(BOOT)
    assert BOOT == opened(tmp_path).boot_guard()
    assert state.keep_boot_guard(None)
    assert opened(tmp_path).boot_guard() is None


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"ports": [6081]}',
        b'{"ports": ["x"], "local": []}',
        b'{"ports": [6081], "local": ["nowhere"]}',
        b'{"ports": [6081], "local": [], "latched": [[1, 2]]}',
    ],
)
def test_a_torn_boot_guard_denies_everything(tmp_path: Path, junk: bytes) -> None:
    """What was to be denied is not known, and that is no reason to let it pass."""
    (tmp_path / "boot-guard.json").write_bytes(junk)
    found = opened(tmp_path).boot_guard()
    assert found is not None
    assert found.guard == DENY_ALL
    assert found.fault


def test_a_boot_guard_that_cannot_be_read_denies_everything(tmp_path: Path) -> None:
    """It is there."""
    (tmp_path / "boot-guard.json").mkdir()
    found = opened(tmp_path).boot_guard()
    assert found is not None
    assert found.guard == DENY_ALL


def test_the_boot_guard_of_an_older_version_is_read(tmp_path: Path) -> None:
    """It knew neither ports of peers nor what was latched."""
    (tmp_path / "boot-guard.json").write_text('{"ports": [6081], "local": ["10.0.0.1"]}')
    found = opened(tmp_path).boot_guard()
    assert found == BootGuard(
        guard=replace(GUARD, local=frozenset({US}), peer_ports=frozenset()), boot=""
    )


def test_the_policy_that_was_obeyed_is_kept(tmp_path: Path) -> None:
    """Junk counts as none, and is a problem."""
    state = opened(tmp_path)
    assert state.policy() is None
    wanted = replace(policy(Phase.ENFORCE, generation=7), pairs=matrix(lab_prod="require/cnsa"))
    assert state.keep_policy(wanted)
    assert wanted == opened(tmp_path).policy()
    for junk in ("{", "[]", '{"ovn-ipsec-schema": "1"}'):
        (tmp_path / "policy.json").write_text(junk)
        again = opened(tmp_path)
        assert again.policy() is None
        assert "policy.json" in again.problem
    assert state.keep_policy(None)
    assert opened(tmp_path).policy() is None
    assert wanted.pairs.values().__len__() == 1
    assert Treatment(mode=Mode.REQUIRE) not in wanted.pairs.values()


def test_nothing_of_the_disk_keeps_the_program_from_running(tmp_path: Path) -> None:
    """Not even that there is none."""
    (tmp_path / "file").write_text("")
    state = StateDir(tmp_path / "file" / "state")
    state.open()
    assert state.problem
    assert state.reqids(NAME) == (FIRST_REQID, FIRST_REQID + 1)
    state.keep_mark(NAME, "x")
    assert not state.keep_boot_guard(BOOT)
    assert not state.keep_policy(policy(Phase.OFF))


def test_a_boot_has_a_name() -> None:
    """The kernel's."""
    assert boot_id()


def test_a_restart_leaves_what_is_no_journal_as_it_is(tmp_path: Path) -> None:
    """JSON ends without a newline, and is not torn for that."""
    state = opened(tmp_path)
    state.keep_mark(NAME, "mark")
    kept = policy(Phase.ENFORCE, generation=7)
    assert state.keep_policy(kept)
    for _ in range(2):
        again = opened(tmp_path)
        assert again.policy() == kept
        again.retry(5.0)
        assert again.wake_at() is None


def test_what_was_released_is_not_read_back(tmp_path: Path) -> None:
    """Nor does a number of ten digits get lost."""
    (tmp_path / "reqids").write_text(f"2000000002 {NAME}\n", encoding="ascii")
    state = opened(tmp_path)
    assert state.reqids(NAME) == (2000000002, 2000000003)
    state.keep_mark(NAME, "mark")
    state.release(NAME)
    again = opened(tmp_path)
    assert again.mark(NAME) == ""
    again.keep_mark(OTHER, "mark")
    assert again._marks.keys() == {OTHER}
