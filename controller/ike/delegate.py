# SPDX-License-Identifier: Apache-2.0
"""A stock ovs-monitor-ipsec, and whichever IKE daemon it drives, as an IKE daemon.

Edge (XFRM netlink). Input: the pairs that are wanted. Output: what the kernel holds of them.

Nobody is told anything: ovs-monitor-ipsec goes by the tunnel ports, and by the files that
Open_vSwitch names. So what is loaded here is only remembered, and what is made or ended is made or
ended by it alone. Its policies ask the IKE daemon for SAs when something is sent; to initiate is to
have the kernel ask, without sending anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from ovn_ipsec.clock import utc_now
from ovn_ipsec.errors import EdgeError, IkeError, XfrmError
from ovn_ipsec.model.chassis import Pair
from ovn_ipsec.model.ike import NAMES, Ike
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.policy import Auth, Profile, Revocation

from ..plan.connection import OUT, Abilities, ConnConfig, ConnName, DaemonSeen, IkeSa
from ..plan.credentials.credential import Credential, Secret
from ..xfrm.messages import acquire
from ..xfrm.socket import XfrmEventSocket, XfrmSocket
from ..xfrm.values import NO_EVENTS
from .backend import Events
from .kernel_sas import NOTHING_HELD, held, sas_of
from .private_key import key_id, parse_private_key

SOON_S = 0.2
"""Between two looks while the kernel reports changes, at least."""
REST = 4.0
"""How long no other look follows one that nobody waits for, as a multiple of what it took."""
IDLE_S = 10.0
FRESH_S = 0.1
"""For how long a look serves several questions."""
_NEVER = float("-inf")
_REVOCATION = "ovs-monitor-ipsec tells no IKE daemon of revoked certificates"


class Delegate:
    """What the kernel shows of the work of ovs-monitor-ipsec."""

    kind = NAMES[Ike.DELEGATE]
    abilities = Abilities(
        traps=False,
        beside=False,
        revocation=False,
        shown=False,
        delegated=True,
        auths=frozenset({Auth.CA, Auth.PINNED}),
    )
    fetches = False

    def __init__(
        self,
        kernel: XfrmSocket | None = None,
        events: XfrmEventSocket | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store how the kernel is asked; ``open`` asks it.

        Args:
            kernel: None: another socket.
            events: None: another socket.
            clock: Monotonic seconds.
        """
        self._kernel = kernel or XfrmSocket()
        self._events = events or XfrmEventSocket()
        self._clock = clock
        self._open = False
        self._lost = False
        self._pairs: dict[ConnName, tuple[Pair, Auth]] = {}
        self._loaded: set[ConnName] = set()
        """The others stay until the kernel has no SA of theirs."""
        self._keys: set[str] = set()
        self._held = NOTHING_HELD
        self._told: dict[ConnName, tuple[IkeSa, ...]] = {}
        """What was reported as events."""
        self._looked_at = self._look_at = _NEVER
        """When the last look ended, and when the next one is due."""
        self._rest_s = 0.0
        """After a look, as long as it took several times over."""

    # --- the session -----------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the kernel answers."""
        return self._open

    def open(self) -> None:
        """Look at what the kernel holds; twice is no error.

        Raises:
            IkeError: The kernel does not answer.
        """
        if self._open:
            return
        with suppress(EdgeError):  # without it, changes are seen later
            self._events.open()
        self._open = True
        self._look()
        self._lost = True

    def close(self) -> None:
        """Let go of the kernel; what it holds stays."""
        self._kernel.close()
        self._events.close()
        self._open = False

    def fileno(self) -> int:
        """Give the descriptor that is readable when something happened; -1 while not connected."""
        return self._events.fileno() if self._open else -1

    def wake_at(self) -> float | None:
        """When to call ``drain`` although nothing is readable, monotonic seconds."""
        return self._look_at if self._open else None

    def _demand(self) -> None:
        if not self._open:
            raise IkeError("the kernel's IPsec tables are not read")

    def _look(self) -> None:
        """Read the kernel's tables.

        Raises:
            IkeError: It does not answer.
        """
        begin = self._clock()
        try:
            self._held = held(self._kernel.dump_policies(), self._kernel.dump_states())
        except XfrmError as error:
            self._lost = True
            self.close()
            raise IkeError(f"the kernel's IPsec tables: {error.diagnostics()}") from error
        for name in self._pairs.keys() - self._loaded:
            if not self._sas(name):
                del self._pairs[name]
        self._looked_at = self._clock()
        self._rest_s = REST * (self._looked_at - begin)
        self._look_at = self._looked_at + IDLE_S

    def _look_again(self) -> None:
        self._demand()
        if self._clock() >= self._looked_at + max(FRESH_S, self._rest_s):
            self._look()

    def _look_soon(self, wait_s: float = 0.0) -> None:
        """Look again at the end of the rest, and no sooner after the last look than said."""
        self._look_at = min(self._look_at, self._looked_at + max(wait_s, self._rest_s))

    def observe(self) -> Known[DaemonSeen] | Unknown:
        """Read everything of the pairs that were loaded."""
        try:
            self._look_again()
        except IkeError as error:
            return Unknown(str(error))
        self._told = self._tales()
        return Known(
            DaemonSeen(
                since="",
                version="(delegate)",
                conns=frozenset(self._loaded),
                sas={name: sas for name, sas in self._told.items() if sas},
                traps=frozenset(),
                profiles=frozenset({Profile.DEFAULT}),
            )
        )

    def observe_sas(self, conn: ConnName) -> Known[tuple[IkeSa, ...]] | Unknown:
        """Read the SAs of one pair; one that was not loaded has none."""
        try:
            self._look_again()
        except IkeError as error:
            return Unknown(str(error))
        return Known(self._sas(conn))

    def _sas(self, name: ConnName) -> tuple[IkeSa, ...]:
        if name not in self._pairs:
            return ()
        pair, auth = self._pairs[name]
        found = sas_of(self._held, name, pair, utc_now().timestamp())
        return tuple(replace(sa, auth=auth) for sa in found)

    def _tales(self) -> dict[ConnName, tuple[IkeSa, ...]]:
        return {name: self._sas(name) for name in self._pairs}

    def drain(self) -> Events:
        """Look at what has changed, if it is time to; ``lost`` is said once."""
        conns = frozenset[ConnName]()
        if self._open:
            if self._events.drain() != NO_EVENTS:
                self._look_soon(SOON_S)
            if self._clock() >= self._look_at:
                with suppress(IkeError):
                    self._look()
                    conns = self._news()
        lost, self._lost = self._lost, False
        return Events(conns=conns, lost=lost)

    def _news(self) -> frozenset[ConnName]:
        """Pairs whose SAs are others than when they were last reported."""
        before, self._told = self._told, self._tales()
        names = before.keys() | self._told.keys()
        return frozenset(name for name in names if before.get(name, ()) != self._told.get(name, ()))

    # --- pairs -----------------------------------------------------------------------------------

    def load(self, conn: ConnConfig) -> None:
        """Remember a pair, whose SAs are reported from now on.

        Raises:
            IkeError: It cannot be had from ovs-monitor-ipsec, or the kernel does not answer.
        """
        self._demand()
        if any(proof.revocation is not Revocation.RELAXED for proof in conn.proofs):
            raise IkeError(_REVOCATION)
        # Who has authenticated is not seen: with the first method, for the ports name no other.
        self._pairs[conn.name] = conn.pair, conn.proofs[0].auth
        self._loaded.add(conn.name)
        self._look_soon()

    def unload(self, name: ConnName) -> None:
        """Forget a pair, once its SAs are gone; one that is not known is no error.

        Raises:
            IkeError: The kernel does not answer.
        """
        self._demand()
        self._loaded.discard(name)
        self._look_soon()

    def install(self, name: ConnName, child: str) -> None:
        """Refuse: ovs-monitor-ipsec has its own traps.

        Raises:
            IkeError: always.
        """
        raise IkeError(f"{name} {child}: only ovs-monitor-ipsec can install that")

    def uninstall(self, name: ConnName, child: str) -> None:
        """Do nothing: there is no trap of ours."""

    def initiate(self, name: ConnName, child: str) -> None:
        """Have the kernel ask for the SA of what a pair sends, as soon as there is a policy for it.

        Raises:
            IkeError: The pair is not loaded, or the kernel does not answer.
        """
        self._demand()
        if name not in self._loaded:
            raise IkeError(f"{name} is not loaded")
        pair, _ = self._pairs[name]
        wanted = self._held.outward(pair)[:1] if child == OUT else ()
        try:
            self._kernel.send(acquire(policy, (pair.local, pair.remote)) for policy in wanted)
        except XfrmError as error:
            raise IkeError(f"the kernel does not ask for an SA: {error.diagnostics()}") from error

    def terminate_ike(self, ike_id: int, *, force: bool = False) -> None:
        """Do nothing: only ovs-monitor-ipsec ends what it has made."""

    def terminate_child(self, child_id: int) -> None:
        """Do nothing: only ovs-monitor-ipsec ends what it has made."""

    def rekey_child(self, child_id: int) -> None:
        """Do nothing: the IKE daemon does so by itself."""

    def flush(self) -> Mapping[ConnName, str]:
        """Return nothing: nothing was collected, and nobody refuses anything."""
        return {}

    # --- credentials -----------------------------------------------------------------------------

    def try_credential(self, credential: Credential) -> None:
        """Take any: the files are read by the IKE daemon, which tells nobody here."""

    def load_key(self, key: Secret) -> str:
        """Return the id of a private key, as in ``Credential.key_id``; the key is not kept.

        Raises:
            IkeError: It cannot be used.
        """
        known_as = key_id(parse_private_key(key))
        self._keys.add(known_as)
        return known_as

    def keys(self) -> Known[frozenset[str]] | Unknown:
        """Return the ids of the private keys that were shown here."""
        return Known(frozenset(self._keys))

    def unload_key(self, key_id: str) -> None:
        """Forget the id of a private key."""
        self._keys.discard(key_id)

    def shared_keys(self) -> Known[frozenset[str]] | Unknown:
        """Return none: no secret is given to ovs-monitor-ipsec."""
        return Known(frozenset())

    def unload_shared(self, key_id: str) -> None:
        """Do nothing: there is none."""

    def certificates(self, identity: str) -> Known[tuple[bytes, ...]] | Unknown:
        """Say that nobody can tell."""
        return Unknown(f"ovs-monitor-ipsec does not tell the certificates of {identity}")

    def load_crl(self, der: bytes) -> None:  # noqa: ARG002
        """Refuse.

        Raises:
            IkeError: always.
        """
        raise IkeError(_REVOCATION)

    def set_ocsp(self, authorities: tuple[bytes, ...], uri: str) -> None:  # noqa: ARG002
        """Refuse a responder.

        Raises:
            IkeError: one is named.
        """
        if uri:
            raise IkeError(_REVOCATION)
