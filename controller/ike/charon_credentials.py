# SPDX-License-Identifier: Apache-2.0
"""What charon holds besides connections: keys, CRLs, and OCSP responders.

Edge (charon). Input: keys and certificates. Output: what charon reports that it has accepted.
"""

from ovn_ipsec.errors import IkeError
from ovn_ipsec.model.observation import Known, Unknown

from ..plan.credentials.credential import Credential, Secret
from . import messages, sections
from .sections import Section, Seen
from .transport import RefusedError, ViciSession

_GONE = ("not found", "no matching SAs")


class CharonCredentials:
    """The credentials of one charon, over its command session."""

    def __init__(self, commands: ViciSession) -> None:
        self._commands = commands

    def try_credential(self, credential: Credential) -> None:
        """Test whether charon accepts a credential, with a connection that matches no peer.

        Raises:
            IkeError: charon refused it, or is gone.
        """
        try:
            self._call("load-conn", messages.probe(credential))
        except RefusedError as error:
            what = f"the IKE daemon refuses the certificate {credential.subject[:80]}"
            raise RefusedError(f"{what}: {error}") from error
        self._call_or_gone("unload-conn", {"name": messages.PROBE})

    def load_key(self, key: Secret) -> str:
        """Give charon a private key.

        Args:
            key: PEM or DER, not encrypted.

        Returns:
            Its id, the SHA-1 of the public key in hex, as in ``Credential.key_id``.

        Raises:
            IkeError: charon refused the key, or is gone.
        """
        return sections.text(self._call("load-key", {"type": "any", "data": key.reveal()}), "id")

    def keys(self) -> Known[frozenset[str]] | Unknown:
        """Read the ids of the private keys that were loaded over vici."""
        try:
            return Known(messages.parse_keys(self._call("get-keys")))
        except IkeError as error:
            return Unknown(str(error))

    def unload_key(self, key_id: str) -> None:
        """Unload a private key; SAs stay. If it is not loaded, that is not an error.

        Raises:
            IkeError: charon is gone.
        """
        self._call_or_gone("unload-key", {"id": key_id})

    def shared_keys(self) -> Known[frozenset[str]] | Unknown:
        """Read the ids of the shared keys that were loaded over vici."""
        try:
            return Known(messages.parse_keys(self._call("get-shared")))
        except IkeError as error:
            return Unknown(str(error))

    def unload_shared(self, key_id: str) -> None:
        """Unload a shared key; SAs stay. If it is not loaded, that is not an error.

        Raises:
            IkeError: charon is gone.
        """
        self._call_or_gone("unload-shared", {"id": key_id})

    def certificates(self, identity: str) -> Known[tuple[bytes, ...]] | Unknown:
        """Read the certificates in the name of an identity that charon has now, DER.

        Those of peers are in a cache of 32 that were verified last.
        """
        try:
            found = self._commands.stream("list-certs", messages.of_identity(identity))[1]
            return Known(messages.parse_certificates(found))
        except IkeError as error:
            return Unknown(str(error))

    def load_crl(self, der: bytes) -> None:
        """Give charon a list of revoked certificates; SAs stay.

        The one before, once used, is in a cache that goes before what is loaded.

        Raises:
            IkeError: charon refused it, or is gone.
        """
        self._call("load-cert", {"type": "X509_CRL", "data": der})
        self._call("flush-certs", {"type": "X509_CRL"})

    def set_ocsp(self, authorities: tuple[bytes, ...], uri: str) -> None:
        """Set who checks the certificates of these authorities for charon (OCSP).

        Raises:
            IkeError: charon refused it, or is gone.
        """
        wanted = messages.ocsp(authorities, uri)
        held = messages.parse_ocsp(self._call("get-authorities"))
        for name in held - wanted.keys():
            self._call_or_gone("unload-authority", {"name": name})
        for name in wanted.keys() - held:
            self._call("load-authority", {name: wanted[name]})

    def _call(self, command: str, message: Section | None = None) -> Seen:
        return self._commands.call(command, message)

    def _call_or_gone(self, command: str, message: Section) -> None:
        try:
            self._commands.call(command, message)
        except RefusedError as error:
            if not any(words in str(error) for words in _GONE):
                raise
