# SPDX-License-Identifier: Apache-2.0
"""The keeper of the tunnel ports on a real local database: what it notices, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from ssl import PEM_cert_to_DER_cert

import pytest

from controller.ike.delegate import Delegate
from controller.plan.agent import Agent
from controller.plan.configs import Configs
from controller.plan.connection import conn_name
from controller.plan.pair.record import PairRecord
from controller.plan.ports.pace import BURST, SLOW_S
from controller.ports.keeper import NEVER, PAUSE_S, PortKeeper, SbGlobal
from ovn_ipsec.model.chassis import ChassisName, Pair
from ovn_ipsec.model.policy import Auth
from ovn_ipsec.model.status import PairState
from ovn_ipsec.ovsdb.schemas import VSWITCH
from ovn_ipsec.ovsdb.session import Session
from ovn_ipsec.schema.encap import RawChassis, RawEncap, parse_chassis
from ovn_ipsec.schema.open_vswitch import LocalChassis, parse_local
from tests.contracts.ike_backend import der, identity
from tests.functional import test_tunnels as real
from tests.functional.test_tunnels import pair, settle, until

pytestmark = pytest.mark.skipif(
    bool(real.MISSING), reason=f"not installed: {', '.join(real.MISSING)}"
)

CLEAR: SbGlobal = (False, {})
HV2, HV3 = pair("hv2", "10.0.0.2"), pair("hv3", "10.0.0.3")


class Keeping:
    """A keeper with its database and an agent whose pairs the test says; time is the test's."""

    def __init__(self, machine: real.Machine, session: Session) -> None:
        self.machine, self.session = machine, session
        self.keeper = PortKeeper(machine.folder, machine.folder / "pins")
        self.agent = Agent(ChassisName("hv1"))
        self.now = 1000.0
        self.sb_global: SbGlobal | None = CLEAR
        self.here = self.configure()
        self.own("10.0.0.1")
        self.writes = 0

    def configure(self, tunnels: str = "own", **external_ids: str) -> LocalChassis:
        """What the local row says."""
        external = {"system-id": "hv1", "ovn-encap-type": "geneve", **external_ids}
        self.here = parse_local(external, {"ovn-ipsec-tunnels": tunnels}, None)
        return self.here

    def own(self, *ips: str) -> None:
        """Our own rows in the southbound."""
        encaps = tuple(RawEncap(type="geneve", ip=ip, options={}) for ip in ips)
        raw = RawChassis(name="hv1", other_config={}, encaps=encaps)
        self.agent.world.put("hv1", parse_chassis(raw))

    def put(
        self, *pairs: Pair, csum: bool | None = True, state: PairState = PairState.CLEAR
    ) -> None:
        """Let pairs be as said."""
        for some in pairs:
            name = conn_name(some)
            self.agent.records[name] = PairRecord(name=name, pair=some, csum=csum, state=state)

    def drop(self, *pairs: Pair) -> None:
        """Forget pairs."""
        for some in pairs:
            del self.agent.records[conn_name(some)]

    def step(self, passed_s: float = PAUSE_S) -> None:
        """One pass of the daemon, and what the database answers."""
        self.now += passed_s
        self.session.receive()
        self.keeper.note(self.session.changes())
        self.keeper.reconcile(self.session, self.agent, self.here, self.sb_global, self.now)
        self.writes += self.session.busy
        settle(self.session)

    def options(self) -> dict[str, dict[str, str]]:
        """Interface.options by ovn-chassis-id."""
        return {
            str(port.external_ids["ovn-chassis-id"]): dict(port.interfaces[0].options)
            for port in self.session.rows("Port")
            if "ovn-chassis-id" in port.external_ids
        }

    def marks(self) -> dict[str, str | None]:
        """The marks by ovn-chassis-id."""
        return {
            str(port.external_ids["ovn-chassis-id"]): port.external_ids.get("ovn-ipsec")
            for port in self.session.rows("Port")
            if "ovn-chassis-id" in port.external_ids
        }


