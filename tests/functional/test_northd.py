# SPDX-License-Identifier: Apache-2.0
"""ovn-ipsec-northd, real databases and a real ovn-northd; the test plays the controllers."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ovsdb import Central, missing_programs, wait_until

from northd_ext import daemon
from ovn_ipsec import service
from ovn_ipsec.clock import utc_now
from ovn_ipsec.lab.waiting import stretched

pytestmark = pytest.mark.skipif(
    bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"
)

CHASSIS = ("hv1", "hv2", "hv3")
UP = "encrypted=2"


def switch(ovn: Central, on: bool) -> None:
    """Set the switch that the operator has."""
    ovn.nbctl("set", "NB_Global", ".", f"ipsec={str(on).lower()}")


def reach(ovn: Central, phase: str, pairs: str = "") -> None:
    """Wait until SB carries a phase; then all controllers follow."""
    wait_until(lambda: ovn.keys("sb").get("phase") == phase, what=f"phase {phase}")
    for name in CHASSIS:
        ovn.follow(name, pairs)


def state(ovn: Central, expected: str) -> None:
    """Wait until the operator reads a state."""
    wait_until(lambda: ovn.keys("nb").get("state") == expected, what=f"state {expected}")


def enforce(ovn: Central) -> None:
    """Switch on and go the whole way."""
    switch(ovn, on=True)
    reach(ovn, "prepare")
    reach(ovn, "establish", UP)
    reach(ovn, "enforce", UP)
    state(ovn, "enforced")


def test_without_an_authority_it_starts_without_the_code_that_signs():
    """A fifth of the modules, and of the time, of every start."""
    code = "import sys, northd_ext.__main__; print('cryptography' in sys.modules)"
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def settled(ovn: Central) -> dict[str, int]:
    """Number of our transactions in each database once nothing is on its way any more."""
    before: dict[str, int] = {}
    while True:
        now = {kind: len(ovn.transactions(kind)) for kind in ("nb", "sb")}
        if now == before:
            return now
        before = now
        time.sleep(stretched(1.3))


def modes(mode: str | None) -> dict[str, str | None]:
    """All chassis in one mode."""
    return {f"{name}/geneve": mode for name in CHASSIS}


def test_rollout_on_and_off(ovn: Central) -> None:
    """Each phase is one transaction, keys come with the first and go with the last."""
    ovn.start_northd()
    enforce(ovn)
    assert ovn.encap_modes() == modes("require")
    expected = "chassis 3 ready 3 lagging 0 | pairs 6 encrypted 6"
    wait_until(lambda: ovn.keys("nb")["summary"].startswith(expected), what="summary")
    first = ovn.keys("sb")["generation"]
    assert f"Phase: enforce\nGeneration: {first}" in ovn.appctl("northd", "status")
    switch(ovn, on=False)
    reach(ovn, "relax")
    reach(ovn, "off")
    state(ovn, "off")
    assert ovn.encap_modes() == modes(None)
    second = ovn.keys("sb")["generation"]
    now = utc_now().timestamp()
    assert now - 600 < int(first) / 1000 < int(second) / 1000 < now + 1
    steps = [re.sub(r".*northd: (.*)\"", r"\1", line) for line in ovn.transactions("sb")]
    assert steps == [
        f"prepare generation {first}",
        f"establish generation {first}",
        f"enforce generation {first}",
        f"relax generation {second}",
        f"off generation {second}",
    ]


def test_command_with_wrong_words_is_refused_and_ends_nothing(ovn: Central) -> None:
    """Ours, and those of the ovs library, which would exit."""
    northd = ovn.start_northd()
    for words, told in (
        (["status", "json", "more"], "takes at most"),
        (["set-options", "json"], "set-options: expected"),
        (["no-such"], "is not a valid command"),
    ):
        with pytest.raises(AssertionError, match=told):
            ovn.appctl("northd", *words)
    assert "Status:" in ovn.appctl("northd", "status")
    assert northd.running is not None
    assert northd.running.poll() is None


def test_nothing_changes_nothing_is_written(ovn: Central) -> None:
    """Neither time, nor an unrelated change, nor a restart makes a transaction."""
    northd = ovn.start_northd()
    enforce(ovn)
    before = settled(ovn)
    ovn.nbctl("set", "NB_Global", ".", "external_ids:unrelated=1")
    ovn.sbctl("set", "Chassis", "hv1", "external_ids:unrelated=1")
    northd.stop()
    ovn.start_northd()
    wait_until(lambda: "Status: active" in ovn.appctl("northd", "status"), what="active")
    assert settled(ovn) == before


def test_laggard_is_named_and_waited_for(ovn: Central) -> None:
    """A chassis without a controller holds `gated` in establish until the operator says go."""
    ovn.start_northd()
    ovn.sbctl("chassis-add", "old", "geneve", "10.0.0.9")
    switch(ovn, on=True)
    reach(ovn, "prepare")
    reach(ovn, "establish", UP)
    wait_until(lambda: "(old: no controller)" in ovn.keys("nb").get("summary", ""), what="summary")
    state(ovn, "establishing (degraded)")
    ovn.nbctl("set", "NB_Global", ".", "options:ovn-ipsec-rollout=immediate")
    reach(ovn, "enforce", UP)
    state(ovn, "enforced (degraded)")
    ovn.sbctl("chassis-del", "old")
    state(ovn, "enforced")


def test_standby_takes_over(ovn: Central) -> None:
    """When the active one is killed the other goes on, and raises nothing twice."""
    ovn.start_northd("one")
    wait_until(lambda: "Status: active" in ovn.appctl("one", "status"), what="one active")
    ovn.start_northd("two")
    assert "Status: standby" in ovn.appctl("two", "status")
    switch(ovn, on=True)
    wait_until(lambda: ovn.keys("sb").get("phase") == "prepare", what="prepare")
    generation = ovn.keys("sb")["generation"]
    ovn.processes["one"].stop(signal.SIGKILL)
    wait_until(lambda: "Status: active" in ovn.appctl("two", "status"), what="two active")
    reach(ovn, "prepare")
    reach(ovn, "establish", UP)
    reach(ovn, "enforce", UP)
    state(ovn, "enforced")
    assert ovn.keys("sb")["generation"] == generation
    assert len(ovn.transactions("sb")) == 3


def test_paused_gives_the_lock_away(ovn: Central) -> None:
    """A paused northd lets the standby work, and does not write until it is resumed."""
    ovn.start_northd("one")
    wait_until(lambda: "Status: active" in ovn.appctl("one", "status"), what="one active")
    ovn.start_northd("two")
    ovn.appctl("one", "pause")
    assert ovn.appctl("one", "is-paused") == "true"
    assert "Status: paused" in ovn.appctl("one", "status")
    wait_until(lambda: "Status: active" in ovn.appctl("two", "status"), what="two active")
    ovn.appctl("two", "pause")
    switch(ovn, on=True)
    time.sleep(stretched(0.6))
    assert ovn.keys("sb") == {}
    ovn.appctl("one", "resume")
    wait_until(lambda: ovn.keys("sb").get("phase") == "prepare", what="prepare")


@pytest.mark.parametrize("kind", ["nb", "sb"])
def test_database_restart_changes_nothing(ovn: Central, kind: str) -> None:
    """A database that goes and comes back finds nothing to be written, and is followed again."""
    ovn.start_northd()
    enforce(ovn)
    before = settled(ovn)
    ovn.processes[f"ovsdb-{kind}"].stop()
    wait_until(lambda: "not connected" in ovn.appctl("northd", "status"), what="disconnected")
    ovn.serve(kind)
    wait_until(lambda: "not connected" not in ovn.appctl("northd", "status"), what="connected")
    wait_until(lambda: "Status: active" in ovn.appctl("northd", "status"), what="active")
    assert settled(ovn) == before
    ovn.sbctl("chassis-del", "hv3")
    wait_until(lambda: "chassis 2" in ovn.keys("nb")["summary"], what="chassis 2")


def test_chassis_that_went_while_disconnected_does_not_count(ovn: Central) -> None:
    """What was removed while SB could not be reached is gone from the summary."""
    ovn.start_northd()
    wait_until(lambda: "chassis 3" in ovn.keys("nb").get("summary", ""), what="chassis 3")
    ovn.processes["ovsdb-sb"].stop()
    wait_until(lambda: "not connected" in ovn.appctl("northd", "status"), what="disconnected")
    ovn.processes["northd"].running.send_signal(signal.SIGSTOP)
    ovn.serve("sb")
    ovn.sbctl("chassis-del", "hv2")
    ovn.processes["northd"].running.send_signal(signal.SIGCONT)
    wait_until(lambda: "chassis 2" in ovn.keys("nb")["summary"], what="chassis 2")


def test_rebuilt_southbound_stays_enforced(ovn: Central) -> None:
    """An SB that lost all our keys goes on at enforce, as a new generation, in one step."""
    ovn.start_northd()
    enforce(ovn)
    settled(ovn)
    before = int(ovn.keys("sb")["generation"])
    ovn.sbctl("clear", "SB_Global", ".", "external_ids")
    wait_until(lambda: int(ovn.keys("sb").get("generation", 0)) > before, what="a newer one")
    assert ovn.keys("sb")["phase"] == "enforce"
    assert f"enforce generation {ovn.keys('sb')['generation']}" in ovn.transactions("sb")[-1]


def test_emptied_northbound_changes_nothing_until_it_is_confirmed(ovn: Central) -> None:
    """Its ipsec=false is nobody's decision: also for a northd that starts beside it."""
    northd = ovn.start_northd()
    enforce(ovn)
    before = settled(ovn)["sb"]
    ovn.nbctl(
        "clear", "NB_Global", ".", "external_ids", "--", "set", "NB_Global", ".", "ipsec=false"
    )
    state(ovn, "enforced (degraded)")
    generation = ovn.keys("sb")["generation"]
    northd.stop()
    ovn.start_northd()
    wait_until(lambda: "Status: active" in ovn.appctl("northd", "status"), what="active")
    wait_until(lambda: f"ovn-ipsec-confirm={generation}" in ovn.keys("nb").get("error", ""))
    assert "generation" not in ovn.keys("nb")
    assert settled(ovn)["sb"] == before
    assert ovn.keys("sb")["phase"] == "enforce"
    switch(ovn, on=True)
    state(ovn, "enforced")
    assert ovn.keys("nb")["generation"] == generation
    ovn.nbctl(
        "clear", "NB_Global", ".", "external_ids", "--", "set", "NB_Global", ".", "ipsec=false"
    )
    state(ovn, "enforced (degraded)")
    ovn.nbctl("set", "NB_Global", ".", f"options:ovn-ipsec-confirm={generation}")
    reach(ovn, "relax")
    reach(ovn, "off")
    state(ovn, "off")
    assert ovn.keys("nb")["generation"] == ovn.keys("sb")["generation"]
    assert "error" not in ovn.keys("nb")


