# SPDX-License-Identifier: Apache-2.0
"""A simulated strongSwan: negotiates with others over a wire that delays and loses messages.

As facts/ike.md tells of the real one: the responder installs a child first, then the initiator; a
request is repeated at growing intervals until its answer comes or 165 s are over; a connection
that is replaced leaves its SAs and traps as they are; an IKE_SA is used again where its settings
are equal; a killed daemon leaves its SAs and policies in the kernel, one that is stopped takes them
along; a trap that a packet hits makes the daemon initiate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from cryptography import x509

from controller.ike.backend import Events
from controller.plan.connection import (
    CHILDREN,
    OUT,
    SUITES,
    Abilities,
    ChildSa,
    ConnConfig,
    ConnName,
    DaemonSeen,
    IkeSa,
)
from controller.plan.credentials.credential import Credential, Secret
from controller.plan.credentials.proof import Proof
from controller.plan.credentials.suitability import unknown_critical
from controller.plan.guard import Direction
from ovn_ipsec.errors import IkeError
from ovn_ipsec.model.chassis import IpAddress
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.policy import Auth, Profile
from tests.fakes.ike import FakeIke
from tests.fakes.timeline import Timeline

from .kernel import Entry, Flow, Kernel

RETRANSMIT_S = (4.0, 7.2, 13.0, 23.3, 42.0, 75.6)
"""Between the sendings of one request (strongswan.conf, retransmit_*)."""
DPD_S = 30.0
KEPT_S = 5.0
"""How long a replaced inbound SA waits for late packets (delete_rekeyed_delay)."""
ACQUIRE_S = 30.0
"""Between two packets that a trap reports (net.core.xfrm_acq_expires)."""
DEADLINE_S = 10.0
"""How long a call waits for a daemon that hangs (controller/ike/transport.py)."""
OTHER = {"in": "out", "out": "in"}
LIVE = ("INSTALLED", "REKEYING")


@dataclass(slots=True, eq=False)
class Child:
    """A CHILD_SA."""

    name: str
    id: int
    config: ConnConfig
    spi_in: int
    spi_out: int = 0
    state: str = "CREATED"
    born: float = 0.0
    outward: bool = False
    """Whether packets leave over it."""

    @property
    def reqid(self) -> int:
        """Static, as its configuration says."""
        return self.config.reqid_out if self.name == OUT else self.config.reqid_in

    @property
    def key(self) -> tuple[object, ...]:
        """What sets it apart from another child of its name."""
        tuning = self.config.tuning
        life = (tuning.replay_window, tuning.esp_lifetime_s)
        flow = _flow(self.config, self.name)
        return (self.name, flow, self.config.esp_proposals, self.reqid, life)


@dataclass(slots=True)
class Task:
    """A request that waits for its turn, or for its answer."""

    kind: str
    body: object
    done: Callable[[object], None]
    mid: int = 0
    tries: int = 0


@dataclass(slots=True, eq=False)
class Ike:
    """An IKE_SA."""

    conn: ConnName
    id: int
    config: ConnConfig
    """As it was when it came, with the one way that it authenticated in."""
    local: IpAddress
    remote: IpAddress
    initiator: bool
    spi: int
    """The initiator's, by which both ends know it."""
    state: str = "CONNECTING"
    remote_id: str = ""
    born: float = 0.0
    children: list[Child] = field(default_factory=list)
    tasks: deque[Task] = field(default_factory=deque)
    active: Task | None = None
    mid: int = 0
    answered: tuple[int, object] = (-1, None)
    heard: float = 0.0

    @property
    def auth(self) -> Auth:
        """How both ends have authenticated."""
        return self.config.proofs[0].auth

    def up(self, name: str) -> Iterator[Child]:
        """Children of a name that carry traffic."""
        return (c for c in self.children if c.name == name and c.state in LIVE)


@dataclass(frozen=True, slots=True)
class Message:
    """What goes over the wire."""

    spi: int
    mid: int
    answer: bool
    kind: str
    body: object


@dataclass(frozen=True, slots=True)
class Offer:
    """A child that is asked for, or given."""

    name: str
    """As the one who asks calls it."""
    proposals: tuple[str, ...]
    port: int
    spi: int
    replaces: int = 0
    """SPI of the child that this one follows, as the one who asks receives over it."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who asks for an IKE_SA."""

    local_id: str
    remote_id: str
    proposals: tuple[str, ...]
    proof: Proof
    offer: Offer | None


