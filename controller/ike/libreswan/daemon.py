# SPDX-License-Identifier: Apache-2.0
"""Libreswan's pluto as an IKE daemon.

Edge (pluto). Input: connection configurations. Output: what pluto holds.

What is asked for is collected and carried out by ``flush``, or before anything is observed: all
connections that have to be loaded go to pluto in one batch. A connection that changes is replaced,
and its SAs end with it; one that is unloaded stays in pluto until its SAs are gone, since pluto
would end them.

pluto has no events. The kernel's tell when to look; what is being made or ended is looked at more
often. Why an attempt failed is heard only at the end that made it.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ovn_ipsec.errors import IkeError
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.policy import Auth, Profile

from ...plan.connection import Abilities, ConnConfig, ConnName, DaemonSeen, IkeSa
from ...plan.pair.facts import initiates
from .. import messages
from ..backend import Events
from . import batch, conf, states
from .batch import Todo
from .credentials import PlutoCredentials
from .dialect import FOUR
from .nss import CA, OWN, PIN
from .sas import Origin, ike_sas
from .session import Session
from .states import Shown, State
from .tools import Places

DEADLINE_S = 5.0
SOON_S = 0.2
"""Between two looks while the kernel reports changes."""
BUSY_S = 0.5
"""The same while something is being made or ended."""
IDLE_S = 10.0
FRESH_S = 0.1
"""For how long a look serves several questions."""
_NEVER = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """What this program has given pluto for a pair."""

    sections: Mapping[str, conf.Section] = field(default_factory=dict)
    """By pluto's names, those of the method in use first."""
    certificates: frozenset[str] = frozenset()
    suite: str = ""
    remote_id: str = ""
    designated: bool = False
    """Whether this end is the designated initiator."""


_NO_PAIR = _Pair()