def test_southbound_of_a_newer_program_is_left_alone(ovn: Central) -> None:
    """Its policy is not touched, and NB is not told that anything is off."""
    ovn.start_northd()
    enforce(ovn)
    before = settled(ovn)["sb"]
    ovn.sbctl("set", "SB_Global", ".", "external_ids:ovn-ipsec-schema=2")
    state(ovn, "enforced (degraded)")
    assert "upgrade it" in ovn.keys("nb")["error"]
    switch(ovn, on=False)
    assert settled(ovn)["sb"] == before
    switch(ovn, on=True)
    ovn.sbctl("set", "SB_Global", ".", "external_ids:ovn-ipsec-schema=1")
    state(ovn, "enforced")


def test_northbound_of_another_cluster_is_no_order(ovn: Central) -> None:
    """Whatever its report says: its row is another one than the policy in force came from."""
    ovn.start_northd()
    enforce(ovn)
    ovn.processes["northd"].stop()
    foreign = "6d6a7f2e-4a3b-4c2d-9e1f-000000000001"
    ovn.sbctl("set", "SB_Global", ".", f"external_ids:ovn-ipsec-origin={foreign}")
    newer = int(ovn.keys("sb")["generation"]) + 1000
    ovn.nbctl(
        *("set", "NB_Global", ".", "ipsec=false", f"external_ids:ovn-ipsec-generation={newer}")
    )
    ovn.start_northd()
    state(ovn, "enforced (degraded)")
    assert "would weaken the switch" in ovn.keys("nb")["error"]
    assert ovn.keys("sb")["origin"] == foreign


