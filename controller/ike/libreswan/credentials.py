# SPDX-License-Identifier: Apache-2.0
"""What pluto holds besides connections: keys, certificates, and shared keys.

Edge (pluto). Input: keys and certificates. Output: what is there of ours. pluto reads shared keys
from a file, all others from its database. It keeps the authorities that it has used in memory, for
up to five minutes: only then does it trust one that was added, or no longer trust one that is gone.

Source: Libreswan 4.10 programs/pluto/root_certs.c, FREE_ROOT_CERTS_TIMEOUT.
"""

from collections.abc import Iterable

from ovn_ipsec.errors import IkeError
from ovn_ipsec.model.observation import Known, Unknown

from ...plan.connection import ConnConfig
from ...plan.credentials.credential import Credential, Secret
from ...plan.credentials.proof import Proof
from . import secrets
from .nss import CA, OWN, PIN, Nss
from .session import NOT_CONNECTED, Session
from .tools import write


class PlutoCredentials:
    """The credentials of one pluto."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._nss = Nss(session.tools)
        self._entries: secrets.Entries = {}
        self._secrets_changed = False

    def _look_at_credentials(self) -> None:
        """Read what is there of ours.

        Raises:
            IkeError: It cannot be read.
        """
        self._nss.look()
        self._secrets_changed = False
        path = self._session.places.secrets
        try:
            self._entries = secrets.parse_entries(path.read_text("utf-8", "replace"))
        except FileNotFoundError:
            self._entries = {}
        except OSError as error:
            raise IkeError(f"{path}: {error.strerror}") from None

    def _take_secrets(self) -> bool:
        """Write the shared keys if they have changed; returns whether pluto has to read them."""
        if not self._secrets_changed:
            return False
        write(self._session.places.secrets, secrets.format_entries(self._entries))
        self._secrets_changed = False
        return True

    def _put_secret(self, conn: ConnConfig, proof: Proof) -> None:
        ends, entry = secrets.entry(conn, proof.keys, plain=proof.plain)
        if self._entries.get(ends) != entry:
            self._entries[ends] = entry
            self._secrets_changed = True

    def _put_certificates(self, kind: str, certificates: Iterable[bytes]) -> list[str]:
        return [self._nss.put(kind, der) for der in certificates]

    def _drop_certificates(self, used: frozenset[str]) -> None:
        """Remove all certificates but those that are used, by nickname."""
        for kind in (OWN, CA, PIN):
            for name in sorted(self._nss.names(kind) - used):
                self._nss.drop(name)

    def try_credential(self, credential: Credential) -> None:
        """Test whether Libreswan accepts a credential.

        Raises:
            IkeError: It does not, or is gone.
        """
        self._session.demand()
        try:
            self._nss.judge(credential)
        except IkeError as error:
            what = f"the IKE daemon refuses the certificate {credential.subject[:80]}"
            raise IkeError(f"{what}: {error}") from error

    def load_key(self, key: Secret) -> str:
        """Store a private key for pluto; returns its id, as in ``Credential.key_id``.

        Raises:
            IkeError: It cannot be used, or pluto is gone.
        """
        self._session.demand()
        return self._nss.load_key(key)

    def keys(self) -> Known[frozenset[str]] | Unknown:
        """Read the ids of the private keys that were loaded through this interface."""
        try:
            self._session.demand()
            self._nss.look()
        except IkeError as error:
            return Unknown(str(error))
        return Known(self._nss.key_ids)

    def certificates(self, identity: str) -> Known[tuple[bytes, ...]] | Unknown:
        """Say that nobody can tell: whack shows what is in NSS, and no peer's certificate is."""
        return Unknown(f"Libreswan does not tell the certificates of {identity}")

    def unload_key(self, key_id: str) -> None:
        """Remove a private key; SAs stay. One that is not there is no error.

        Raises:
            IkeError: pluto is gone.
        """
        self._session.demand()
        self._nss.unload_key(key_id)

    def shared_keys(self) -> Known[frozenset[str]] | Unknown:
        """Read the ids of the shared keys that were loaded through this interface."""
        if not self._session.is_open:
            return Unknown(NOT_CONNECTED)
        return Known(secrets.all_ids(self._entries))

    def unload_shared(self, key_id: str) -> None:
        """Remove a shared key; SAs stay. One that is not there is no error.

        Raises:
            IkeError: pluto is gone.
        """
        self._session.demand()
        kept = secrets.without(self._entries, key_id)
        if kept != self._entries:
            self._entries, self._secrets_changed = kept, True

    def load_crl(self, der: bytes) -> None:  # noqa: ARG002
        """Refuse: a running pluto does not see a list that others put into its database.

        Raises:
            IkeError: always.
        """
        raise IkeError("Libreswan takes no list of revoked certificates while it runs")

    def set_ocsp(self, authorities: tuple[bytes, ...], uri: str) -> None:  # noqa: ARG002
        """Refuse a responder: pluto is told of one when it starts.

        Raises:
            IkeError: one is named.
        """
        if uri:
            raise IkeError("Libreswan takes its OCSP responder from ipsec.conf (ocsp-uri)")