@dataclass(frozen=True, slots=True)
class Welcome:
    """Who answers."""

    local_id: str
    proof: Proof
    offer: Offer | None
    failure: str = ""


def one_way(config: ConnConfig, auth: Auth) -> ConnConfig:
    """What the daemon holds of a connection for one way of authentication."""
    kept = tuple(proof for proof in config.proofs if proof.auth is auth)
    return replace(config, proofs=kept)


def ike_key(config: ConnConfig) -> tuple[object, ...]:
    """What makes the daemon take an IKE_SA for one of this connection (peer_cfg_t.equals)."""
    tuning, proof = config.tuning, config.proofs[0]
    times = (tuning.force_encapsulation, tuning.dpd_delay_s, tuning.ike_lifetime_s)
    ids = (config.pair.local, config.pair.remote, config.local_id, config.remote_id)
    keys = tuple(key.id for key in proof.keys[:1])
    shown = (proof.auth, proof.certificate_der, proof.trusted_der, keys, proof.revocation)
    return (ids, config.ike_proposals, times, shown, config.epoch)


def accepts(mine: Proof, theirs: Proof) -> bool:
    """Whether one end takes what the other shows."""
    if mine.auth is not theirs.auth:
        return False
    if mine.auth is Auth.PSK:
        shown = theirs.keys[0].value.reveal()
        return any(key.value.reveal() == shown for key in mine.keys)
    if mine.auth is Auth.PINNED:
        return theirs.certificate_der in mine.trusted_der
    return any(signed(theirs.certificate_der, authority) for authority in mine.trusted_der)


@lru_cache(maxsize=4096)
def signed(certificate: bytes, authority: bytes) -> bool:
    """Whether an authority made a certificate, in the simulator's spelling: `NAME/...`."""
    return certificate.split(b"/", 1)[0] == authority