def test_quarantine_is_lifted_beside_a_rule_that_is_junk(ovn: Central) -> None:
    """Neither to put somebody out nor to let him in again needs sound rules."""
    ovn.start_northd()
    enforce(ovn)
    ovn.nbctl("set", "NB_Global", ".", "options:ovn-ipsec-rule-1=junk")
    state(ovn, "enforced (degraded)")
    ovn.nbctl("set", "NB_Global", ".", "options:ovn-ipsec-quarantine=hv3")
    wait_until(lambda: ovn.keys("sb")["quarantine"] == "hv3", what="hv3 in quarantine")
    ovn.nbctl("remove", "NB_Global", ".", "options", "ovn-ipsec-quarantine")
    wait_until(lambda: ovn.keys("sb")["quarantine"] == "", what="hv3 readmitted")


@pytest.mark.parametrize("text", ["off", "junk text"])
def test_weakened_encap_is_put_right(ovn: Central, text: str) -> None:
    """What a chassis does to its own row is said once, and undone after a while."""
    ovn.start_northd()
    enforce(ovn)
    ovn.sbctl("set", "Encap", uuid_of(ovn, "hv2"), f'options:ovn-ipsec="{text}"')
    wait_until(lambda: ovn.log_events("northd", "refused") != [], what="refusal logged")
    wait_until(lambda: ovn.encap_modes() == modes("require"), what="put right")
    (event,) = ovn.log_events("northd", "refused")
    assert [event[key] for key in ("table", "row", "key", "text")] == [
        "Encap",
        "hv2/geneve/10.0.0.2",
        "options:ovn-ipsec",
        text,
    ]


