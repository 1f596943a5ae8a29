# SPDX-License-Identifier: Apache-2.0
"""Tunnel ports made here and by a real ovn-controller are the same ports."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

from controller.plan.ports.tunnels import (
    Mark,
    NewPort,
    PortPlan,
    PortSettings,
    SeenPorts,
    marks,
    plan_ports,
    wanted_ports,
)
from controller.ports import ovsdb as edge
from ovn_ipsec.errors import OvsdbError
from ovn_ipsec.lab.cluster import upcalls
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.chassis import DEFAULT_PORT, ChassisName, EncapType, Pair
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.status import PairState
from ovn_ipsec.ovsdb.schemas import VSWITCH
from ovn_ipsec.ovsdb.session import Session

OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
SB_SCHEMA = Path("/usr/share/ovn/ovn-sb.ovsschema")
PROGRAMS = (
    "ovsdb-tool",
    "ovsdb-server",
    "ovs-vswitchd",
    "ovs-vsctl",
    "ovn-controller",
    "ovn-sbctl",
)
MISSING = [p for p in PROGRAMS if shutil.which(p) is None]
MISSING += [str(s) for s in (OVS_SCHEMA, SB_SCHEMA) if not s.exists()]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

LOCAL = "10.0.0.1"
Rows = dict[str, tuple[str, str, str]]
"""Port name to UUIDs of its Port and its Interface, and ofport."""


def until(predicate: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Poll until it is true."""
    end = time.monotonic() + stretched(timeout_s)
    while not predicate():
        assert time.monotonic() < end, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.05)