class Charon:
    """The daemon of one host."""

    def __init__(
        self,
        timeline: Timeline,
        kernel: Kernel,
        send: Callable[[IpAddress, IpAddress, Message], None],
        take_number: Callable[[], int],
    ) -> None:
        """Store what is around it.

        Args:
            timeline: When things happen.
            kernel: Where SAs and policies go.
            send: The wire, from an address to another.
            take_number: Gives SPIs that nobody else has.
        """
        self._timeline, self._kernel = timeline, kernel
        self._send, self._take_number = send, take_number
        self.running = True
        self.hangs = False
        """It takes connections and answers nothing."""
        self.starts = 1
        self.profiles = frozenset(Profile) - {Profile.PQ}
        self.backends: list[CharonBackend] = []
        self.conns: dict[ConnName, ConnConfig] = {}
        self.traps: dict[tuple[ConnName, str], ConnConfig] = {}
        self.ikes: dict[int, Ike] = {}
        self.keys: dict[str, bytes] = {}
        self.shared: dict[str, bytes] = {}
        self._next_id = 1
        self._users: dict[Flow, list[Entry]] = {}
        """Who wants which policy, in the order in which they came; the last SA wins."""
        self._acquired: dict[tuple[ConnName, str], float] = {}

    # --- its life --------------------------------------------------------------------------------

    def kill(self) -> None:
        """End it at once: the kernel keeps all that it has."""
        self.running = self.hangs = False
        self.starts += 1
        for backend in list(self.backends):
            backend.disconnected()
        for held in (self.conns, self.traps, self.ikes, self.keys, self.shared):
            held.clear()
        self._users.clear()
        self._acquired.clear()

    def stop(self) -> None:
        """End it in order: it tells its peers, and takes its SAs and policies along."""
        for ike in list(self.ikes.values()):
            if ike.state != "CONNECTING":
                self._post(ike, Message(ike.spi, -2, answer=False, kind="delete", body=None))
            self._destroy(ike)
        for name, child in list(self.traps):
            self.uninstall(name, child)
        for flow in list(self._users):
            self._kernel.drop_policy(flow)
        self.kill()

    def start(self) -> None:
        """Start it, empty."""
        self.running = True

    @property
    def since(self) -> str:
        """When it started."""
        return f"start {self.starts}"

    @property
    def answers(self) -> bool:
        """Whether it does anything."""
        return self.running and not self.hangs

    # --- what is asked of it ---------------------------------------------------------------------

    def loaded(self, name: ConnName, child: str) -> ConnConfig:
        """Give a connection.

        Raises:
            IkeError: It is not there.
        """
        if name not in self.conns or child not in CHILDREN:
            raise IkeError(f"{name}: configuration name not found")
        return self.conns[name]

    def install(self, name: ConnName, child: str) -> None:
        """Put a trap up, in place of an older one."""
        config = self.loaded(name, child)
        old = self.traps.get((name, child))
        self.traps[name, child] = config
        flow, entry = _flow(config, child), _trap(config, child)
        if old is not None and (_flow(old, child), _trap(old, child)) != (flow, entry):
            self._leave(_flow(old, child), _trap(old, child))
            old = None
        if old is None:
            self._use(flow, entry)
        self._acquired.pop((name, child), None)

    def uninstall(self, name: ConnName, child: str) -> None:
        """Take a trap down."""
        config = self.traps.pop((name, child), None)
        if config is not None:
            self._leave(_flow(config, child), _trap(config, child))

    def acquire(self, flow: Flow) -> None:
        """Take note of a packet that a trap has caught."""
        if not self.answers:
            return
        for (name, child), config in list(self.traps.items()):
            if child == OUT and _flow(config, child) == flow:
                last = self._acquired.get((name, child), float("-inf"))
                if self._timeline.now >= last + ACQUIRE_S:
                    self._acquired[name, child] = self._timeline.now
                    self._timeline.after(0.001, lambda n=name, c=config: self._caught(n, c))

    def _caught(self, name: ConnName, config: ConnConfig) -> None:
        if self.answers and self.traps.get((name, OUT)) == config:
            self.initiate(config, OUT)

    def initiate(self, config: ConnConfig, child: str) -> None:
        """Bring a child up, over an IKE_SA of equal settings if there is one."""
        config = one_way(config, config.proofs[0].auth)
        key = ike_key(config)
        found = [
            ike
            for ike in self.ikes.values()
            if ike.state in ("CONNECTING", "ESTABLISHED") and ike_key(ike.config) == key
        ]
        ike = next((one for one in found if one.state == "ESTABLISHED"), None)
        ike = ike or next(iter(found), None)
        fresh = Child(child, self._take_id(), config, self._take_number())
        if ike is None:
            ike = Ike(
                conn=config.name,
                id=self._take_id(),
                config=config,
                local=config.pair.local,
                remote=config.pair.remote,
                initiator=True,
                spi=self._take_number(),
            )
            self.ikes[ike.id] = ike
            ike.children.append(fresh)
            self._ask_in(ike, fresh)
            return
        if any(one.key == fresh.key and one.state != "REKEYED" for one in ike.children):
            self._say(config.name, f"establishing CHILD_SA '{child}' failed")
            return
        ike.children.append(fresh)
        self._ask_child(ike, fresh)

    def terminate(self, ike: Ike, *, force: bool) -> None:
        """Take an IKE_SA down."""
        if force or ike.state == "CONNECTING":
            if ike.state != "CONNECTING":
                self._post(ike, Message(ike.spi, -2, answer=False, kind="delete", body=None))
            self._destroy(ike)
            return
        if ike.state == "DELETING":
            return
        ike.state = "DELETING"
        self._touch(ike.conn)
        self._ask(ike, Task("delete", None, lambda _answer: self._destroy(ike)))

    def terminate_child(self, ike: Ike, child: Child) -> None:
        """Take a CHILD_SA down."""
        if child.state not in LIVE:
            return
        child.state = "DELETING"
        body = child.spi_in
        self._ask(ike, Task("delete-child", body, lambda _answer: self._drop(ike, child)))

    def rekey(self, ike: Ike, child: Child) -> None:
        """Replace a CHILD_SA: both ends hold both until the old one is deleted."""
        if child.state != "INSTALLED" or ike.state != "ESTABLISHED":
            return
        child.state = "REKEYING"
        fresh = Child(child.name, self._take_id(), child.config, self._take_number())
        ike.children.append(fresh)
        self._ask_child(ike, fresh, child)

    # --- requests --------------------------------------------------------------------------------

    def _ask_in(self, ike: Ike, child: Child) -> None:
        config = ike.config
        body = Hello(
            local_id=config.local_id,
            remote_id=config.remote_id,
            proposals=config.ike_proposals,
            proof=config.proofs[0],
            offer=_offer(child),
        )
        self._ask(ike, Task("hello", body, lambda answer: self._welcomed(ike, child, answer)))

    def _ask_child(self, ike: Ike, child: Child, old: Child | None = None) -> None:
        offer = _offer(child, 0 if old is None else old.spi_in)
        self._ask(ike, Task("child", offer, lambda answer: self._given(ike, child, answer, old)))

    def _ask(self, ike: Ike, task: Task) -> None:
        ike.tasks.append(task)
        self._pump(ike)

    def _pump(self, ike: Ike) -> None:
        if ike.active is None and ike.tasks:
            task = ike.active = ike.tasks.popleft()
            ike.mid += 1
            task.mid = ike.mid
            self._transmit(ike, task)

    def _transmit(self, ike: Ike, task: Task) -> None:
        if not self.running or ike.active is not task or self.ikes.get(ike.id) is not ike:
            return
        if task.tries == len(RETRANSMIT_S):
            self._give_up(ike, task)
            return
        if not self.hangs:
            self._post(
                ike, Message(ike.spi, task.mid, answer=False, kind=task.kind, body=task.body)
            )
        delay = RETRANSMIT_S[task.tries]
        task.tries += 1
        self._timeline.after(delay, lambda: self._transmit(ike, task))

    def _give_up(self, ike: Ike, task: Task) -> None:
        """Nobody answers: a new attempt for ever, or the end of what was."""
        self._say(ike.conn, f"giving up after {len(RETRANSMIT_S)} retransmits")
        if ike.state == "CONNECTING":
            task.tries = 0
            self._transmit(ike, task)
        else:
            self._destroy(ike)

    def _post(self, ike: Ike, message: Message) -> None:
        self._send(ike.local, ike.remote, message)

    def receive(self, here: IpAddress, there: IpAddress, message: Message) -> None:
        """Take in what has come over the wire."""
        if not self.answers:
            return
        ike = self._find(here, there, message.spi)
        if message.answer:
            if ike is not None and ike.active is not None and ike.active.mid == message.mid:
                task, ike.active = ike.active, None
                ike.heard = self._timeline.now
                task.done(message.body)
                if self.ikes.get(ike.id) is ike:
                    self._pump(ike)
            return
        if ike is None and message.kind != "hello":
            return
        body = self._answer(ike, here, there, message)
        self._send(here, there, replace(message, answer=True, body=body))

    def _answer(
        self, ike: Ike | None, here: IpAddress, there: IpAddress, message: Message
    ) -> object:
        if ike is not None:
            ike.heard = self._timeline.now
            if ike.answered[0] == message.mid and message.mid > 0:
                return ike.answered[1]
        if message.kind == "hello":
            assert isinstance(message.body, Hello)
            ike, body = self._welcome(here, there, message.spi, message.body)
        elif message.kind == "child":
            assert isinstance(message.body, Offer)
            assert ike is not None
            body = self._give(ike, message.body)
        elif message.kind == "delete":
            assert ike is not None
            self._destroy(ike)
            return None
        elif message.kind == "delete-child":
            assert ike is not None
            body = None
            for child in [c for c in ike.children if c.spi_out == message.body]:
                self._drop(ike, child)
        else:
            body = None
        if ike is not None:
            ike.answered = (message.mid, body)
        return body

    def _find(self, here: IpAddress, there: IpAddress, spi: int) -> Ike | None:
        return next(
            (
                i
                for i in self.ikes.values()
                if i.spi == spi and (i.local, i.remote) == (here, there)
            ),
            None,
        )

    # --- answers ---------------------------------------------------------------------------------

    def _welcome(
        self, here: IpAddress, there: IpAddress, spi: int, hello: Hello
    ) -> tuple[Ike | None, object]:
        fits = [
            one for one in self.conns.values() if (one.pair.local, one.pair.remote) == (here, there)
        ]
        fits = [one for one in fits if set(one.ike_proposals) & set(hello.proposals)]
        if not fits:
            return None, "NO_PROPOSAL_CHOSEN"
        for config in fits:
            names = (config.local_id, config.remote_id) == (hello.remote_id, hello.local_id)
            for proof in config.proofs if names else ():
                if accepts(proof, hello.proof):
                    return self._let_in(one_way(config, proof.auth), spi, hello)
        return None, "AUTHENTICATION_FAILED"

    def _let_in(self, config: ConnConfig, spi: int, hello: Hello) -> tuple[Ike, object]:
        ike = Ike(
            conn=config.name,
            id=self._take_id(),
            config=config,
            local=config.pair.local,
            remote=config.pair.remote,
            initiator=False,
            spi=spi,
            state="ESTABLISHED",
            remote_id=hello.local_id,
            born=self._timeline.now,
            heard=self._timeline.now,
        )
        self.ikes[ike.id] = ike
        self._watch_peer(ike)
        given = None if hello.offer is None else self._give(ike, hello.offer)
        self._touch(ike.conn)
        failure = given if isinstance(given, str) else ""
        offer = given if isinstance(given, Offer) else None
        return ike, Welcome(config.local_id, config.proofs[0], offer, failure)

    def _give(self, ike: Ike, offer: Offer) -> object:
        config = self.conns.get(ike.conn, ike.config)
        name = OTHER[offer.name]
        port = config.pair.in_port if name == "in" else config.pair.out_port
        common = [one for one in config.esp_proposals if one in offer.proposals]
        if ike.state != "ESTABLISHED":
            return "TEMPORARY_FAILURE"
        if port != offer.port:
            return "TS_UNACCEPTABLE"
        if not common:
            return "NO_PROPOSAL_CHOSEN"
        old = next(
            (c for c in ike.children if offer.replaces and c.spi_out == offer.replaces), None
        )
        if old is not None and old.state == "REKEYING":
            return "TEMPORARY_FAILURE"
        child = Child(name, self._take_id(), config, self._take_number(), spi_out=offer.spi)
        ike.children.append(child)
        # A successor is used for sending when its predecessor is deleted, by the one who asked.
        self._set_up(ike, child, outward=old is None)
        return Offer(name, (common[0],), port, child.spi_in)

    def _welcomed(self, ike: Ike, child: Child, answer: object) -> None:
        if isinstance(answer, str) or not isinstance(answer, Welcome):
            self._say(ike.conn, f"received {answer} notify error")
            self._destroy(ike)
            return
        if answer.local_id != ike.config.remote_id or not accepts(
            ike.config.proofs[0], answer.proof
        ):
            self._say(ike.conn, "the peer's authentication was refused")
            self._post(ike, Message(ike.spi, -2, answer=False, kind="delete", body=None))
            self._destroy(ike)
            return
        ike.state, ike.remote_id, ike.born = "ESTABLISHED", answer.local_id, self._timeline.now
        self._watch_peer(ike)
        self._touch(ike.conn)
        self._given(ike, child, answer.offer or answer.failure, None)

    def _given(self, ike: Ike, child: Child, answer: object, old: Child | None) -> None:
        if not isinstance(answer, Offer):
            self._say(ike.conn, f"received {answer} notify, no CHILD_SA built")
            if child in ike.children:
                ike.children.remove(child)
            if old is not None:
                old.state = "INSTALLED"
            self._touch(ike.conn)
            return
        if child not in ike.children:
            return
        child.spi_out = answer.spi
        self._set_up(ike, child, outward=True)
        if old is not None and old in ike.children:
            self._ask(ike, Task("delete-child", old.spi_in, lambda _a: self._retire(ike, old)))

    def _watch_peer(self, ike: Ike) -> None:
        delay = ike.config.tuning.dpd_delay_s or DPD_S

        def look() -> None:
            if not self.running or self.ikes.get(ike.id) is not ike:
                return
            idle = ike.active is None and not ike.tasks
            if idle and self._timeline.now >= ike.heard + delay:
                self._ask(ike, Task("dpd", None, lambda _answer: None))
            self._timeline.after(delay, look)

        self._timeline.after(delay, look)

    # --- the kernel ------------------------------------------------------------------------------

    def _set_up(self, ike: Ike, child: Child, *, outward: bool) -> None:
        child.state, child.born = "INSTALLED", self._timeline.now
        kernel, reqid = self._kernel, child.reqid
        kernel.put_state(ike.remote, ike.local, child.spi_in, reqid)
        kernel.put_state(ike.local, ike.remote, child.spi_out, reqid)
        if outward:
            self._send_over(child)
        self._touch(ike.conn)

    def _send_over(self, child: Child) -> None:
        child.outward = True
        self._use(_flow(child.config, child.name), _entry(child))

    def _drop(self, ike: Ike, child: Child) -> None:
        """Take one out; whoever follows it sends from now on."""
        if child not in ike.children:
            return
        ike.children.remove(child)
        for one in ike.up(child.name):
            if not one.outward:
                self._send_over(one)
        self._forget(ike, child)
        if child.state != "REKEYED":
            self._touch(ike.conn)

    def _retire(self, ike: Ike, child: Child) -> None:
        """Keep what has been replaced for a while; neither that nor its end raises an event."""
        child.state = "REKEYED"
        self._leave(_flow(child.config, child.name), _entry(child))
        self._kernel.drop_state(ike.remote, child.spi_out)
        self._timeline.after(KEPT_S, lambda: self._drop(ike, child) if self.running else None)

    def _forget(self, ike: Ike, child: Child) -> None:
        if child.outward and child.state != "REKEYED":
            self._leave(_flow(child.config, child.name), _entry(child))
        if child.spi_out:
            self._kernel.drop_state(ike.remote, child.spi_out)
            self._kernel.drop_state(ike.local, child.spi_in)

    def _destroy(self, ike: Ike) -> None:
        if self.ikes.pop(ike.id, None) is None:
            return
        ike.active = None
        ike.tasks.clear()
        for child in list(ike.children):
            self._forget(ike, child)
        ike.children.clear()
        self._touch(ike.conn)

    def _use(self, flow: Flow, entry: Entry) -> None:
        self._users.setdefault(flow, []).append(entry)
        self._put(flow)

    def _leave(self, flow: Flow, entry: Entry) -> None:
        users = self._users.get(flow, [])
        if entry in users:
            users.remove(entry)
            self._put(flow)

    def _put(self, flow: Flow) -> None:
        users = self._users[flow]
        entry = next((one for one in reversed(users) if one.spi), None) or next(iter(users), None)
        if entry is None:
            del self._users[flow]
            self._kernel.drop_policy(flow)
        else:
            self._kernel.put_policy(flow, entry)

    # --- small things ----------------------------------------------------------------------------

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def _touch(self, conn: ConnName) -> None:
        for backend in self.backends:
            backend.touched(conn)

    def _say(self, conn: ConnName, text: str) -> None:
        for backend in self.backends:
            backend.said(conn, text)

    def seen(self) -> dict[ConnName, tuple[IkeSa, ...]]:
        """The IKE_SAs by connection."""
        found: dict[ConnName, tuple[IkeSa, ...]] = {}
        for _, ike in sorted(self.ikes.items()):
            found[ike.conn] = (*found.get(ike.conn, ()), self._shown(ike))
        return found

    def _shown(self, ike: Ike) -> IkeSa:
        now, up = self._timeline.now, ike.state != "CONNECTING"
        children = tuple(
            ChildSa(
                name=child.name,
                id=child.id,
                state=child.state,
                reqid=child.reqid,
                spi_in=child.spi_in if child.spi_out else 0,
                spi_out=child.spi_out,
                install_s=int(now - child.born),
                packets_in=self._kernel.heard.get(child.spi_in, 0),
            )
            for child in ike.children
            if child.state != "REKEYED"
        )
        return IkeSa(
            conn=ike.conn,
            id=ike.id,
            state=ike.state,
            initiator=ike.initiator,
            initiator_spi=ike.spi,
            children=children,
            established_s=int(now - ike.born) if up else 0,
            remote_id=ike.remote_id,
            local_spi=ike.spi,
            remote_spi=ike.spi if up else 0,
            suite=_suite(ike.config) if up else "",
            auth=ike.auth,
        )


