# SPDX-License-Identifier: Apache-2.0
"""A cluster of any size in virtual time, of which some chassis run the real controller.

The real ones are those of the simulator: kernel, IKE daemon, disk, databases and the whole of
ovn-ipsec-controller. So is ovn-ipsec-northd. The others are played (played.py).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any
from uuid import UUID

from controller.outside import Outside, SouthboundAddress
from controller.plan.connection import IN, OUT, ConnName
from ovn_ipsec.model.chassis import IpAddress
from ovn_ipsec.model.policy import Phase
from tests.fakes.ovsdb import FakeSession, Op, Update
from tests.fakes.timeline import Timeline
from tests.simulation import logs, releases
from tests.simulation.agent import ControllerProgram
from tests.simulation.central import Central
from tests.simulation.charon import Charon, Child, Hello, Ike, Message, Offer, Welcome
from tests.simulation.credentials import Stock
from tests.simulation.engine import Process
from tests.simulation.host import Host
from tests.simulation.kernel import Packet, Sent
from tests.simulation.northd import NorthdProgram
from tests.simulation.wire import DELAY_S, Wire

from .costs import Costs
from .machine import BusyClock, BusyProcess, Processor, Unmetered, delayed
from .played import CHILDREN, Peer, Played

SPREAD_S = 0.02
"""Over which the southbound tells played chassis the same news."""
SETTLE_S = 10.0
"""From the start until the switch."""
PATIENCE_S = 3600.0
STEP_S = 0.01
NAMES = (OUT, IN)


def name_of(number: int) -> str:
    """The chassis with a number, in the order in which they initiate."""
    return f"ch{number:05d}"


def address_of(number: int) -> IpAddress:
    """Its address."""
    return ip_address(f"10.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}")


class Ikes(dict[int, Ike]):
    """IKE_SAs by number, found by their connection or their SPI at once."""

    def __init__(self) -> None:
        super().__init__()
        self.of_conn: dict[ConnName, dict[int, Ike]] = {}
        self.of_spi: dict[int, dict[int, Ike]] = {}

    def __setitem__(self, number: int, ike: Ike) -> None:
        super().__setitem__(number, ike)
        self.of_conn.setdefault(ike.conn, {})[number] = ike
        self.of_spi.setdefault(ike.spi, {})[number] = ike

    def pop(self, number: int, *default: Any) -> Any:
        """Take one out."""
        ike = super().pop(number, *default)
        if isinstance(ike, Ike):
            del self.of_conn[ike.conn][number]
            del self.of_spi[ike.spi][number]
        return ike


class BusyCharon(Charon):
    """An IKE daemon that has one processor."""

    def __init__(self, host: ChassisHost, cluster: Cluster) -> None:
        super().__init__(
            cluster.timeline, host.kernel, partial(cluster.wire.send), cluster.take_number
        )
        self._host, self._cluster = host, cluster
        self.ikes = Ikes()
        self.processor = Processor(cluster.timeline)
        self._known: set[tuple[int, int, bool]] = set()
        """Messages that it has made or taken in."""

    def _post(self, ike: Ike, message: Message) -> None:
        """See Charon: a request leaves when it has been made, again at once."""
        cost_s = self._cost_s(message, self._cluster.costs.initiator_s / (2 * CHILDREN))
        post = partial(super()._post, ike, message)
        self._timeline.after(self._host.process.lag_s, partial(self.processor.job, cost_s, post))

    def receive(self, here: IpAddress, there: IpAddress, message: Message) -> None:
        """See Charon; it takes a message in when its turn has come."""
        costs = self._cluster.costs
        whole_s = costs.responder_s / CHILDREN
        whole_s = costs.initiator_s / (2 * CHILDREN) if message.answer else whole_s
        cost_s = self._cost_s(message, whole_s)
        self.processor.job(cost_s, partial(super().receive, here, there, message))

    def _cost_s(self, message: Message, whole_s: float) -> float:
        """What it costs to make a message or to take it in: nothing if that is a repetition."""
        key = (message.spi, message.mid, message.answer)
        known = key in self._known
        self._known.add(key)
        return 0.0 if known or message.kind not in ("hello", "child") else whole_s

    def _find(self, here: IpAddress, there: IpAddress, spi: int) -> Ike | None:
        found = self.ikes.of_spi.get(spi, {}).values()
        return next((one for one in found if (one.local, one.remote) == (here, there)), None)

    def _set_up(self, ike: Ike, child: Child, *, outward: bool) -> None:
        super()._set_up(ike, child, outward=outward)
        self._cluster.note_sa()

    def seen_of(self, conn: ConnName) -> tuple[Any, ...]:
        """The IKE_SAs of one connection."""
        found = self.ikes.of_conn.get(conn, {})
        return tuple(self._shown(ike) for _, ike in sorted(found.items()))


class _OneByOne(dict[ConnName, tuple[Any, ...]]):
    """What is asked of a daemon for one connection, without a look at the others."""

    def __init__(self, charon: BusyCharon) -> None:
        super().__init__()
        self._charon = charon

    def get(self, conn: ConnName, _default: Any = ()) -> Any:
        """Its IKE_SAs."""
        return self._charon.seen_of(conn)


class _Narrow:
    """A daemon of which one connection is asked for."""

    def __init__(self, charon: BusyCharon) -> None:
        self._charon = charon

    def __getattr__(self, name: str) -> Any:
        return getattr(self._charon, name)

    def seen(self) -> _OneByOne:
        """See Charon."""
        return _OneByOne(self._charon)


class ChassisHost(Host):
    """A host of the simulator that runs the real controller, with processors."""

    process: BusyProcess

    def __init__(self, cluster: Cluster, number: int) -> None:
        folder = cluster.folder / name_of(number)
        folder.mkdir()
        super().__init__(
            cluster.timeline,
            cluster.central,
            cluster.wire,
            0,
            folder=folder,
            take_number=cluster.take_number,
        )
        self.name = self.chassis = name_of(number)
        self.ip = address_of(number)
        self.set_local(system_id=self.name, ovn_encap_ip=str(self.ip))
        self.stock = Stock(self.name)
        self.busy = BusyCharon(self, cluster)
        self.charon = self.busy
        self.process = BusyProcess(
            cluster.timeline,
            self.name,
            lambda process: MeteredController(process, self, cluster),
            cluster.costs,
            self.busy.processor,
        )
        self.process.count_sas = lambda: len(self.busy.ikes)
        self.controller = self.process
        self.clock = BusyClock(cluster.timeline, self.process)
        self._faces: dict[str, Face] = {}

    def face(self, cluster: Cluster) -> Face:
        """As played chassis see it."""
        return self._faces.setdefault("", Face(self, cluster))


class MeteredController(ControllerProgram):
    """A real controller, whose own CPU time is told from that of what is simulated around it."""

    def __init__(self, process: Process, host: ChassisHost, cluster: Cluster) -> None:
        self._chassis, self._cluster = host, cluster
        super().__init__(process, host)

    def _outside(self) -> Outside:
        found, watch = super()._outside(), self._chassis.process.watch

        def ike(uri: Any) -> Any:
            backend: Any = found.ike(uri)
            inner = _observing(backend, self._chassis.busy)
            return Unmetered(inner, watch)

        values = {name: getattr(found, name) for name in found.__slots__}
        values |= {
            "ike": ike,
            "layers": tuple(Unmetered(layer, watch) for layer in found.layers),
            "kernel": Unmetered(found.kernel, watch),
            "knock": Unmetered(_Knocks(found.knock), watch).knock,
        }
        return Outside(**values)

    def _southbound(self, address: SouthboundAddress) -> FakeSession:
        session = super()._southbound(address)
        delayed(session, self._chassis.process, self._cluster.server, self._cluster.costs)
        return session


@dataclass(frozen=True, slots=True)
class _Knocks:
    knock: Callable[..., Any]


def _observing(backend: Any, charon: BusyCharon) -> Any:
    """Let a backend read one connection without a look at all others."""
    narrow, read = _Narrow(charon), backend.observe_sas

    def observe_sas(conn: ConnName) -> Any:
        backend._charon = narrow
        try:
            return read(conn)
        finally:
            backend._charon = charon

    backend.observe_sas = observe_sas
    return backend


class Face:
    """A chassis that runs the real controller, as a played one sees it."""

    def __init__(self, host: ChassisHost, cluster: Cluster) -> None:
        self._host, self._cluster = host, cluster
        self._requests: dict[tuple[str, int], Message] = {}
        """Of this chassis, by the played one that has to answer, and the child."""
        self._asked: set[tuple[int, int]] = set()
        """Requests that have come, so that a repetition is told from another one."""
        self._spis: dict[str, tuple[int, int]] = {}
        """Of the IKE_SA with a played chassis, and its next message."""

    def note(self, played: Played, message: Message) -> None:
        """A message of this chassis has reached a played one."""
        if message.answer:
            played.answered(self, 0 if message.kind == "hello" else 1)
        elif message.kind in ("hello", "child"):
            child, key = 0 if message.kind == "hello" else 1, (message.spi, message.mid)
            if key not in self._asked:
                self._asked.add(key)
                self._requests[played.name, child] = message
                played.asked(self, child)
        else:
            self._receive(played, Message(message.spi, message.mid, True, message.kind, None))

    def asked(self, by: Played, child: int) -> None:
        """See Peer: a played chassis initiates, as the daemon of a real one would."""
        config = next(one for one in self._host.charon.conns.values() if one.remote_id == by.name)
        take, pair = self._cluster.take_number, config.pair
        port = pair.in_port if child == 0 else pair.out_port
        offer = Offer(NAMES[child], config.esp_proposals, port, take())
        if child == 0:
            hello = Hello(
                local_id=by.name,
                remote_id=self._host.name,
                proposals=config.ike_proposals,
                proof=config.proofs[0],
                offer=offer,
            )
            self._spis[by.name] = (take(), 1)
            self._receive(by, Message(self._spis[by.name][0], 1, False, "hello", hello))
        else:
            self._receive(by, Message(self._spis[by.name][0], 2, False, "child", offer))

    def answered(self, by: Played, child: int) -> None:
        """See Peer."""
        request = self._requests.pop((by.name, child))
        body: Any = request.body
        asked = body.offer if child == 0 else body
        name = OUT if asked.name == IN else IN
        given = Offer(name, asked.proposals[:1], asked.port, self._cluster.take_number())
        answer = Welcome(body.remote_id, body.proof, given) if child == 0 else given
        self._receive(by, Message(request.spi, request.mid, True, request.kind, answer))

    def hears(self, by: Played) -> None:
        """See Peer."""
        address, heard = self._cluster.address(by), self._host.kernel.heard
        for ike in self._host.charon.ikes.values():
            if ike.remote == address:
                heard.update({one.spi_in: 1 for one in ike.up(IN)})

    def _receive(self, by: Played, message: Message) -> None:
        self._host.charon.receive(self._host.ip, self._cluster.address(by), message)


class Lines(Wire):
    """Between all chassis: messages, and the datagrams that tell of ESP; no other traffic."""

    def __init__(self, timeline: Timeline, cluster: Cluster) -> None:
        super().__init__(timeline, Random(0))
        self._cluster = cluster

    def changed(self, host: Any) -> None:
        """Nobody looks at packets."""

    def send(self, src: IpAddress, dst: IpAddress, message: Message) -> None:
        """See Wire."""
        self._timeline.after(DELAY_S, partial(self._deliver, src, dst, message))

    def _deliver(self, src: IpAddress, dst: IpAddress, message: Message) -> None:
        cluster = self._cluster
        host = cluster.hosts.get(dst)
        if host is not None:
            host.charon.receive(dst, src, message)
        else:
            cluster.hosts[src].face(cluster).note(cluster.played[dst], message)

    def knock(self, host: Any, there: IpAddress) -> None:
        """See Wire."""
        packet = host.kernel.send(host.ip, there, host.port)
        if packet.sent is Sent.ESP:
            delay_s = host.process.lag_s + DELAY_S
            self._timeline.after(delay_s, partial(self._hear, host, there, packet))

    def _hear(self, host: ChassisHost, there: IpAddress, packet: Packet) -> None:
        cluster = self._cluster
        other = cluster.hosts.get(there)
        if other is None:
            cluster.played[there].hears(host.face(cluster))
        elif other.kernel.receive(packet, there, host.ip, other.port):
            other.kernel.heard[packet.spi] = other.kernel.heard.get(packet.spi, 0) + 1


@dataclass(slots=True)
class Times:
    """Seconds of virtual time from the switch on, by what was reached."""

    prepare: float = 0.0
    """The southbound has the policy of the first phase."""
    establish: float = 0.0
    """Every chassis has followed."""
    first_sa: float = 0.0
    last_sa: float = 0.0
    """Every CHILD_SA is there, at both ends."""
    enforce: float = 0.0
    """Every chassis has reported that its pairs are encrypted."""
    enforced: float = 0.0
    """Every chassis denies clear text, and the northbound says so."""
    prepare_cpu_s: float = 0.0
    """Of all controllers in ``prepare``."""
    cpu_s: float = 0.0
    """Of all controllers until ``enforced``."""


class Cluster:
    """All of it."""

    def __init__(self, count: int, real: Iterable[int], costs: Costs) -> None:
        """Build it, switched off.

        Args:
            count: Number of chassis.
            real: Numbers of those that run the real controller; the first one initiates all pairs.
            costs: What operations take.
        """
        releases.install()
        self.costs, self.count = costs, count
        self.timeline = Timeline()
        self.random = Random(count)
        self.folder = Path(tempfile.mkdtemp(prefix="ovn-ipsec-switch-", dir=_memory()))
        self.central = Central(self.timeline, Random(1))
        self.server = Processor(self.timeline)
        self.wire = Lines(self.timeline, self)
        self._number = 0x1000
        self.hosts: dict[IpAddress, ChassisHost] = {}
        self.played: dict[IpAddress, Played] = {}
        self._addresses: dict[str, IpAddress] = {}
        self._order: list[Any] = []
        self._rows: dict[str, UUID] = {}
        self._written: list[Op] = []
        self.times = Times()
        self._began, self._cpu_before_s = float("inf"), 0.0
        self._policy = (0, Phase.OFF)
        self.northd = BusyProcess(self.timeline, "northd1", self._northd, costs)
        self.northd.start()
        self._join(frozenset(real))
        self.central.sb.watch.append(self._watch)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _northd(self, process: Process) -> NorthdProgram:
        assert isinstance(process, BusyProcess)
        program = NorthdProgram(process, self.central, BusyClock(self.timeline, process))
        for session in (program.nb, program.sb):
            delayed(session, process, Processor(self.timeline), Costs())
        return program

    def _join(self, real: frozenset[int]) -> None:
        rows: list[Op] = []
        for number in range(self.count):
            name, address = name_of(number), address_of(number)
            self._addresses[name] = address
            if number in real:
                host = ChassisHost(self, number)
                self.hosts[address] = host
                self._order.append(host)
                host.boot()
                continue
            played = Played(self, name, self.count - 1)
            self.played[address] = played
            self._order.append(played)
            rows += self._chassis_rows(name, address)
        if rows:
            self.central.sb.transact(rows)

    def _chassis_rows(self, name: str, address: IpAddress) -> Iterator[Op]:
        encap, chassis, private = (UUID(int=self.random.getrandbits(128)) for _ in range(3))
        tunnel = {"type": "geneve", "ip": str(address), "chassis_name": name}
        yield Op("insert", "Encap", encap, {**tunnel, "options": {"csum": "true"}})
        yield Op("insert", "Chassis", chassis, {"name": name, "hostname": name, "encaps": [encap]})
        yield Op("insert", "Chassis_Private", private, {"name": name, "chassis": [chassis]})
        self._rows[name] = private

    def take_number(self) -> int:
        """An SPI that nobody else has."""
        self._number += 1
        return self._number

    def address(self, played: Played) -> IpAddress:
        """Of a played chassis."""
        return self._addresses[played.name]

    def after(self, played: Played) -> list[Peer]:
        """Those towards which a played chassis initiates, the last one first."""
        later = self._order[self._order.index(played) + 1 :]
        return [one if isinstance(one, Played) else one.face(self) for one in reversed(later)]

    def carry(self, arrive: Callable[[], None]) -> None:
        """Let something arrive at another chassis."""
        self.timeline.after(DELAY_S, arrive)

    def write(self, name: str, keys: dict[str, str]) -> None:
        """A played chassis reports."""
        op = Op("update", "Chassis_Private", self._rows[name], {"external_ids": keys})
        self._written.append(op)
        if len(self._written) == 1:
            self.carry(self._flush)

    def _flush(self) -> None:
        """Hand all that was written in one round trip to the southbound at once."""
        ops, self._written = self._written, []
        cost_s = self.costs.transaction_s * len(ops)
        self.server.job(cost_s, lambda: self.central.sb.transact(ops))

    # --- the switch ------------------------------------------------------------------------------

    def _watch(self, update: Update) -> None:
        for table, _, _, new in update:
            if table == "SB_Global" and new is not None:
                self._tell(new["external_ids"])

    def _tell(self, keys: dict[str, str]) -> None:
        phase = Phase(keys.get("ovn-ipsec-phase", "off"))
        generation = int(keys.get("ovn-ipsec-generation", "0"))
        if (generation, phase) == self._policy:
            return
        self._policy = (generation, phase)
        passed = self.timeline.now - self._began
        if phase in (Phase.PREPARE, Phase.ESTABLISH, Phase.ENFORCE):
            setattr(self.times, phase.value, passed)
        if phase is Phase.ESTABLISH:
            self.times.prepare_cpu_s = self._cpu_s()
        for played in self.played.values():
            self.timeline.after(
                self.random.uniform(0.002, SPREAD_S), partial(played.follow, generation, phase)
            )

    def note_sa(self) -> None:
        """A CHILD_SA is there at one end."""
        passed = self.timeline.now - self._began
        self.times.first_sa = self.times.first_sa or passed
        self.times.last_sa = passed

    def switch_on(self) -> Times:
        """Switch encryption on, and wait until it is enforced.

        Raises:
            TimeoutError: It never was.
        """
        logs.capture()
        for played in self.played.values():
            played.follow(0, Phase.OFF)
            played._report()
        self.timeline.run(SETTLE_S)
        self._began = self.timeline.now
        self._cpu_before_s = self._cpu_s()
        self.central.switch(True)
        while self.central.state() != "enforced":
            self.timeline.run(STEP_S)
            if self.timeline.now > self._began + PATIENCE_S:
                raise TimeoutError(f"{self.central.state()}: {self.times}")
        self.times.enforced = self.timeline.now - self._began
        self.times.cpu_s = self._cpu_s()
        return self.times

    def _cpu_s(self) -> float:
        """What all controllers have used since the switch."""
        return sum(host.process.cpu_s for host in self.hosts.values()) - self._cpu_before_s


def _memory() -> str | None:
    folder = Path("/dev/shm")
    return str(folder) if folder.is_dir() else None
