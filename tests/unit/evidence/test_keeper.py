# SPDX-License-Identifier: Apache-2.0
"""The journal of evidence as the controller keeps it, across restarts, faults and full disks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from test_notes import CONFIG, NAME, certificate_der, kernel, sa

from controller.evidence import keeper as keepers
from controller.evidence.journal import FileJournal
from controller.evidence.keeper import EvidenceKeeper, Scene
from controller.plan.agent import Agent
from controller.plan.guard import GuardCounters
from controller.plan.pair.record import PairRecord
from controller.xfrm.values import XfrmState
from ovn_ipsec.errors import EdgeError
from ovn_ipsec.evidence.ledger import Ledger
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.policy import Auth, Mode, Phase
from ovn_ipsec.model.status import PairState
from ovn_ipsec.pki.values import KeyKind
from tests.fakes.timeline import EPOCH
from tests.worlds import policy

OUT, IN = 100_000, 100_001
BEGIN = int(EPOCH.timestamp())
NOBODY = CONFIG.name.replace("@", "x@")


class Clock:
    """Time that passes when a test lets it."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """See Clock."""
        return self.now

    def utc_now(self) -> Any:
        """See Clock."""
        return EPOCH + timedelta(seconds=self.now)


class FakeJournal:
    """Lines in memory; it refuses what a test lets it refuse."""

    def __init__(self) -> None:
        self.text = ""
        self.full = False
        self.writes = self.replaced = 0

    def read(self) -> str:
        """See Journal."""
        if self.full:
            raise EdgeError("disk: cannot read")
        return self.text

    def append(self, lines: str) -> None:
        """See Journal."""
        self._write()
        self.text += lines

    def replace(self, lines: str) -> None:
        """See Journal."""
        self._write()
        self.text, self.replaced = lines, self.replaced + 1

    def _write(self) -> None:
        if self.full:
            raise EdgeError("disk: full")
        self.writes += 1


@dataclass
class Bench:
    """A controller's evidence, its pairs and what surrounds them."""

    clock: Clock = field(default_factory=Clock)
    journal: FakeJournal = field(default_factory=FakeJournal)
    agent: Agent = field(default_factory=lambda: Agent(ChassisName("h1")))
    packets: GuardCounters = field(
        default_factory=lambda: GuardCounters(
            out_denied=0, out_clear=0, in_denied=0, in_clear=0, epoch="1"
        )
    )
    reads: int = 0
    asked: list[str] = field(default_factory=list)
    certificates: Known[tuple[bytes, ...]] | Unknown = field(default_factory=lambda: Known(()))
    broken: bool = False

    def __post_init__(self) -> None:
        self.agent.put_policy(policy(Phase.ENFORCE))
        self.agent.put_reqids(NAME, (OUT, IN))
        self.keeper = self.begin()

    def begin(self) -> EvidenceKeeper:
        """Start a controller."""
        self.keeper = EvidenceKeeper(self.journal, self.clock, "boot", self._counters)
        self.keeper.open()
        return self.keeper

    def _counters(self) -> dict[str, GuardCounters | None]:
        self.reads += 1
        if self.broken:
            raise ValueError
        return {"nft": self.packets, "xfrm": None}

    def ask(self, identity: str) -> Known[tuple[bytes, ...]] | Unknown:
        """See IkeBackend.certificates."""
        self.asked.append(identity)
        return self.certificates

    def be(self, state: PairState = PairState.ENCRYPTED) -> None:
        """Let the pair be in a state."""
        record = PairRecord(
            name=NAME, pair=CONFIG.pair, mode=Mode.REQUIRE, state=state, closed=True
        )
        self.agent.records[NAME] = record
        self.agent.put_sas(NAME, (sa(1),))

    def turn(
        self,
        *ended: XfrmState,
        states: tuple[XfrmState, ...] | None = None,
        settled: bool = True,
        decided: bool = True,
        after: float = 1.0,
    ) -> None:
        """One pass."""
        self.clock.now += after
        scene = Scene(
            agent=self.agent,
            decided=[NAME] if decided else [],
            settled=settled,
            synced=True,
            applied=self.agent.policy,
            certificate=None,
            ask=self.ask,
        )
        self.keeper.keep(scene, ended, states)

    def said(self) -> Any:
        """The pair in the document of this moment."""
        (pair,) = self.keeper.document(None, None)["pairs"]
        return pair

    def kept(self) -> Ledger:
        """What is on disk."""
        return Ledger.of(self.journal.text)