_SUITES = {
    Profile.DEFAULT: "AES_GCM_16-256/PRF_HMAC_SHA2_256/CURVE_25519",
    Profile.CHACHA20: "CHACHA20_POLY1305-256/PRF_HMAC_SHA2_256/CURVE_25519",
    Profile.AES256_SHA256: "AES_CBC-256/PRF_HMAC_SHA2_256/CURVE_25519",
    Profile.CNSA: "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384",
    Profile.PQ: "AES_GCM_16-256/PRF_HMAC_SHA2_384/CURVE_25519/ML_KEM_768",
}


def _suite(config: ConnConfig) -> str:
    found = (_SUITES[p] for p, suite in SUITES.items() if suite.ike == config.ike_proposals)
    return next(found, "")


def _flow(config: ConnConfig, child: str) -> Flow:
    """The half of a child that carries something."""
    pair = config.pair
    if child == OUT:
        return (Direction.OUT, pair.local, pair.remote, pair.out_port)
    return (Direction.IN, pair.local, pair.remote, pair.in_port)


def _trap(config: ConnConfig, child: str) -> Entry:
    return Entry(config.reqid_out if child == OUT else config.reqid_in, 0)


def _entry(child: Child) -> Entry:
    return Entry(child.reqid, child.spi_out if child.name == OUT else child.spi_in)