def test_lost_key_is_asserted_again(ovn: Central) -> None:
    """Rows that lost their keys, or came new, get them back in one transaction."""
    ovn.start_northd()
    enforce(ovn)
    before = settled(ovn)["sb"]
    for name in ("hv1", "hv2"):
        ovn.sbctl("remove", "Encap", uuid_of(ovn, name), "options", "ovn-ipsec")
    ovn.sbctl("chassis-add", "hv4", "geneve", "10.0.0.4")
    assert ovn.encap_modes() == {"hv1/geneve": None, "hv2/geneve": None} | {
        "hv3/geneve": "require",
        "hv4/geneve": None,
    }
    wait_until(lambda: None not in ovn.encap_modes().values(), what="keys back")
    assert len(ovn.transactions("sb")) == before + 1


def test_remote_chassis_is_never_written(ovn: Central) -> None:
    """The encaps of ovn-ic's chassis stay as they are, through a whole rollout and back."""
    ovn.start_northd()
    ovn.sbctl("chassis-add", "far", "geneve", "10.9.0.1")
    ovn.sbctl("set", "Chassis", "far", "other_config:is-remote=true")
    ovn.sbctl("set", "Encap", uuid_of(ovn, "far"), "options:ovn-ipsec=prefer")
    enforce(ovn)
    assert ovn.encap_modes() == modes("require") | {"far/geneve": "prefer"}
    switch(ovn, on=False)
    reach(ovn, "relax")
    reach(ovn, "off")
    assert ovn.encap_modes() == modes(None) | {"far/geneve": "prefer"}


def test_junk_policy_keeps_the_last_good_one(ovn: Central) -> None:
    """A typing error in NB changes nothing, is said, and goes away with its cause."""
    ovn.start_northd()
    enforce(ovn)
    ovn.nbctl("set", "NB_Global", ".", "options:ovn-ipsec-mode=requier")
    generation = ovn.keys("sb")["generation"]
    state(ovn, "enforced (degraded)")
    assert "ovn-ipsec-mode='requier': expected one of" in ovn.keys("nb")["error"]
    assert ovn.keys("sb")["generation"] == generation
    ovn.nbctl("remove", "NB_Global", ".", "options", "ovn-ipsec-mode")
    state(ovn, "enforced")
    assert "error" not in ovn.keys("nb")


def test_junk_report_is_no_acknowledgement(ovn: Central) -> None:
    """A report that does not parse holds the rollout up and is said once."""
    ovn.start_northd()
    switch(ovn, on=True)
    wait_until(lambda: ovn.keys("sb").get("phase") == "prepare", what="prepare")
    ovn.follow("hv1")
    ovn.follow("hv2", generation="x")
    ovn.follow("hv3")
    wait_until(lambda: "hv2: unreadable report" in ovn.keys("nb").get("summary", ""))
    assert ovn.keys("sb")["phase"] == "prepare"
    ovn.follow("hv2")
    wait_until(lambda: ovn.keys("sb")["phase"] == "establish", what="establish")
    assert len(ovn.log_events("northd", "refused")) == 1


def test_ends_when_told_and_leaves_everything(ovn: Central) -> None:
    """SIGTERM ends it with status 0 and undoes nothing."""
    northd = ovn.start_northd()
    enforce(ovn)
    assert northd.running is not None
    northd.running.send_signal(signal.SIGTERM)
    assert northd.running.wait(3) == 0
    northd.running = None
    assert ovn.keys("sb")["phase"] == "enforce"
    assert ovn.encap_modes() == modes("require")