@pytest.fixture
def bench() -> Bench:
    """A controller that has just started, with a pair that is encrypted."""
    found = Bench()
    found.be()
    return found


def up(size: int = 100, spi: int = 7, made_at: int = BEGIN) -> tuple[XfrmState, ...]:
    """The SAs of both directions."""
    packets = size // 100
    out = replace(kernel("10.9.0.1", OUT, made_at, spi), bytes=size, packets=packets)
    into = replace(kernel("10.9.0.2", IN, made_at, spi + 1), bytes=size, packets=packets)
    return out, into


def test_a_pair_is_told_with_all_that_is_known_of_it(bench: Bench):
    """State, suites and what was carried, while the journal has no more than that."""
    bench.turn(states=up())
    bench.turn()
    pair = bench.said()
    assert (pair["state"], pair["state_is_current"]) == ("encrypted", True)
    assert pair["methods"][0]["peer_identity"] == "h2"
    assert (pair["protected"]["out_bytes"], pair["protected"]["in_bytes"]) == (100, 100)
    bench.turn(after=5)
    assert bench.kept().pairs == bench.keeper._ledger.pairs


def test_what_sas_came_to_stays_when_they_end(bench: Bench):
    """Whose reqid is not known yet is looked up; SAs of others, or without a packet, are none."""
    old, new = up(), up(300, spi=20)
    bench.turn(replace(old[0], bytes=500, packets=5), states=new)
    foreign = replace(old[0], reqid=4)
    bench.turn(foreign, replace(old[0], proto=108), replace(old[1], packets=0), states=new)
    protected = bench.said()["protected"]
    assert (protected["out_bytes"], protected["out_packets"]) == (800, 8)
    assert protected["in_bytes"] == 300
    assert protected["at_least"] is False


def test_an_sa_that_went_unheard_makes_the_sum_a_lower_bound(bench: Bench):
    """Two looks do not show it any more."""
    bench.turn(states=up())
    bench.turn(states=())
    assert bench.said()["protected"]["at_least"] is False
    bench.turn(states=())
    protected = bench.said()["protected"]
    assert (protected["out_bytes"], protected["at_least"]) == (100, True)


def test_one_direction_that_went_unheard_is_noticed_though_the_other_is_idle(bench: Bench):
    """The same figures again are no news, unless one of them is in doubt."""
    both = up()
    for states in (both, both, both[:1], both[:1]):
        bench.turn(states=states)
    protected = bench.said()["protected"]
    assert (protected["out_bytes"], protected["in_bytes"], protected["at_least"]) == (
        100,
        100,
        True,
    )


def test_a_document_looks_at_the_kernel_once_in_a_pass(bench: Bench):
    """Between two looks, what ended must have been heard."""
    bench.turn(states=up())
    for _ in range(3):
        bench.keeper.document((), None)
    assert bench.said()["protected"]["at_least"] is False
    bench.turn(up(200)[0])
    assert bench.said()["protected"]["out_bytes"] == 200


def test_rekeys_are_counted_and_written(bench: Bench):
    """From the SAs that the IKE daemon reports."""
    bench.turn(states=up())
    bench.agent.put_sas(NAME, (sa(2),))
    bench.turn()
    bench.turn(after=5)
    assert bench.kept().pairs[NAME].sums.rekeys == 2
    assert bench.kept().pairs[NAME].sums.ike_rekeys == 1


def test_a_killed_controller_leaves_a_gap_over_which_the_same_sas_hold(bench: Bench):
    """The next one has seen nothing of it, and what SAs carried meanwhile is counted."""
    bench.turn(states=up())
    bench.turn(after=5)
    bench.begin()
    bench.turn(states=up(900), after=100)
    bench.turn()
    pair = bench.said()
    assert len(pair["encrypted"]) == 1
    assert [one["same_sas_before_and_after"] for one in pair["not_observed"]] == [True]
    assert pair["protected"]["out_bytes"] == 900
    assert bench.keeper.document(None, None)["observed"]["gaps"][0]["counted_by"] == ["nft"]


def test_a_controller_that_ends_in_order_says_so(bench: Bench):
    """With the last figures; then it keeps nothing any more."""
    bench.turn(states=up())
    bench.turn(states=up(700))
    bench.keeper.close()
    bench.keeper.close()
    host, pair = bench.kept().host, bench.kept().pairs[NAME]
    assert (host.stopped, pair.sums.total.out_bytes) == (True, 700)
    before = bench.journal.text
    bench.turn()
    assert (bench.journal.text, bench.keeper.wake_at()) == (before, None)