class Machine:
    """A chassis in one folder: OVS on the dummy datapath, a southbound, perhaps ovn-controller."""

    def __init__(self, folder: Path) -> None:
        """Remember where; nothing runs yet."""
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        kinds = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        places = [*kinds, *(kind.replace("OVS", "OVN") for kind in kinds)]
        self.env = {**os.environ, **dict.fromkeys(places, str(folder))}
        self.remote = f"unix:{folder}/db.sock"

    def run(self, *argv: str) -> str:
        """Run a program to its end and return its output."""
        done = subprocess.run(
            argv, env=self.env, check=True, capture_output=True, text=True, timeout=stretched(60)
        )
        return done.stdout.strip()

    def start(self, name: str, *arguments: str) -> None:
        """Start a daemon in the foreground."""
        argv = [name, *arguments, f"--pidfile={self.folder}/{name}.pid"]
        output = self.folder / f"{name}.out"
        with output.open("ab") as out:
            process = subprocess.Popen(argv, env=self.env, cwd=self.folder, stdout=out, stderr=out)
        self.running[name] = process

        def up() -> bool:
            assert process.poll() is None, output.read_text(errors="replace")[-500:]
            return self.control(name, process.pid).exists()

        until(up, f"{name} is up")

    def control(self, name: str, pid: int) -> Path:
        """Where a daemon takes commands."""
        return self.folder / f"{name}.{pid}.ctl"

    def build(self) -> None:
        """Start everything but ovn-controller, with br-int."""
        for file, schema in (("conf.db", OVS_SCHEMA), ("sb.db", SB_SCHEMA)):
            self.run("ovsdb-tool", "create", str(self.folder / file), str(schema))
        self.start("ovsdb-server", f"--remote=p{self.remote}", "conf.db", "sb.db")
        self.vsctl("--no-wait", "init")
        self.sbctl("init")
        ids = {"system-id": "hv1", "ovn-encap-type": "geneve", "ovn-encap-ip": LOCAL}
        self.external_ids(**{**ids, "ovn-remote": self.remote})
        upcalls.wait_until_counted()
        self.start("ovs-vswitchd", self.remote, "--enable-dummy=override", "--disable-system")
        self.vsctl("add-br", "br-int", "--", "set-fail-mode", "br-int", "secure")

    def vsctl(self, *argv: str) -> str:
        """Run ovs-vsctl."""
        return self.run("ovs-vsctl", f"--db={self.remote}", "--timeout=60", *argv)

    def sbctl(self, *argv: str) -> str:
        """Run ovn-sbctl."""
        return self.run("ovn-sbctl", f"--db={self.remote}", "--timeout=60", *argv)

    def external_ids(self, **values: str) -> None:
        """Set keys of Open_vSwitch.external_ids."""
        settings = [f"external_ids:{key}={value}" for key, value in values.items()]
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", *settings)

    def start_controller(self) -> None:
        """Start ovn-controller and wait until it has made its Chassis row and a first round."""
        self.start("ovn-controller", self.remote)
        until(lambda: "hv1" in self.sbctl("--bare", "--columns=name", "list", "chassis"), "hv1")

    def stop_controller(self) -> None:
        """End ovn-controller as for an upgrade: its ports stay."""
        process = self.running.pop("ovn-controller")
        control = self.control("ovn-controller", process.pid)
        self.run("ovn-appctl", "-t", str(control), "exit", "--restart")
        process.wait(10)

    def rows(self) -> Rows:
        """Look at the tunnel ports as anybody can."""
        names = self.vsctl("list-ports", "br-int").split()
        found: Rows = {}
        for name in (n for n in names if n.startswith("ovn-")):
            port = self.vsctl("get", "Port", name, "_uuid")
            interface = self.vsctl("get", "Interface", name, "_uuid")
            found[name] = port, interface, self.vsctl("get", "Interface", name, "ofport")
        return found

    def close(self) -> None:
        """End what start() started."""
        for process in reversed(self.running.values()):
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A chassis hv1 without ovn-controller, in a folder short enough for socket names."""
    made = Machine(tmp_path_factory.mktemp("t"))
    try:
        made.build()
        yield made
    finally:
        made.close()


@pytest.fixture
def session(machine: Machine) -> Iterator[Session]:
    """A session on its local database."""
    made = Session(machine.remote, VSWITCH)
    made.open()
    settle(made)
    yield made
    made.close()


def settle(session: Session) -> None:
    """Let the session take in everything, its own write too."""

    def done() -> bool:
        session.receive()
        return session.loaded and not session.busy

    until(done, "session settled")
    for _ in range(6):
        time.sleep(0.05)
        session.receive()


def seen(session: Session) -> SeenPorts:
    """Observe after settling."""
    settle(session)
    match edge.observe(session, "br-int"):
        case Known(ports):
            return ports
        case Unknown(reason):
            pytest.fail(reason)


def apply(session: Session, plan: PortPlan | None, changes: Sequence[Mark] = ()) -> None:
    """Apply and insist on success."""
    edge.apply(session, plan, changes)
    settle(session)
    assert session.failure() is None


def pair(peer: str, remote: str, port: int = 6081) -> Pair:
    """A geneve pair of hv1."""
    return Pair(
        peer=ChassisName(peer),
        type=EncapType.GENEVE,
        local=ip_address(LOCAL),
        remote=ip_address(remote),
        out_port=port,
        in_port=6081,
    )


PAIRS = (
    (pair("hypervisor2", "10.0.0.2"), True),
    (pair("hypervisor3", "10.0.0.3"), False),
    (pair("hv4", "10.0.0.4"), None),
    (pair("hv5", "10.0.0.5", 7081), True),
    (pair("hv5", "fd00::5", 6081), True),
)


def settings_of(case: str) -> PortSettings:
    """The settings of each case."""
    return {
        "clear": PortSettings(ipsec=False),
        "ipsec": PortSettings(ipsec=True),
        "everything": PortSettings(
            ipsec=True,
            sb_options={"ipsec_encapsulation": "true", "ipsec_forceencaps": "true"},
            tos="inherit",
            df_default="false",
        ),
    }[case]


CASES = ("clear", "ipsec", "everything")


def tell_ovn(machine: Machine, settings: PortSettings) -> None:
    """Put pairs and settings where ovn-controller reads them."""
    for some, csum in PAIRS:
        if "fd00" in str(some.remote):
            continue
        options = {} if csum is None else {"csum": str(csum).lower()}
        if some.out_port != DEFAULT_PORT[some.type]:
            options["dst_port"] = str(some.out_port)
        words = [f"options:{key}={value}" for key, value in options.items()]
        machine.sbctl("chassis-add", some.peer, "geneve", str(some.remote))
        uuid = machine.sbctl("--bare", "--columns=_uuid", "find", "encap", f"ip={some.remote}")
        machine.sbctl("clear", "encap", uuid, "options")
        machine.sbctl(*(["set", "encap", uuid, *words] if words else ["show"]))
    v6 = ("type=geneve", 'ip="fd00::5"', "chassis_name=hv5", "options:csum=true")
    machine.sbctl(
        *("--id=@e", "create", "encap", *v6, "--", "add", "chassis", "hv5", "encaps", "@e")
    )
    machine.sbctl("set", "SB_Global", ".", f"ipsec={str(settings.ipsec).lower()}")
    for key, value in settings.sb_options.items():
        machine.sbctl("set", "SB_Global", ".", f"options:{key}={value}")
    if settings.tos != "none":
        machine.external_ids(
            **{"ovn-encap-tos": settings.tos, "ovn-encap-df_default": settings.df_default}
        )


@pytest.mark.parametrize("case", CASES)
def test_ovn_controller_adopts_our_ports(machine: Machine, session: Session, case: str) -> None:
    """It starts, and neither rows nor names nor OpenFlow ports change."""
    settings = settings_of(case)
    tell_ovn(machine, settings)
    plan = plan_ports(wanted_ports(PAIRS, settings), seen(session))
    assert len(PAIRS) == len(plan.create)
    apply(session, plan)
    until(lambda: all(row[2].isdigit() for row in machine.rows().values()), "all have an ofport")
    before = machine.rows()

    machine.start_controller()
    machine.sbctl("chassis-add", "hv9", "geneve", "10.0.0.9")
    until(lambda: "ovn-hv9-0" in machine.rows(), "ovn-controller has made its own port")

    after = machine.rows()
    assert before == {name: after[name] for name in before}
    assert len(before) + 1 == len(after)


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_to_do_after_ovn_controller(
    machine: Machine, session: Session, case: str
) -> None:
    """Its ports are what our plan wants, when it stops for a restart."""
    settings = settings_of(case)
    tell_ovn(machine, settings)
    machine.start_controller()
    until(lambda: len(machine.rows()) == len(PAIRS), "ovn-controller made all ports")
    machine.stop_controller()

    assert PortPlan(bridge="br-int") == plan_ports(wanted_ports(PAIRS, settings), seen(session))


def test_ports_are_repaired_in_place_and_deleted(machine: Machine, session: Session) -> None:
    """A repair keeps rows and OpenFlow port; only what has an ovn-chassis-id is deleted."""
    clear, ipsec = PortSettings(ipsec=False), PortSettings(ipsec=True)
    apply(session, plan_ports(wanted_ports(PAIRS, clear), seen(session)))
    machine.vsctl("add-port", "br-int", "theirs")
    before = machine.rows()
    plan = plan_ports(wanted_ports(PAIRS[:2], ipsec), seen(session))
    assert (0, 2, 3) == (len(plan.create), len(plan.repair), len(plan.delete))

    apply(session, plan)

    after = machine.rows()
    assert {"ovn-hyperv-0", "ovn-hyperv-1"} == set(after)
    assert {name: before[name] for name in after} == after
    assert "theirs" in machine.vsctl("list-ports", "br-int")
    assert plan_ports(wanted_ports(PAIRS[:2], ipsec), seen(session)).is_empty


def test_a_port_without_its_one_interface_gets_it(machine: Machine, session: Session) -> None:
    """A bond in place of a tunnel becomes a tunnel, under its name."""
    machine.vsctl("add-bond", "br-int", "odd", "one", "two")
    machine.vsctl("set", "Port", "odd", "external_ids:ovn-chassis-id=hv4@10.0.0.4")
    wanted = wanted_ports([PAIRS[2]], PortSettings(ipsec=True))
    apply(session, plan_ports(wanted, seen(session)))

    assert "odd" == machine.vsctl("list-ports", "br-int")
    assert plan_ports(wanted, seen(session)).is_empty


def test_marks_are_written_beside_foreign_keys(machine: Machine, session: Session) -> None:
    """A mark comes, changes and goes; nothing else does, and nothing is written twice."""
    wanted = wanted_ports(PAIRS[:1], PortSettings(ipsec=False))
    apply(session, plan_ports(wanted, seen(session)))
    for state in (PairState.PENDING, PairState.ENCRYPTED, None):
        states = {} if state is None else {PAIRS[0][0]: state}
        changes = marks(seen(session), states)
        assert 1 == len(changes)
        apply(session, None, changes)
        assert () == marks(seen(session), states)
        text = machine.vsctl("get", "Port", "ovn-hyperv-0", "external_ids")
        assert 'ovn-chassis-id="hypervisor2@10.0.0.2"' in text
        assert (f"ovn-ipsec={state}" in text) == (state is not None)


def test_ovn_controller_leaves_marks_alone(machine: Machine, session: Session) -> None:
    """In adopt mode a mark costs ovn-controller's port nothing."""
    settings = PortSettings(ipsec=True)
    tell_ovn(machine, settings)
    machine.start_controller()
    until(lambda: len(machine.rows()) == len(PAIRS), "ovn-controller made all ports")
    before = machine.rows()
    states = dict.fromkeys((some for some, _ in PAIRS), PairState.BLOCKED)
    apply(session, None, marks(seen(session), states))
    machine.sbctl("chassis-add", "hv9", "geneve", "10.0.0.9")
    until(lambda: "ovn-hv9-0" in machine.rows(), "ovn-controller has run again")

    after = machine.rows()
    assert before == {name: after[name] for name in before}
    assert () == marks(seen(session), states)