@pytest.fixture
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeping]:
    """hv1 in own mode, with ports to hv2 and hv3."""
    machine = real.Machine(tmp_path_factory.mktemp("t"))
    session = Session(machine.remote, VSWITCH)
    try:
        machine.build()
        session.open()
        settle(session)
        made = Keeping(machine, session)
        made.put(HV2, HV3)
        made.step()
        made.step()
        assert {"hv2@10.0.0.2", "hv3@10.0.0.3"} == made.options().keys()
        assert {"clear"} == set(made.marks().values())
        made.writes = 0
        yield made
    finally:
        session.close()
        machine.close()


def test_every_input_of_the_plan_is_noticed(keeping: Keeping) -> None:
    """Each one alone, without any other sign that something changed."""
    keeping.put(HV2, csum=False)
    keeping.step(SLOW_S)
    assert "false" == keeping.options()["hv2@10.0.0.2"]["csum"]

    keeping.put(HV2, csum=None)
    keeping.step(SLOW_S)
    assert "csum" not in keeping.options()["hv2@10.0.0.2"]

    keeping.put(replace(HV2, out_port=7081))
    keeping.step(SLOW_S)
    assert "7081" == keeping.options()["hv2@10.0.0.2"]["dst_port"]

    keeping.configure(**{"ovn-encap-tos": "inherit", "ovn-encap-df_default": "false"})
    keeping.step(SLOW_S)
    assert {("inherit", "false")} == {
        (options["tos"], options["df_default"]) for options in keeping.options().values()
    }

    keeping.sb_global = (True, {})
    keeping.step(SLOW_S)
    assert {"hv2", "hv3"} == {options["remote_name"] for options in keeping.options().values()}

    keeping.sb_global = (True, {"ipsec_encapsulation": "true"})
    keeping.step(SLOW_S)
    assert {"yes"} == {one["ipsec_encapsulation"] for one in keeping.options().values()}

    keeping.sb_global = CLEAR
    keeping.step(SLOW_S)
    assert not any("local_ip" in options for options in keeping.options().values())
    keeping.machine.external_ids(**{"ovn-set-local-ip": "true"})
    settle(keeping.session)
    keeping.step(SLOW_S)
    assert {"10.0.0.1"} == {options["local_ip"] for options in keeping.options().values()}


def test_another_encap_of_our_own_makes_ports_name_theirs(keeping: Keeping) -> None:
    """They are more than one for an address then."""
    keeping.own("10.0.0.1", "10.1.0.1")
    keeping.step()
    assert {"10.0.0.1"} == {options["local_ip"] for options in keeping.options().values()}


def test_a_pair_that_went_takes_its_port_along(keeping: Keeping) -> None:
    """And one that came gets one; only once every pair has been looked at is one taken away."""
    keeping.drop(HV3)
    keeping.put(pair("hv4", "10.0.0.4"))
    keeping.agent.touch(conn_name(HV3))
    keeping.step()
    assert {"hv2@10.0.0.2", "hv3@10.0.0.3", "hv4@10.0.0.4"} == keeping.options().keys()
    assert "clear" == keeping.marks()["hv3@10.0.0.3"]
    assert keeping.now + PAUSE_S >= keeping.keeper.wake_at(keeping.now)

    keeping.agent.due(keeping.now, 100)
    keeping.step()
    assert {"hv2@10.0.0.2", "hv4@10.0.0.4"} == keeping.options().keys()


def test_while_the_southbound_is_not_known_nothing_is_touched(keeping: Keeping) -> None:
    """Nor while our own row is not there."""
    before = keeping.options()
    keeping.drop(HV3)
    keeping.put(HV2, csum=False)
    keeping.sb_global = None
    keeping.step()
    keeping.sb_global = CLEAR
    keeping.agent.world.put("hv1", None)
    keeping.step()
    assert before == keeping.options()
    keeping.own("10.0.0.1")
    keeping.step()
    assert {"hv2@10.0.0.2"} == keeping.options().keys()
    assert "false" == keeping.options()["hv2@10.0.0.2"]["csum"]


def test_what_another_writes_is_put_back_and_told_without_its_value(
    keeping: Keeping, capsys: pytest.CaptureFixture[str]
) -> None:
    """By row and not by name; what means the same stays as it is written."""
    keeping.machine.vsctl("set", "Interface", "ovn-hv2-0", "options:psk=hunter2")
    settle(keeping.session)
    keeping.step()
    assert "psk" not in keeping.options()["hv2@10.0.0.2"]
    out = capsys.readouterr().out
    assert "psk" in out
    assert "hunter2" not in out
    keeping.machine.vsctl("set", "Interface", "ovn-hv2-0", "options:dst_port=6081")
    settle(keeping.session)
    keeping.step()
    assert "6081" == keeping.options()["hv2@10.0.0.2"]["dst_port"]