def test_a_pair_is_not_judged_before_the_ike_daemon_can_be_read(bench: Bench):
    """At the start, for a while; later it may be away."""
    bench.be(PairState.BLOCKED)
    bench.turn(settled=False)
    assert bench.keeper.document(None, None)["pairs"] == []
    bench.turn(settled=False, decided=False, after=keepers.GRACE_S)
    assert bench.said()["state"] == "blocked"
    bench.be()
    bench.turn(settled=False)
    assert bench.said()["state"] == "encrypted"


def test_a_pair_that_went_is_noted_at_once_or_by_the_next_controller(bench: Bench):
    """One that was there before a gap may take a while to come back."""
    bench.turn()
    del bench.agent.records[NAME]
    bench.turn()
    bench.turn()
    assert bench.said()["state"] == "gone"
    bench.be()
    bench.turn()
    bench.turn(after=5)
    del bench.agent.records[NAME]
    bench.begin()
    bench.turn(decided=False)
    assert not bench.said()["state_is_current"]
    bench.turn(decided=False, after=keepers.RETIRE_S)
    assert bench.said()["state"] == "gone"


def test_nothing_is_written_while_nothing_changes(bench: Bench):
    """But one line in a minute; reading the counters takes no more than its share."""
    bench.turn(states=up())
    bench.turn(after=5)
    writes, reads = bench.journal.writes, bench.reads
    for size in range(200, 260):
        bench.turn(states=up(size * 100), decided=False)
    assert bench.journal.writes - writes == bench.reads - reads == 1
    assert bench.keeper.wake_at() is None
    bench.turn(decided=False, after=keepers.CHECKPOINT_S)
    bench.turn(decided=False, after=5)
    assert bench.kept().pairs[NAME].sums.total.out_bytes == 25_900


def test_a_full_disk_costs_nothing_but_what_a_kill_loses(bench: Bench):
    """It is a problem; when there is space again, the whole is written."""
    bench.turn(states=up())
    bench.journal.full = True
    bench.be(PairState.BLOCKED)
    bench.turn(after=5)
    assert "disk: full" in bench.keeper.problem
    assert bench.keeper.wake_at() == bench.clock.now + keepers.FAULT_S
    assert bench.said()["state"] == "blocked"
    bench.journal.full = False
    bench.turn(after=keepers.FAULT_S)
    assert (bench.keeper.problem, bench.journal.replaced) == ("", 1)
    assert bench.kept().pairs[NAME].state == "blocked"


def test_a_journal_that_cannot_be_read_is_left_alone(bench: Bench):
    """Nothing is written over it, and nobody asks for evidence in vain."""
    bench.turn(states=up())
    before, bench.journal.full = bench.journal.text, True
    bench.begin()
    bench.journal.full = False
    bench.turn()
    bench.keeper.close()
    assert (bench.journal.text, "cannot read" in bench.keeper.problem) == (before, True)
    with pytest.raises(EdgeError, match="cannot read"):
        bench.keeper.document(None, None)


def test_a_torn_journal_is_written_anew(bench: Bench):
    """So that the next line does not continue the torn one."""
    bench.turn(states=up())
    bench.turn(after=5)
    bench.journal.text += '{"is":"al'
    bench.begin()
    bench.turn(after=5)
    assert bench.journal.replaced == 1
    assert (bench.kept().host.unreadable, bench.kept().pairs[NAME].state) == (1, "encrypted")