class Libreswan(PlutoCredentials):
    """One pluto."""

    kind = "Libreswan"
    abilities = Abilities(
        traps=False, beside=False, revocation=False, shown=False, reqid_max=conf.REQID_MAX
    )
    fetches = False

    def __init__(self, places: Places | None = None, *, deadline_s: float = DEADLINE_S) -> None:
        """Remember where pluto is.

        Args:
            places: Where it is; None: where Debian and Fedora have it.
            deadline_s: How long one program may take.
        """
        super().__init__(Session(places or Places(), deadline_s))
        self._version = ""
        self._dialect = FOUR
        self._profiles: frozenset[Profile] = frozenset()
        self._forget()

    def _forget(self) -> None:
        self._loaded: dict[str, str] = {}
        """pluto's connections, and their digests."""
        self._pairs: dict[ConnName, _Pair] = {}
        self._going: set[ConnName] = set()
        """Pairs that were unloaded and stay until their SAs are gone."""
        self._ended: set[int] = set()
        """IKE_SAs that were ended on request."""
        self._todo = Todo()
        self._failures: dict[ConnName, str] = {}
        self._shown = Shown()
        self._told: dict[ConnName, object] = {}
        """What was reported as events, by connection."""
        self._born: dict[int, float] = {}
        self._begun: set[int] = set()
        """States that this end was heard to begin."""
        self._looked_at = self._look_at = _NEVER

    # --- the session -----------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether pluto runs and was looked at."""
        return self._session.is_open

    def open(self) -> None:
        """Find pluto and look at what it holds; twice is no error.

        Raises:
            IkeError: pluto is not there or does not answer.
        """
        if self.connected:
            return
        self._forget()
        self._session.open()
        try:
            status = states.parse_status(self._session.read("--status"))
            self._version, self._dialect = status.version, status.dialect
            self._loaded = dict(status.loaded)
            self._profiles = conf.able(status.algorithms)
            self._look_at_credentials()
            self._look()
        except IkeError:
            self._session.close()
            raise
        self._session.lost = True

    def close(self) -> None:
        """Carry out what was asked for, and let go of pluto; what it holds stays."""
        with suppress(IkeError):
            self._settle()
        self._session.close()

    def fileno(self) -> int:
        """Give the descriptor that is readable when something happened; -1 while not connected."""
        return self._session.fileno()

    def wake_at(self) -> float | None:
        """When to call ``drain`` although nothing is readable, monotonic seconds."""
        return self._look_at if self.connected else None

    # --- what it holds ---------------------------------------------------------------------------

    def observe(self) -> Known[DaemonSeen] | Unknown:
        """Read everything of ours."""
        try:
            self._settle()
            self._loaded = batch.loaded(self._session)
            self._look()
        except IkeError as error:
            return Unknown(str(error))
        return Known(
            DaemonSeen(
                since=self._session.since,
                version=self._version,
                conns=frozenset(self._conns()),
                sas=ike_sas(self._shown.states, self._origins(self._shown.states)),
                unreadable=self._shown.unreadable,
                traps=frozenset(),
                profiles=self._profiles,
            )
        )

    def observe_sas(self, conn: ConnName) -> Known[tuple[IkeSa, ...]] | Unknown:
        """Read the IKE_SAs of one connection, sorted by id."""
        try:
            self._settle()
            if time.monotonic() - self._looked_at > FRESH_S:
                self._look()
        except IkeError as error:
            return Unknown(str(error))
        if conn in self._shown.unreadable:
            return Unknown(self._shown.unreadable[conn])
        mine = tuple(state for state in self._shown.states if conf.conn_of(state.name) == conn)
        return Known(ike_sas(mine, self._origins(mine)).get(conn, ()))

    def _conns(self) -> set[ConnName]:
        return {conn for name in self._loaded if (conn := conf.conn_of(name))} - self._going

    def _origins(self, shown: tuple[State, ...]) -> dict[int, Origin]:
        now, origins = time.monotonic(), {}
        for state in shown:
            conn = conf.conn_of(state.name)
            pair = self._pairs.get(conn, _NO_PAIR) if conn is not None else _NO_PAIR
            origins[state.serial] = Origin(
                age_s=int(now - self._born.get(state.serial, now)),
                begun_here=state.serial in self._begun or pair.designated,
                suite=pair.suite,
                remote_id=pair.remote_id,
                ended=state.serial in self._ended,
            )
        return origins

    def _look(self) -> None:
        self._shown = states.parse_states(self._session.read("--showstates"), self._dialect)
        now = time.monotonic()
        self._born = {s.serial: self._born.get(s.serial, now) for s in self._shown.states}
        self._begun &= self._born.keys()
        self._ended &= self._born.keys()
        self._looked_at = now
        busy = self._session.is_busy or bool(self._going)
        busy = busy or not all(state.is_up for state in self._shown.states)
        self._look_at = now + (BUSY_S if busy else IDLE_S)

    # --- connections -----------------------------------------------------------------------------

    def load(self, conn: ConnConfig) -> None:
        """Load or replace a connection with the next ``flush``; a changed one loses its SAs.

        Raises:
            IkeError: Libreswan cannot do it, or is gone.
        """
        self._session.demand()
        found: dict[str, conf.Section] = {}
        certificates: set[str] = set()
        for proof in conn.proofs:
            mine = pin = ""
            if proof.auth is not Auth.PSK:
                (mine,) = self._put_certificates(OWN, (proof.certificate_der,))
                kind = CA if proof.auth is Auth.CA else PIN
                vouching = self._put_certificates(kind, proof.trusted_der)
                # Of several pins, pluto takes one: the first.
                pin = vouching[0] if kind is PIN else ""
                chain = self._put_certificates(OWN, proof.chain_der)
                certificates.update((mine, *vouching, *chain))
            found |= {one.name: one for one in conf.sections(conn, proof, mine, pin)}
            if proof.auth is Auth.PSK:
                self._put_secret(conn, proof)
        profile = conf.profile_made(conn)
        self._pairs[conn.name] = _Pair(
            sections=found,
            certificates=frozenset(certificates),
            suite=conf.ALGORITHMS[profile].suite if profile else "",
            remote_id=str(conn.remote_id),
            designated=initiates(conn.local_id, conn.remote_id),
        )
        self._going.discard(conn.name)
        self._todo.changed = True
        self._todo.loading.add(conn.name)
        for name in conf.every_name(conn.name):
            section = found.get(name)
            self._todo.sections.pop(name, None)
            self._todo.superseded.discard(name)
            if section is None:
                self._todo.superseded.add(name)
            elif self._loaded.get(name) != section.digest:
                self._todo.sections[name] = section

    def unload(self, name: ConnName) -> None:
        """Unload a connection, once its SAs are gone; one that is not loaded is no error.

        Raises:
            IkeError: pluto is gone.
        """
        self._session.demand()
        for one in conf.every_name(name):
            self._todo.sections.pop(one, None)
            self._todo.superseded.discard(one)
            if one in self._loaded:
                self._going.add(name)
        self._pairs.pop(name, None)
        self._todo.changed = True

    def install(self, name: ConnName, child: str) -> None:
        """Refuse: pluto's traps protect nothing that comes in, and make both ends initiate.

        Raises:
            IkeError: always.
        """
        raise IkeError(f"{name} {child}: Libreswan has no traps in both directions")

    def uninstall(self, name: ConnName, child: str) -> None:  # noqa: ARG002 - there is no trap
        """Do nothing: there is no trap.

        Raises:
            IkeError: pluto is gone.
        """
        self._session.demand()

    def initiate(self, name: ConnName, child: str) -> None:
        """Begin to bring a child up with the next ``flush``; nobody waits for the outcome.

        Raises:
            IkeError: the connection is not loaded, or pluto is gone.
        """
        self._session.demand()
        known: list[str] = []
        if name in self._pairs:
            known = list(self._pairs[name].sections)
        elif name not in self._going:
            known = [one for one in conf.every_name(name) if one in self._loaded]
        found = next((one for one in known if one.endswith(f":{child}")), None)
        if found is None:
            raise IkeError(f"{name} is not loaded")
        self._todo.orders.append((name, lambda: self._session.begin(found)))

    def terminate_ike(self, ike_id: int, *, force: bool = False) -> None:  # noqa: ARG002
        """Begin to take an IKE_SA down with its children; one that is gone is no error.

        Args:
            ike_id: Its id.
            force: Makes no difference: pluto tells the peer, and does not wait.

        Raises:
            IkeError: pluto is gone.
        """
        self._session.demand()
        self._ended.add(ike_id)
        self._todo.orders.append((None, lambda: self._end_ike(ike_id)))

    def _end_ike(self, ike_id: int) -> None:
        """End it in such a way that pluto does not make it again."""
        self._look()
        mine = self._state(ike_id)
        conn = conf.conn_of(mine.name) if mine is not None else None
        if conn is None:
            return
        alone = not any(
            state.serial not in self._ended
            and not state.is_child
            and conf.conn_of(state.name) == conn
            for state in self._shown.states
        )
        if not alone:
            # What is not the newest is not made again.
            self._session.whack("--deletestate", str(ike_id), "--asynchronous")
            return
        if self._dialect.ends_later:
            # It ends its children only, if it has some of both connections.
            self._session.tell("--terminate", "--name", conf.pair_alias(conn))
            self._session.whack("--deletestate", str(ike_id), "--asynchronous")
            return
        # What hangs on an IKE_SA ends with the first call, and it may end only with the second.
        for _ in range(2):
            self._session.whack("--terminate", "--name", conf.pair_alias(conn))

    def _state(self, serial: int) -> State | None:
        return next((state for state in self._shown.states if state.serial == serial), None)

    def terminate_child(self, child_id: int) -> None:
        """Begin to take a CHILD_SA down; one that is gone is no error.

        Raises:
            IkeError: pluto is gone.
        """
        self._session.demand()
        self._todo.orders.append((None, lambda: self._end_child(child_id)))

    def _end_child(self, child_id: int) -> None:
        if self._state(child_id) is not None:
            self._session.whack("--deletestate", str(child_id), "--asynchronous")

    def rekey_child(self, child_id: int) -> None:
        """Begin to rekey a CHILD_SA; one that is gone is no error.

        Raises:
            IkeError: pluto is gone.
        """
        self._session.demand()
        self._todo.orders.append((None, lambda: self._rekey(child_id)))

    def _rekey(self, child_id: int) -> None:
        mine = self._state(child_id)
        if mine is not None:
            self._session.whack(self._dialect.rekey_child, "--asynchronous", "--name", mine.name)

    # --- carry out -------------------------------------------------------------------------------

    def flush(self) -> Mapping[ConnName, str]:
        """Carry out what was asked for.

        Returns:
            Connections of which some part was refused since the last call, and why.
        """
        with suppress(IkeError):
            self._settle()
        failures, self._failures = self._failures, {}
        return failures

    def _settle(self) -> None:
        """Carry out what was asked for.

        Raises:
            IkeError: pluto is gone.
        """
        self._session.demand()
        todo, self._todo = self._todo, Todo()
        try:
            self._change(todo)
        except IkeError as error:
            if not self.connected:
                raise
            # Such as a file that cannot be written: nothing is known of what was to be loaded.
            self._failures |= dict.fromkeys(todo.loading, str(error))
        for conn, order in todo.orders:
            self._obey(conn, order)
        if todo.orders or todo.changed:
            self._looked_at = _NEVER
            self._look_at = min(self._look_at, time.monotonic() + SOON_S)
        # What an earlier run has loaded uses certificates that are not known here.
        if todo.changed and self._conns() <= self._pairs.keys():
            used = (pair.certificates for pair in self._pairs.values())
            self._obey(None, lambda: self._drop_certificates(frozenset().union(*used)))

    def _change(self, todo: Todo) -> None:
        """Delete and load connections, and the shared keys before them."""
        batch.drop(self._session, self._loaded, todo.superseded)
        if self._going:
            self._look()
            leaving = batch.without_sas(self._going, self._shown.states, self._ended)
            batch.leave(self._session, self._loaded, leaving)
            self._going -= leaving
        rereads = self._take_secrets()
        if todo.sections:
            self._loaded, refused = batch.add(self._session, todo.sections)
            self._failures |= refused
        elif rereads:
            self._secrets_changed = True
            self._session.read("--rereadsecrets")
            self._secrets_changed = False

    def _obey(self, conn: ConnName | None, order: Callable[[], None]) -> None:
        try:
            order()
        except IkeError as error:
            if not self.connected:
                raise
            if conn is not None:
                self._failures[conn] = str(error)

    # --- events ----------------------------------------------------------------------------------

    def drain(self) -> Events:
        """Look at what has changed, if it is time to; ``lost`` is said once."""
        conns: set[ConnName] = set()
        reasons: list[tuple[ConnName, str]] = []
        if self.connected:
            try:
                self._follow(conns, reasons)
            except IkeError:
                self._session.lost = True
                self._session.close()
        lost, self._session.lost = self._session.lost, False
        return Events(conns=frozenset(conns), lost=lost, messages=messages.joined(reasons))

    def _follow(self, conns: set[ConnName], reasons: list[tuple[ConnName, str]]) -> None:
        moved, lines = self._session.hear()
        for line in lines:
            if (said := states.parse_said(line, self._dialect)) is None:
                continue
            if said.begins:
                self._begun.add(said.serial)
            conn = conf.conn_of(said.name)
            if conn is not None and said.is_reason:
                reasons.append((conn, said.words))
        now = time.monotonic()
        if moved:
            self._look_at = min(self._look_at, max(now, self._looked_at + SOON_S))
        if now >= self._look_at:
            if self._going:
                self._settle()
            self._look()
        tales = self._tales()
        conns |= {c for c in tales.keys() | self._told.keys() if tales.get(c) != self._told.get(c)}
        self._told = tales

    def _tales(self) -> dict[ConnName, object]:
        """What is worth an event, by connection."""
        found: dict[ConnName, list[object]] = {}
        for state in self._shown.states:
            if (conn := conf.conn_of(state.name)) is not None:
                found.setdefault(conn, []).append((state.serial, state.kind, state.parent))
        return {**{conn: tuple(one) for conn, one in found.items()}, **self._shown.unreadable}