def _offer(child: Child, replaces: int = 0) -> Offer:
    pair = child.config.pair
    port = pair.out_port if child.name == OUT else pair.in_port
    return Offer(child.name, child.config.esp_proposals, port, child.spi_in, replaces)


class CharonBackend:
    """One controller's link to it (see controller/ike/backend.py)."""

    kind = "strongSwan"
    abilities = Abilities()

    def __init__(
        self,
        charon: Charon,
        gate: Callable[[str], None],
        kick: Callable[[], None],
        fd: int,
    ) -> None:
        """Store what is around it.

        Args:
            charon: The daemon.
            gate: Called before each call with its name: lets time pass, fails, ends the program.
            kick: Called when events wait.
            fd: What stands for the descriptor of the events.
        """
        self._charon, self._gate, self._kick, self._fd = charon, gate, kick, fd
        self._connected = self._lost = False
        self._touched: set[ConnName] = set()
        self._said: dict[ConnName, str] = {}
        self.fetches = True

    # What the daemon does.

    def touched(self, conn: ConnName) -> None:
        """Take in that SAs have changed."""
        self._touched.add(conn)
        self._kick()

    def said(self, conn: ConnName, text: str) -> None:
        """Take in why something failed."""
        self._said[conn] = text
        self._kick()

    def disconnected(self) -> None:
        """Take in that the daemon has gone."""
        if self._connected:
            self._lost = True
            self._kick()
        self.close()

    def overrun(self) -> None:
        """Lose the events that wait."""
        self._touched, self._lost = set(), True
        self._kick()

    def repeat(self) -> None:
        """Get events of all connections that there are, for nothing."""
        self._touched |= self._charon.conns.keys()
        self._kick()

    @property
    def pending(self) -> bool:
        """Whether events wait."""
        return bool(self._touched or self._said or self._lost)

    # What the controller calls.

    @property
    def connected(self) -> bool:
        """See IkeBackend."""
        return self._connected

    def open(self) -> None:
        """See IkeBackend."""
        self._gate("ike.open")
        charon = self._charon
        if not charon.running:
            raise IkeError("cannot reach the IKE daemon: it is not running")
        if charon.hangs:
            self._gate("ike.hang")
            raise IkeError(f"the IKE daemon did not answer within {DEADLINE_S:.0f} s")
        if not self._connected:
            self._connected = self._lost = True
            charon.backends.append(self)

    def close(self) -> None:
        """See IkeBackend."""
        self._connected = False
        if self in self._charon.backends:
            self._charon.backends.remove(self)

    def _enter(self, call: str) -> Charon:
        if not self._connected:
            raise IkeError("not connected to the IKE daemon")
        self._gate(f"ike.{call}")
        if self._charon.hangs:
            self._gate("ike.hang")
            self.close()
            raise IkeError(f"the IKE daemon did not answer within {DEADLINE_S:.0f} s")
        if not self._connected:
            raise IkeError("not connected to the IKE daemon")
        return self._charon

    def observe(self) -> Known[DaemonSeen] | Unknown:
        """See IkeBackend."""
        try:
            charon = self._enter("observe")
        except IkeError as error:
            return Unknown(str(error))
        return Known(
            DaemonSeen(
                since=charon.since,
                version="5.9.8",
                conns=frozenset(charon.conns),
                sas=charon.seen(),
                traps=frozenset(charon.traps),
                profiles=charon.profiles,
            )
        )

    def observe_sas(self, conn: ConnName) -> Known[tuple[IkeSa, ...]] | Unknown:
        """See IkeBackend."""
        try:
            charon = self._enter("observe_sas")
        except IkeError as error:
            return Unknown(str(error))
        return Known(charon.seen().get(conn, ()))

    def load(self, conn: ConnConfig) -> None:
        """See IkeBackend."""
        charon = self._enter("load")
        charon.conns[conn.name] = conn
        keys = (key for proof in conn.proofs for key in proof.keys)
        charon.shared.update((key.id, key.value.reveal()) for key in keys)

    def unload(self, name: ConnName) -> None:
        """See IkeBackend."""
        self._enter("unload").conns.pop(name, None)

    def install(self, name: ConnName, child: str) -> None:
        """See IkeBackend."""
        self._enter("install").install(name, child)

    def uninstall(self, name: ConnName, child: str) -> None:
        """See IkeBackend."""
        self._enter("uninstall").uninstall(name, child)

    def initiate(self, name: ConnName, child: str) -> None:
        """See IkeBackend."""
        charon = self._enter("initiate")
        charon.initiate(charon.loaded(name, child), child)

    def terminate_ike(self, ike_id: int, *, force: bool = False) -> None:
        """See IkeBackend."""
        charon = self._enter("terminate_ike")
        if ike_id in charon.ikes:
            charon.terminate(charon.ikes[ike_id], force=force)

    def terminate_child(self, child_id: int) -> None:
        """See IkeBackend."""
        charon = self._enter("terminate_child")
        for ike, child in _children(charon.ikes.values(), child_id):
            charon.terminate_child(ike, child)

    def rekey_child(self, child_id: int) -> None:
        """See IkeBackend."""
        charon = self._enter("rekey_child")
        for ike, child in _children(charon.ikes.values(), child_id):
            charon.rekey(ike, child)

    def try_credential(self, credential: Credential) -> None:
        """See IkeBackend."""
        self._enter("try_credential")
        for der in (credential.certificate_der, *credential.chain_der, *credential.ca_der):
            if b"/" in der[:12] or der.startswith(b"ca"):
                continue
            if cause := unknown_critical(x509.load_der_x509_certificate(der)):
                raise IkeError(f"refuses the certificate {credential.subject}: it {cause}")

    def load_key(self, key: Secret) -> str:
        """See IkeBackend."""
        charon = self._enter("load_key")
        name = _key_id(key)
        charon.keys[name] = key.reveal()
        return name

    def keys(self) -> Known[frozenset[str]] | Unknown:
        """See IkeBackend."""
        try:
            return Known(frozenset(self._enter("keys").keys))
        except IkeError as error:
            return Unknown(str(error))

    def unload_key(self, key_id: str) -> None:
        """See IkeBackend."""
        self._enter("unload_key").keys.pop(key_id, None)

    def shared_keys(self) -> Known[frozenset[str]] | Unknown:
        """See IkeBackend."""
        try:
            return Known(frozenset(self._enter("shared_keys").shared))
        except IkeError as error:
            return Unknown(str(error))

    def unload_shared(self, key_id: str) -> None:
        """See IkeBackend."""
        self._enter("unload_shared").shared.pop(key_id, None)

    def certificates(self, identity: str) -> Known[tuple[bytes, ...]] | Unknown:
        """See IkeBackend; it has forgotten all that peers have shown."""
        try:
            self._enter("certificates")
        except IkeError as error:
            return Unknown(str(error))
        return Known(())

    def load_crl(self, der: bytes) -> None:
        """See IkeBackend."""
        self._enter("load_crl")

    def set_ocsp(self, authorities: tuple[bytes, ...], uri: str) -> None:
        """See IkeBackend."""
        self._enter("set_ocsp")

    def flush(self) -> dict[ConnName, str]:
        """Nothing was collected."""
        return {}

    def wake_at(self) -> float | None:
        """Never."""
        return None

    def fileno(self) -> int:
        """See IkeBackend; it is readable for as long as events wait."""
        if self._connected and self.pending:
            self._kick()
        return self._fd if self._connected else -1

    def drain(self) -> Events:
        """See IkeBackend."""
        events = Events(
            conns=frozenset(self._touched),
            lost=self._lost,
            messages=tuple(sorted(self._said.items())),
        )
        self._touched, self._said, self._lost = set(), {}, False
        return events


def _key_id(key: Secret) -> str:
    """The id of a key: of a symbol itself, of a real key what the daemon makes of it."""
    text = key.reveal()
    return text.decode() if text.startswith(b"key-") else FakeIke.key_id(key)


def _children(ikes: Iterable[Ike], child_id: int) -> list[tuple[Ike, Child]]:
    return [(ike, child) for ike in ikes for child in ike.children if child.id == child_id]
