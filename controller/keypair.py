# SPDX-License-Identifier: Apache-2.0
"""Edge (files): a private key and what belongs to it in one file, so that the two always fit.

Of mode 0600 in the state directory, and replaced as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ovn_ipsec.errors import EdgeError
from ovn_ipsec.pki import files
from ovn_ipsec.pki.errors import PkiError
from ovn_ipsec.pki.keys import PrivateKey, new_key, private_pem, read_private
from ovn_ipsec.pki.values import KeyKind

from .plan.credential import Secret
from .plan.suitability import spki

FILE_MAX = 1 << 16
_END = b"-----END PRIVATE KEY-----\n"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key, and the PEM text of the certificate or request that was made for it."""

    key: PrivateKey
    text: str

    def __repr__(self) -> str:
        """Hide the key."""
        return "KeyPair(...)"

    @property
    def public(self) -> bytes:
        """The public half, as ``certificate.spki`` encodes it."""
        return spki(self.key.public_key())

    def secret(self) -> Secret:
        """The private half as the IKE daemon takes it: PKCS #8 in DER."""
        return Secret(self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def make_key() -> PrivateKey:
    """Make a key that every IKE daemon signs with, quickly."""
    return new_key(KeyKind.ECDSA_P256)


def load(path: Path) -> KeyPair | None:
    """Read a pair; None when there is none.

    Raises:
        PkiError: There is a file that cannot be read, that others may read, or of junk.
    """
    if not path.exists():
        return None
    key, end, text = files.read(path, limit=FILE_MAX, private=True).partition(_END)
    return KeyPair(read_private(str(path), key + end), text.decode("ascii", "replace"))


def store(path: Path, pair: KeyPair) -> None:
    """Write a pair, whole or not at all.

    Raises:
        PkiError: It cannot be written; what was there is as it was.
    """
    files.write(path, private_pem(pair.key) + pair.text.encode("ascii"), files.PRIVATE)


def remove(path: Path) -> None:
    """Delete a pair; none is no error.

    Raises:
        EdgeError: It cannot be deleted.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}") from None


UNUSABLE = (PkiError, EdgeError)
"""What the functions here raise."""