def test_one_chassis_that_never_rests_costs_little_and_nobody_else_anything(
    keeping: Keeping,
) -> None:
    """Its port is written at its pace, however often its rows change; another one's at once."""
    seconds = 30
    for second in range(seconds):
        keeping.put(HV2, csum=bool(second % 2))
        keeping.step()
    assert 2 <= keeping.writes <= BURST + seconds / SLOW_S + 1

    keeping.put(HV3, csum=False)
    keeping.step()
    assert "false" == keeping.options()["hv3@10.0.0.3"]["csum"]

    keeping.put(HV2, csum=False)
    keeping.step()
    wake_at = keeping.keeper.wake_at(keeping.now)
    assert wake_at <= keeping.now + SLOW_S
    keeping.step(wake_at - keeping.now)
    assert "false" == keeping.options()["hv2@10.0.0.2"]["csum"], "the last word is written"


def test_marks_that_flap_are_written_at_a_pace(keeping: Keeping) -> None:
    """In adopt mode, too; repairs do not wait for them."""
    keeping.configure("adopt")
    seconds = 30
    for second in range(seconds):
        state = PairState.ENCRYPTED if second % 2 else PairState.BLOCKED
        keeping.put(HV2, state=state)
        keeping.step()
    assert 2 <= keeping.writes <= BURST + seconds / SLOW_S + 1
    keeping.put(HV3, state=PairState.ENCRYPTED)
    keeping.step()
    assert "encrypted" == keeping.marks()["hv3@10.0.0.3"]
    keeping.configure("own")
    keeping.put(HV2, csum=False)
    keeping.step()
    assert "false" == keeping.options()["hv2@10.0.0.2"]["csum"]


def test_what_the_database_refuses_is_tried_again(keeping: Keeping) -> None:
    """No row says that a write was refused: here a name that somebody took at the same time."""
    keeping.put(pair("hv4", "10.0.0.4"))
    keeping.now += PAUSE_S
    keeping.machine.vsctl("--no-wait", "add-port", "br-int", "ovn-hv4-0")
    keeping.keeper.reconcile(
        keeping.session, keeping.agent, keeping.here, keeping.sb_global, keeping.now
    )
    assert keeping.session.busy
    settle(keeping.session)
    assert "hv4@10.0.0.4" not in keeping.options()

    def may_write() -> bool:
        keeping.session.receive()
        return keeping.session.can_write

    until(may_write, "the session has waited after the refusal")
    keeping.step()
    assert "hv4@10.0.0.4" in keeping.options()


def test_with_nothing_new_nothing_wakes_and_nothing_is_written(keeping: Keeping) -> None:
    """But for the look whether ovn-controller runs; in adopt mode not even for that."""
    for _ in range(3):
        keeping.step(0.1)
    keeping.step()
    assert 0 == keeping.writes
    assert keeping.now + PAUSE_S < keeping.keeper.wake_at(keeping.now)
    keeping.configure("adopt")
    keeping.step()
    keeping.step()
    assert NEVER == keeping.keeper.wake_at(keeping.now)


def test_a_change_within_the_pause_is_seen_at_its_end(keeping: Keeping) -> None:
    """By one wake that nobody else has to raise."""
    keeping.step()
    keeping.put(HV2, csum=False)
    keeping.step(PAUSE_S / 4)
    assert "true" == keeping.options()["hv2@10.0.0.2"]["csum"]
    keeping.step(keeping.keeper.wake_at(keeping.now) - keeping.now)
    assert "false" == keeping.options()["hv2@10.0.0.2"]["csum"]


def test_a_new_database_is_read_anew(keeping: Keeping) -> None:
    """ovsdb-server restarted, and a port is gone meanwhile."""
    machine = keeping.machine
    server = machine.running.pop("ovsdb-server")
    server.terminate()
    server.wait(10)
    keeping.step()
    machine.start("ovsdb-server", f"--remote=p{machine.remote}", "conf.db", "sb.db")
    machine.vsctl("--no-wait", "del-port", "ovn-hv3-0")

    def back() -> bool:
        keeping.step()
        return keeping.session.connected and "hv3@10.0.0.3" in keeping.options()

    real.until(back, "the port made again")