class Systemd:
    """What systemd hears of our northd."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listener.bind(str(folder / "notify"))
        self._listener.settimeout(stretched(30))
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        self.heard: list[str] = []

    def hears(self, pattern: str) -> None:
        """Wait for what it is told."""
        while not (self.heard and re.match(pattern, self.heard[-1])):
            try:
                self.heard.append(self._listener.recv(9999).decode())
            except TimeoutError:
                raise AssertionError(f"no {pattern} in {self.heard}") from None

    def close(self) -> None:
        """Hear no more."""
        self._listener.close()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    """A socket for sd_notify(3)."""
    made = Systemd(tmp_path, monkeypatch)
    yield made
    made.close()


def test_systemd_hears_when_it_is_ready(ovn: Central, systemd: Systemd) -> None:
    """READY=1 is sent once both databases are loaded, and then what it does is shown."""
    ovn.start_northd()
    systemd.hears("READY=1")
    systemd.hears(r"STATUS=active: off generation 0, 3 chassis, 0 of 0 pairs encrypted")
    enforce(ovn)
    systemd.hears(r"STATUS=active: enforced generation \d+, 3 chassis, 6 of 6 pairs encrypted")
    ovn.appctl("northd", "pause")
    systemd.hears("STATUS=paused")


def test_status_is_lines_for_people_and_an_object_for_programs(ovn: Central) -> None:
    """Both say the same; every command that is offered is documented."""
    ovn.start_northd()
    enforce(ovn)
    found = json.loads(ovn.appctl("northd", "status", "json"))
    assert (found["status"], found["phase"], found["problems"]) == ("active", "enforce", [])
    lines = ovn.appctl("northd", "status").splitlines()
    assert lines == [f"{key.capitalize()}: {found[key]}" for key in found if key != "problems"]
    listed = ovn.appctl("northd", "list-commands").splitlines()[1:]
    documented = {one.name for one in (*daemon.OFFERS, *service.OFFERS)}
    assert {line.split()[0] for line in listed} - {"set-options"} == documented - {"set-options"}


def test_ovn_appctl_finds_it_by_its_name(ovn: Central) -> None:
    """Its pidfile and its socket lie where those of ovn-northd do."""
    argv = [sys.executable, "-m", "northd_ext"]
    ovn.add("named", argv)
    pidfile = ovn.folder / "ovn-ipsec-northd.pid"
    wait_until(lambda: pidfile.exists() and bool(list(ovn.folder.glob("ovn-ipsec-northd.*.ctl"))))
    assert "Status: " in ovn.run("ovn-appctl", "-t", "ovn-ipsec-northd", "status")


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("unix:/none.sock", "unix:/none.sock: No such file or directory"),
        ("junk", "junk: expected ssl:HOST"),
    ],
)
def test_a_database_that_cannot_be_reached_keeps_nobody_waiting(
    ovn: Central, systemd: Systemd, remote: str, shown: str
) -> None:
    """Whoever starts the unit; what is waited for is shown and logged, once."""
    ovn.start_northd("northd", f"--ovnsb-db={remote}")
    systemd.hears("READY=1")
    systemd.hears(f"STATUS=waiting: southbound not reached: {shown}.*; standby")
    (line,) = ovn.log_events("northd", "database_problem")
    assert line["problem"].startswith(shown)
    assert [] == ovn.log_events("northd", "ready")


def test_what_it_waits_for_is_shown(ovn: Central, systemd: Systemd) -> None:
    """A database that is not reached, with the reason; what it does goes on."""
    ovn.start_northd()
    systemd.hears("READY=1")
    ovn.processes["ovsdb-sb"].stop()
    systemd.hears("STATUS=waiting: southbound not reached: unix:.*; ")
    ovn.serve("sb")
    systemd.hears("STATUS=active")


def test_an_authority_that_is_not_there_is_said_at_once(
    ovn: Central, systemd: Systemd, tmp_path: Path
) -> None:
    """Also by one on standby, who would not sign, before it has to."""
    ovn.start_northd("one")
    wait_until(lambda: "Status: active" in ovn.appctl("one", "status"), what="one active")
    ovn.start_northd("two", f"--ca-dir={tmp_path}/ca")
    systemd.hears("STATUS=waiting: the authority cannot be used: .*/ca: no such folder.*; standby")
    (line,) = ovn.log_events("two", "authority_not_usable")
    assert f"{tmp_path}/ca: no such folder" in line["reason"]
    assert f"Problem: authority: {tmp_path}/ca: no such folder" in ovn.appctl("two", "status")


def uuid_of(ovn: Central, chassis: str) -> str:
    """UUID of the only encap of a chassis."""
    return ovn.sbctl("--bare", "--columns=_uuid", "find", "Encap", f"chassis_name={chassis}")
