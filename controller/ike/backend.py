# SPDX-License-Identifier: Apache-2.0
"""The interface of an IKE daemon.

Edge (the interface only). Input: connection configurations. Output: what the daemon holds.
No call waits for a peer and none blocks for longer than the deadline of the edge. After an
IkeError with ``connected`` false everything is Unknown until ``open`` succeeds.
"""

from dataclasses import dataclass
from typing import Protocol

from ovn_ipsec.model.observation import Known, Unknown

from ..plan.connection import ConnConfig, ConnName, DaemonSeen, IkeSa
from ..plan.credentials.credential import Credential, Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What the daemon said since the last time; a hint to look, not the truth."""

    conns: frozenset[ConnName] = frozenset()
    """Ours whose SAs changed."""
    lost: bool = False
    """Events may have been missed: the session ended, or it did not keep up. Observe it all."""
    messages: tuple[tuple[ConnName, str], ...] = ()
    """The last reason for a failure of a connection, in the daemon's words, sorted by name."""


class IkeBackend(Protocol):
    """One daemon; nothing happens before ``open``, and only ``ovn-`` names are touched."""

    @property
    def connected(self) -> bool:
        """Whether the command session is up."""

    @property
    def fetches(self) -> bool:
        """Whether the daemon that is or was connected last can fetch over http."""

    def open(self) -> None:
        """Connect both sessions and register for events; twice is no error.

        Raises:
            IkeError: the daemon is not there or does not answer.
        """

    def close(self) -> None:
        """Drop both sessions; what the daemon holds stays."""

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
        """Unload a connection; SAs and traps stay. One that is not loaded is no error.

        Raises:
            IkeError: the daemon is gone.
        """

    def install(self, name: ConnName, child: str) -> None:
        """Install the trap of a child, in place of its older one without a gap.

        Raises:
            IkeError: the connection is not loaded, or the daemon is gone.
        """

    def uninstall(self, name: ConnName, child: str) -> None:
        """Remove the trap of a child; none is no error.

        Raises:
            IkeError: the daemon is gone.
        """

    def initiate(self, name: ConnName, child: str) -> None:
        """Start to bring a child up, and do not wait: the outcome is in events and SAs.

        Raises:
            IkeError: the connection is not loaded, or the daemon is gone.
        """

    def terminate_ike(self, ike_id: int, *, force: bool = False) -> None:
        """Start to take an IKE_SA down with its children; one that is gone is no error.

        Args:
            ike_id: its id.
            force: whether to drop it without waiting for the peer's answer.

        Raises:
            IkeError: the daemon is gone.
        """

    def terminate_child(self, child_id: int) -> None:
        """Start to take a CHILD_SA down; one that is gone is no error.

        Raises:
            IkeError: the daemon is gone.
        """

    def rekey_child(self, child_id: int) -> None:
        """Start to rekey a CHILD_SA; one that is gone is no error.

        Raises:
            IkeError: the daemon is gone.
        """

    def try_credential(self, credential: Credential) -> None:
        """See whether the daemon takes a credential; it changes nothing that is in use.

        Raises:
            IkeError: the daemon refused it, or is gone.
        """

    def load_key(self, key: Secret) -> str:
        """Give the daemon a private key.

        Args:
            key: PEM or DER, not encrypted.

        Returns:
            Its id, the SHA-1 of the public key in hex, as in ``Credential.key_id``.

        Raises:
            IkeError: the daemon refused the key, or is gone.
        """

    def keys(self) -> Known[frozenset[str]] | Unknown:
        """Read the ids of the private keys that were loaded over this interface."""

    def unload_key(self, key_id: str) -> None:
        """Take a private key away; SAs stay. One that is not loaded is no error.

        Raises:
            IkeError: the daemon is gone.
        """

    def shared_keys(self) -> Known[frozenset[str]] | Unknown:
        """Read the ids of the shared keys that were loaded over this interface."""

    def load_crl(self, der: bytes) -> None:
        """Give the daemon a list of revoked certificates; SAs stay.

        Raises:
            IkeError: the daemon refused it, or is gone.
        """

    def set_ocsp(self, authorities: tuple[bytes, ...], uri: str) -> None:
        """Say where the daemon shall ask whether certificates are revoked (OCSP).

        Args:
            authorities: Those whose certificates it is about, DER; no others are asked about.
            uri: Whom to ask, http; empty: nobody but whom a certificate names itself.

        Raises:
            IkeError: the daemon refused it, or is gone.
        """

    def unload_shared(self, key_id: str) -> None:
        """Take a shared key away; SAs stay. One that is not loaded is no error.

        Raises:
            IkeError: the daemon is gone.
        """

    def fileno(self) -> int:
        """Give the descriptor that is readable when events wait; -1 while not connected."""

    def drain(self) -> Events:
        """Take what events wait, without blocking; ``lost`` is said once."""