def test_an_unclear_owner_is_told(keeping: Keeping) -> None:
    """Auto leaves the ports alone then, and says why; adopt and own need not know."""
    (keeping.machine.folder / "ovn-controller.pid").mkdir()
    keeping.configure("auto")
    keeping.step(60)
    assert not keeping.keeper.owns
    assert not keeping.keeper.makes_row
    assert "cannot be read" in keeping.keeper.doubt
    keeping.configure("own")
    keeping.step(60)
    assert keeping.keeper.owns
    assert keeping.keeper.makes_row
    assert "" == keeping.keeper.doubt


def test_for_the_stock_daemon_a_port_goes_by_the_state_of_its_pair(keeping: Keeping) -> None:
    """And not by the switch of the southbound, which turns before the phases do."""
    keeping.agent.abilities = Delegate.abilities
    keeping.put(HV2, state=PairState.PENDING)
    keeping.step(SLOW_S)
    names = {key: options.get("remote_name") for key, options in keeping.options().items()}
    assert names == {"hv2@10.0.0.2": "hv2", "hv3@10.0.0.3": None}
    assert "10.0.0.1" == keeping.options()["hv2@10.0.0.2"]["local_ip"]
    keeping.sb_global = (True, {})
    keeping.put(HV2, state=PairState.QUARANTINED)
    keeping.step(SLOW_S)
    assert not any("remote_name" in options for options in keeping.options().values())


def test_for_the_stock_daemon_a_port_names_the_certificate_that_is_pinned(
    keeping: Keeping,
) -> None:
    """One that is there to read; another one is named when the pair has ended, and the first goes.

    A file is written before a port names it, and deleted after.
    """
    agent, folder = keeping.agent, keeping.machine.folder / "pins"
    agent.abilities = Delegate.abilities
    agent.policy = replace(agent.policy, auth=(Auth.PINNED,))
    configs, (old, new) = agent.configs, (der(identity(name)[0]) for name in ("hv2", "hv3"))
    assert isinstance(configs, Configs)

    def named() -> list[bytes]:
        """What the port to hv2 names, as it can be read."""
        path = keeping.options()["hv2@10.0.0.2"].get("remote_cert")
        return [PEM_cert_to_DER_cert(Path(path).read_text())] if path else []

    keeping.put(HV2, HV3, state=PairState.PENDING)
    keeping.step(SLOW_S)
    assert not any("remote_name" in options for options in keeping.options().values())
    assert named() == []
    configs.put_pins("hv2", (old,))
    keeping.step(SLOW_S)
    assert named() == [old]
    assert "10.0.0.1" == keeping.options()["hv2@10.0.0.2"]["local_ip"]
    keeping.put(HV2, state=PairState.ENCRYPTED)
    configs.put_pins("hv2", (new, old))
    keeping.step(SLOW_S)
    assert named() == [old]
    keeping.put(HV2, state=PairState.BLOCKED)
    keeping.step(SLOW_S)
    assert named() == [new]
    keeping.put(HV2, state=PairState.ENCRYPTED)
    keeping.step(SLOW_S)
    assert named() == [new]
    assert len(list(folder.iterdir())) == 2
    configs.put_pins("hv2", (new,))
    keeping.step(SLOW_S)
    keeping.step(SLOW_S)
    assert [PEM_cert_to_DER_cert(path.read_text()) for path in folder.iterdir()] == [new]
    folder.chmod(0o755)
    configs.put_pins("hv2", (old,))
    keeping.step(SLOW_S)
    assert named() == [new]
    folder.chmod(0o700)
    keeping.step(SLOW_S)
    assert named() == [old]
    agent.policy = replace(agent.policy, auth=(Auth.CA,))
    keeping.step(SLOW_S)
    assert named() == []
    assert "hv2" == keeping.options()["hv2@10.0.0.2"]["remote_name"]
    keeping.step(SLOW_S)
    assert list(folder.iterdir()) == []