def test_rows_that_have_gone_are_passed_over(machine: Machine, session: Session) -> None:
    """A stale plan and stale marks do what is still possible."""
    wanted = wanted_ports(PAIRS, PortSettings(ipsec=False))
    apply(session, plan_ports(wanted, seen(session)))
    old = seen(session)
    stale = plan_ports(wanted_ports(PAIRS[:1], PortSettings(ipsec=True)), old)
    for port in old.ports:
        machine.vsctl("del-port", port.name)
    settle(session)
    apply(session, stale, marks(old, {PAIRS[0][0]: PairState.CLEAR}))

    assert {} == machine.rows()


def test_nothing_is_sent_without_changes(session: Session) -> None:
    """An empty plan makes no transaction."""
    edge.apply(session, PortPlan(bridge="br-int"))
    assert not session.busy


def test_a_bridge_that_is_not_there_is_unknown(machine: Machine, session: Session) -> None:
    """Without the bridge nothing is concluded, and nothing can be applied."""
    assert isinstance(edge.observe(session, "br-none"), Unknown)
    (wanted,) = wanted_ports(PAIRS[:1], PortSettings(ipsec=False))
    plan = PortPlan(bridge="br-none", create=(NewPort(name="ovn-x-0", wanted=wanted),))
    with pytest.raises(OvsdbError, match="br-none"):
        edge.apply(session, plan)
    closed = Session(machine.remote, VSWITCH)
    closed.open()
    assert isinstance(edge.observe(closed, "br-int"), Unknown)
    closed.close()
