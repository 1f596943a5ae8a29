# SPDX-License-Identifier: Apache-2.0
"""strongSwan (5.9.8 and later) over its vici socket.

Edge (charon). Input: connection configurations. Output: what charon holds.

There are two sessions: one for requests; one for updown, rekey and log events, so that no event
comes between a request and its answer. Every ``initiate`` and ``terminate`` returns at once
(``timeout=-1``): a waiting one occupies one of charon's workers, and charon stalls when all of them
are occupied.

A connection is several in charon, one for each authentication method, with names from
``plan.connection.spelled``: a responder selects the one whose constraints the initiator has met.
"""

import socket
from collections.abc import Mapping
from io import BytesIO

from vici.protocol import FiniteStream, Packet

from ovn_ipsec.errors import IkeError, IkeHungError
from ovn_ipsec.ikes import VICI
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.policy import Auth, Profile

from ..plan.connection import Abilities, ConnConfig, ConnName, DaemonSeen, IkeSa, able, spelled
from . import messages, sections
from .backend import Events
from .charon_credentials import CharonCredentials
from .sections import Section, Seen
from .transport import ViciSession

DEADLINE_S = 5.0
HELLO_S = 1.0
"""How long the first exchanges may take. One that hangs holds up the whole program each time it is
tried; on a slow machine, the time doubles with each attempt that it was too short for."""
STREAMED = ("list-sa", "list-policy", "list-cert")
EVENTS = ("ike-updown", "child-updown", "ike-rekey", "child-rekey", "log")
_LOG = bytes([Packet.EVENT, len(b"log")]) + b"log"
_AT_ONCE = "-1"
_PLAIN = frozenset({Auth.CA})


