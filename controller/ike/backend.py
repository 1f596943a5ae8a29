# SPDX-License-Identifier: Apache-2.0
"""The interface of an IKE daemon.

Edge (the interface only). Input: connection configurations. Output: what the daemon holds.
A backend may collect what it is asked for until ``flush`` or the next observation, and then pass it
on as a whole. No call waits for a peer and none blocks for longer than the deadline of the edge.
After an IkeError with ``connected`` false everything is Unknown until ``open`` succeeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ovn_ipsec.model.observation import Known, Unknown

from ..plan.connection import Abilities, ConnConfig, ConnName, DaemonSeen, IkeSa
from ..plan.credentials.credential import Credential, Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What the daemon reported since the last call; a hint to look, not the truth."""

    conns: frozenset[ConnName] = frozenset()
    """Connections of ours whose SAs changed."""
    lost: bool = False
    """Events may have been missed: the session ended, or fell behind. Observe everything again."""
    messages: tuple[tuple[ConnName, str], ...] = ()
    """The last reason why a connection failed, in the daemon's words, sorted by name."""


class IkeBackend(Protocol):
    """One daemon; nothing happens before ``open``, and only ``ovn-`` names are touched."""

    kind: str
    """Which daemon this is, for people."""
    abilities: Abilities

    @property
    def connected(self) -> bool:
        """Whether the command session is up."""

    @property
    def fetches(self) -> bool:
        """Whether the currently or last connected daemon can fetch over http."""

    def open(self) -> None:
        """Connect both sessions and subscribe to events; doing so twice is not an error.

        Raises:
            IkeError: the daemon is not running or does not answer.
        """

    def close(self) -> None:
        """Close both sessions; what the daemon holds stays."""

    def observe(self) -> Known[DaemonSeen] | Unknown:
        """Read everything of ours."""

    def observe_sas(self, conn: ConnName) -> Known[tuple[IkeSa, ...]] | Unknown:
        """Read the IKE_SAs of one connection, sorted by id."""

    def load(self, conn: ConnConfig) -> None:
        """Load or replace a connection and its shared keys; SAs and traps stay as they are.

        Raises:
            IkeError: the daemon refused it, or is gone.
        """

    def unload(self, name: ConnName) -> None:
        """Unload a connection; SAs and traps stay. If it is not loaded, that is not an error.

        Raises:
            IkeError: the daemon is gone.
        """

    def install(self, name: ConnName, child: str) -> None:
        """Install the trap of a child, replacing an older one without a gap.

        Raises:
            IkeError: the connection is not loaded, or the daemon is gone.
        """

    def uninstall(self, name: ConnName, child: str) -> None:
        """Remove the trap of a child; if there is none, that is not an error.

        Raises:
            IkeError: the daemon is gone.
        """

    def initiate(self, name: ConnName, child: str) -> None:
        """Start to bring a child up, without waiting: events and SAs show the outcome.

        Raises:
            IkeError: the connection is not loaded, or the daemon is gone.
        """

    def terminate_ike(self, ike_id: int, *, force: bool = False) -> None:
        """Start to take an IKE_SA down with its children; if it is gone, that is not an error.

        Args:
            ike_id: its id.
            force: whether to drop it without waiting for the peer's answer.

        Raises:
            IkeError: the daemon is gone.
        """

    def terminate_child(self, child_id: int) -> None:
        """Start to take a CHILD_SA down; if it is gone, that is not an error.

        Raises:
            IkeError: the daemon is gone.
        """

    def rekey_child(self, child_id: int) -> None:
        """Start to rekey a CHILD_SA; if it is gone, that is not an error.

        Raises:
            IkeError: the daemon is gone.
        """

    def try_credential(self, credential: Credential) -> None:
        """Test whether the daemon accepts a credential, without changing what is in use.

        Raises:
            IkeError: the daemon refused it, or is gone.
        """

    def load_key(self, key: Secret) -> str:
        """Load a private key into the daemon.

        Args:
            key: PEM or DER, not encrypted.

        Returns:
            Its id, the SHA-1 of the public key in hex, as in ``Credential.key_id``.

        Raises:
            IkeError: the daemon refused the key, or is gone.
        """

    def keys(self) -> Known[frozenset[str]] | Unknown:
        """Read the ids of the private keys that were loaded through this interface."""

    def unload_key(self, key_id: str) -> None:
        """Unload a private key; SAs stay. If it is not loaded, that is not an error.

        Raises:
            IkeError: the daemon is gone.
        """

    def shared_keys(self) -> Known[frozenset[str]] | Unknown:
        """Read the ids of the shared keys that were loaded through this interface."""

    def certificates(self, identity: str) -> Known[tuple[bytes, ...]] | Unknown:
        """Read the certificates in the name of an identity that the daemon has now, DER.

        It keeps those that peers have shown for some time, and only so many.

        Args:
            identity: A DNS name.
        """

    def load_crl(self, der: bytes) -> None:
        """Load a CRL into the daemon; SAs stay.

        Raises:
            IkeError: the daemon refused it, or is gone.
        """

    def set_ocsp(self, authorities: tuple[bytes, ...], uri: str) -> None:
        """Set where the daemon asks whether certificates are revoked (OCSP).

        Args:
            authorities: Those whose certificates are meant, DER; no others are asked about.
            uri: The responder, http; empty: only those that the certificates themselves name.

        Raises:
            IkeError: the daemon refused it, or is gone.
        """

    def unload_shared(self, key_id: str) -> None:
        """Unload a shared key; SAs stay. If it is not loaded, that is not an error.

        Raises:
            IkeError: the daemon is gone.
        """

    def flush(self) -> Mapping[ConnName, str]:
        """Carry out what was collected.

        Returns:
            Connections of which some part was refused since the last call, and why: nothing is
            known of what the daemon holds of these. A daemon that is gone is none of their faults.
        """

    def wake_at(self) -> float | None:
        """When to call ``drain`` although nothing is readable, monotonic seconds; None: never."""

    def fileno(self) -> int:
        """Return the descriptor that is readable when events wait; -1 while not connected."""

    def drain(self) -> Events:
        """Read all waiting events, without blocking; ``lost`` is reported once."""