def test_a_journal_is_short_again_when_it_has_grown(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """What it comes to stays the same."""
    monkeypatch.setattr(keepers, "SLACK_BYTES", 2000)
    for number in range(100):
        bench.be(PairState.BLOCKED if number % 2 else PairState.ENCRYPTED)
        bench.turn(states=up(), after=5)
    assert bench.journal.replaced > 2
    assert bench.kept().pairs == bench.keeper._ledger.pairs
    assert bench.kept().pairs[NAME].spans_dropped == 30


def test_an_internal_error_stays_here_and_nothing_is_forgotten(bench: Bench):
    """Nobody else fails; all pairs are noted again behind it."""
    bench.turn()
    bench.broken = True
    bench.turn(after=keepers.ALIVE_S)
    assert "internal error ValueError" in bench.keeper.problem
    bench.be(PairState.BLOCKED)
    bench.turn()
    bench.broken = False
    bench.turn(decided=False, after=keepers.FAULT_S)
    assert bench.said()["state"] == "blocked"
    assert bench.keeper.problem == ""
    bench.broken = True
    bench.keeper.close()


def test_the_certificate_of_a_peer_is_asked_for_when_it_has_authenticated(bench: Bench):
    """Once; of none, of several, or of a daemon that does not answer, nothing is known."""
    one, other = certificate_der(KeyKind.ECDSA_P256), certificate_der(KeyKind.ED25519)
    for number, (given, known) in enumerate(
        (
            (Known((one,)), 31),
            (Known(()), None),
            (Known((one, other)), None),
            (Unknown("away"), None),
            (Known((other,)), 31),
        ),
        start=1,
    ):
        bench.certificates = given
        bench.agent.put_sas(NAME, (replace(sa(number), suite=f"suite {number}"),))
        bench.turn()
        assert bench.keeper.wake_at() == bench.clock.now
        bench.turn()
        assert len(bench.asked) == number
        found = bench.said()["methods"][-1]
        assert found["ike_suite"] == f"suite {number}"
        certificate = found["peer_certificate"]
        assert (None if certificate is None else int(certificate["serial"], 16)) == known
    rekeyed = replace(sa(9), children=sa(5).children, suite="suite 5")
    bench.agent.put_sas(NAME, (rekeyed,))
    bench.turn()
    bench.turn()
    assert bench.said()["methods"][-1]["peer_certificate"]["serial"] == "1f"
    bench.agent.put_sas(NAME, (replace(sa(10), auth=Auth.PSK),))
    bench.turn()
    bench.turn()
    assert bench.said()["methods"][-1]["peer_certificate"] is None
    assert len(bench.asked) == 5


def test_who_has_authenticated_before_a_gap_is_not_asked_for_again(bench: Bench):
    """As long as the SAs are the same: the daemon may have forgotten the certificate by then."""
    bench.certificates = Known((certificate_der(KeyKind.ECDSA_P256),))
    bench.turn(states=up())
    bench.turn(after=5)
    bench.certificates = Known(())
    bench.begin()
    bench.turn(states=up(), after=100)
    bench.turn()
    (method,) = bench.said()["methods"]
    assert (method["peer_certificate"]["serial"], len(bench.asked)) == ("1f", 1)
    bench.begin()
    bench.turn(after=100)
    bench.turn()
    assert [one["peer_certificate"] is None for one in bench.said()["methods"]] == [False, True]


def test_another_chassis_begins_with_its_own_pairs(bench: Bench):
    """The host keeps one journal; before it has a name there is only the guard to count."""
    bench.turn(states=up())
    bench.clock.now += keepers.ALIVE_S
    bench.keeper.keep(None, (), None)
    bench.agent = Agent(ChassisName("h9"))
    bench.agent.put_policy(policy(Phase.ENFORCE))
    bench.turn(states=up(), decided=False)
    found = bench.keeper.document(None, None)
    assert found["chassis"] == "h9"
    assert len(found["guard"]["nft"]["counted"]) == 1


def test_reqids_that_are_long_gone_are_forgotten(bench: Bench):
    """Those of a pair that has just gone are known until its SAs have ended."""
    bench.turn(states=up())
    for number in range(2000, 3200):
        bench.keeper._owner[number] = bench.keeper._owner[OUT]
    bench.turn(states=up())
    assert set(bench.keeper._owner) == {OUT, IN}


# --- the file ------------------------------------------------------------------------------------


def test_a_journal_is_a_private_file(tmp_path: Path):
    """Appended to, replaced, and read."""
    path = tmp_path / "evidence.jsonl"
    journal = FileJournal(path)
    assert journal.read() == ""
    journal.append("a\n")
    journal.append("b\n")
    assert (journal.read(), path.stat().st_mode & 0o777) == ("a\nb\n", 0o600)
    journal.replace("c\n")
    journal.append("d\n")
    assert (FileJournal(path).read(), path.stat().st_mode & 0o777) == ("c\nd\n", 0o600)


def test_a_journal_that_others_have_changed_is_not_continued(tmp_path: Path):
    """Removed, cut or written by another program: then it is replaced."""
    path = tmp_path / "evidence.jsonl"
    journal = FileJournal(path)
    journal.append("a\n")
    path.unlink()
    with pytest.raises(EdgeError, match="changed by something else"):
        journal.append("b\n")
    journal.replace("c\n")
    path.unlink()
    path.mkdir()
    for attempt in (journal.read, lambda: journal.append("d"), lambda: journal.replace("d")):
        with pytest.raises(EdgeError, match="evidence"):
            attempt()