class StrongSwan(CharonCredentials):
    """One charon."""

    kind = "strongSwan"
    abilities = Abilities()

    def __init__(self, uri: str = VICI, *, deadline_s: float = DEADLINE_S) -> None:
        """Remember where charon listens.

        Args:
            uri: ``unix://`` and an absolute path.
            deadline_s: how long one exchange may take.

        Raises:
            IkeError: the URI is of another form.
        """
        scheme, _, path = uri.partition("://")
        if scheme != "unix" or not path.startswith("/"):
            raise IkeError(f"{uri[:80]!r} is not a vici socket: expected unix:///path")
        self._path = path
        super().__init__(ViciSession(self._connect, deadline_s))
        self._events = ViciSession(self._connect, deadline_s)
        self._deadline_s = deadline_s
        self._hello_s = min(HELLO_S, deadline_s)
        self._lost = False
        self._since = self._version = ""
        self.fetches = False
        self._profiles: frozenset[Profile] = frozenset()
        self._first: dict[ConnName, Auth] = {}
        """The way that each connection starts with, as it was loaded last."""
        self._ways: dict[ConnName, frozenset[Auth]] = {}
        """Under which names charon may hold something of a connection."""

    def _connect(self, deadline_s: float) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.settimeout(deadline_s)
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        return sock

    @property
    def connected(self) -> bool:
        """Whether both sessions are up."""
        return self._commands.is_open and self._events.is_open

    def open(self) -> None:
        """Connect both sessions and register for events; twice is no error.

        Raises:
            IkeError: charon is not there or does not answer.
        """
        if self.connected:
            return
        self._allow(self._hello_s)
        try:
            # Events first: nothing happens unseen between the first look and the registration.
            self._events.open()
            for event in EVENTS:
                self._events.register(event)
            self._commands.open()
            for event in STREAMED:
                self._commands.register(event)
            self._version = sections.text(self._commands.call("version"), "version")
            self._profiles = able(messages.parse_algorithms(self._commands.call("get-algorithms")))
            # A session does not outlive its daemon, so this holds as long as the session does.
            self._read_stats()
        except IkeHungError:
            self._hello_s = min(2 * self._hello_s, self._deadline_s)
            self.close()
            raise
        except IkeError:
            self.close()
            raise
        self._allow(self._deadline_s)
        self._hello_s = min(HELLO_S, self._deadline_s)
        self._lost = True

    def _allow(self, deadline_s: float) -> None:
        self._commands.deadline_s = self._events.deadline_s = deadline_s

    def close(self) -> None:
        """Drop both sessions; what charon holds stays."""
        self._commands.close()
        self._events.close()

    def observe(self) -> Known[DaemonSeen] | Unknown:
        """Read everything of ours."""
        try:
            conns = messages.parse_conns(self._call("get-conns"))
            traps = messages.parse_traps(self._stream("list-policies", {"trap": "yes"}))
            sas, unreadable = messages.parse_ike_sas(self._stream("list-sas", {}))
        except IkeError as error:
            return Unknown(str(error))
        self._ways = {}
        self._note(conns)
        for (conn, _), ways in traps.items():
            self._note({conn: ways})
        for conn, found in sas.items():
            self._note({conn: frozenset(sa.auth for sa in found)})
        return Known(
            DaemonSeen(
                since=self._since,
                version=self._version,
                conns=frozenset(conns),
                sas=sas,
                unreadable=unreadable,
                traps=frozenset(traps),
                profiles=self._profiles,
            )
        )

    def _note(self, ways: Mapping[ConnName, frozenset[Auth]]) -> None:
        for conn, more in ways.items():
            self._ways[conn] = self._ways.get(conn, frozenset()) | more

    def _spelled(self, conn: ConnName) -> list[str]:
        """Every name under which charon may hold something of a connection, plain first."""
        return [spelled(conn, auth) for auth in Auth if auth in self._ways.get(conn, _PLAIN)]

    def observe_sas(self, conn: ConnName) -> Known[tuple[IkeSa, ...]] | Unknown:
        """Read the IKE_SAs of one connection, sorted by id.

        Not with ``noblock``: charon would leave out an SA that a worker has in hand, and one that
        is not listed counts as gone.
        """
        try:
            items: list[Seen] = []
            for name in self._spelled(conn):
                items += self._stream("list-sas", {"ike": name})
        except IkeError as error:
            return Unknown(str(error))
        sas, unreadable = messages.parse_ike_sas(items)
        if conn in unreadable:
            return Unknown(unreadable[conn])
        return Known(sas.get(conn, ()))

    def load(self, conn: ConnConfig) -> None:
        """Load or replace a connection; SAs and traps stay as they are.

        Its shared keys go first, the one to use last of them: charon takes the youngest.

        Raises:
            IkeError: charon refused it, or is gone.
        """
        for proof in conn.proofs:
            for key in reversed(proof.keys):
                self._call("load-shared", messages.shared_key(key))
            self._call("load-conn", messages.connection(conn, proof))
        ways = frozenset(proof.auth for proof in conn.proofs)
        for auth in self._ways.get(conn.name, frozenset()) - ways:
            self._call_or_gone("unload-conn", {"name": spelled(conn.name, auth)})
        self._note({conn.name: ways})
        self._first[conn.name] = conn.proofs[0].auth

    def unload(self, name: ConnName) -> None:
        """Unload a connection; SAs and traps stay. One that is not loaded is no error.

        Raises:
            IkeError: charon is gone.
        """
        for text in self._spelled(name):
            self._call_or_gone("unload-conn", {"name": text})

    def install(self, name: ConnName, child: str) -> None:
        """Install the trap of a child, in place of its older one without a gap.

        Raises:
            IkeError: the connection is not loaded, or charon is gone.
        """
        first = self._starts_with(name)
        self._call("install", {"ike": first, "child": child})
        for text in self._spelled(name):
            if text != first:
                self._call_or_gone("uninstall", {"ike": text, "child": child})

    def uninstall(self, name: ConnName, child: str) -> None:
        """Remove the trap of a child; none is no error.

        Raises:
            IkeError: charon is gone.
        """
        for text in self._spelled(name):
            self._call_or_gone("uninstall", {"ike": text, "child": child})

    def initiate(self, name: ConnName, child: str) -> None:
        """Start to bring a child up, and do not wait: the outcome is in events and SAs.

        Raises:
            IkeError: the connection is not loaded, or charon is gone.
        """
        first = self._starts_with(name)
        self._call("initiate", {"ike": first, "child": child, "timeout": _AT_ONCE})

    def _starts_with(self, name: ConnName) -> str:
        return spelled(name, self._first.get(name, Auth.CA))

    def terminate_ike(self, ike_id: int, *, force: bool = False) -> None:
        """Start to take an IKE_SA down with its children; one that is gone is no error.

        Args:
            ike_id: its id.
            force: whether to drop it without waiting for the peer's answer.

        Raises:
            IkeError: charon is gone.
        """
        forced: Section = {"force": "yes"} if force else {}
        self._call_or_gone("terminate", {"ike-id": str(ike_id), "timeout": _AT_ONCE, **forced})

    def terminate_child(self, child_id: int) -> None:
        """Start to take a CHILD_SA down; one that is gone is no error.

        Raises:
            IkeError: charon is gone.
        """
        self._call_or_gone("terminate", {"child-id": str(child_id), "timeout": _AT_ONCE})

    def rekey_child(self, child_id: int) -> None:
        """Start to rekey a CHILD_SA; one that is gone is no error.

        Raises:
            IkeError: charon is gone.
        """
        self._call_or_gone("rekey", {"child-id": str(child_id)})

    def flush(self) -> Mapping[ConnName, str]:
        """Do nothing: every command was carried out at once."""
        return {}

    def wake_at(self) -> float | None:
        """Never: charon has events."""
        return None

    def fileno(self) -> int:
        """Give the descriptor that is readable when events wait; -1 while not connected."""
        return self._events.fileno()

    def drain(self) -> Events:
        """Take what events wait, without blocking; ``lost`` is said once.

        It is said after ``open`` too: what was before, nobody saw.
        """
        was_open = self._events.is_open
        packets, alive = self._events.drain()
        conns: set[ConnName] = set()
        reasons: list[tuple[ConnName, str]] = []
        try:
            for packet in packets:
                self._take_event(packet, conns, reasons)
        except (IkeError, IndexError):
            alive = False
        if was_open and not alive:
            self._lost = True
            self.close()
        lost, self._lost = self._lost, False
        return Events(conns=frozenset(conns), lost=lost, messages=messages.joined(reasons))

    def _take_event(
        self, packet: bytes, conns: set[ConnName], reasons: list[tuple[ConnName, str]]
    ) -> None:
        # Twenty log lines come with each attempt: most are dropped before they are decoded.
        is_log = packet.startswith(_LOG)
        if is_log and messages.REASON.search(packet) is None:
            return
        if packet[0] != Packet.EVENT:
            raise IkeError("the IKE daemon sent something other than an event")
        body: BytesIO = FiniteStream(packet[2 + packet[1] :])
        event = self._events.decode(body)
        if not is_log:
            found = messages.touched(event)
            self._note(found)
            conns.update(found)
        elif (words := messages.reason(event)) is not None:
            reasons.append(words)

    def _read_stats(self) -> None:
        seen = self._call("stats")
        since = sections.text(sections.section(seen, "uptime"), "since")
        self.fetches = messages.parse_fetches(seen)
        # One second of resolution is not enough to tell two starts apart.
        self._since = f"{since} pid {self._commands.peer_pid()}"

    def _stream(self, command: str, message: Section) -> list[Seen]:
        return self._commands.stream(command, message)[1]
