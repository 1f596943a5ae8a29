# SPDX-License-Identifier: Apache-2.0
"""Edge (files): a private key and what belongs to it in one file, so that the two always match.

The file has mode 0600, is in the state directory, and is always replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ovn_ipsec.errors import EdgeError, IPsecError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki import files
from ovn_ipsec.pki.errors import PkiError
from ovn_ipsec.pki.keys import PrivateKey, new_key, private_pem, read_private
from ovn_ipsec.pki.values import KeyKind

from ..plan.credentials.credential import Secret, listed, same_name
from ..plan.credentials.suitability import spki

_log = structlog.get_logger()

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
        """The private half in the form that the IKE daemon accepts: PKCS #8 in DER."""
        return Secret(self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def make_key() -> PrivateKey:
    """Make a key that every IKE daemon signs with, quickly."""
    return new_key(KeyKind.ECDSA_P256)


def load(path: Path) -> KeyPair | None:
    """Read a pair; None if there is none.

    Raises:
        PkiError: There is a file that cannot be read, that others may read, or that is invalid.
    """
    if not path.exists():
        return None
    key, end, text = files.read(path, limit=FILE_MAX, private=True).partition(_END)
    return KeyPair(read_private(str(path), key + end), text.decode("ascii", "replace"))


def load_for(
    path: Path, chassis: ChassisName, owners: Callable[[str], Sequence[str]]
) -> KeyPair | None:
    """Read the pair of one chassis; None if there is none.

    What is not its own is never overwritten: the pair of another name, which this chassis had
    before, is put aside and found again if the name comes back; one that is damaged is kept as
    ``*.damaged``.

    Args:
        path: Where it is.
        chassis: Our name.
        owners: Returns the names that the text beside the key is for; may raise if it is invalid.

    Raises:
        EdgeError: A file cannot be put aside.
    """
    found = _owned(path, chassis, owners)
    aside = _aside(path, chassis)
    if found is None and aside.exists():
        _move(aside, path)
        found = _owned(path, chassis, owners)
    return found


def _owned(
    path: Path, chassis: ChassisName, owners: Callable[[str], Sequence[str]]
) -> KeyPair | None:
    try:
        pair = load(path)
        if pair is None:
            return None
        found = owners(pair.text)
    except IPsecError as error:
        _log.warning("key_replaced", path=str(path), reason=error.diagnostics())
        _move(path, path.with_name(f"{path.name}.damaged"))
        return None
    if any(same_name(name, chassis) for name in found):
        return pair
    words = f"it belongs to {listed(found)}, but this chassis is now {chassis}"
    _log.warning("key_put_aside", path=str(path), reason=words)
    _move(path, _aside(path, found[0] if found else ""))
    return None


def _aside(path: Path, name: str) -> Path:
    """Where a pair stands while its chassis has another name."""
    return path.with_name(f"{path.stem}-{sha256(name.lower().encode()).hexdigest()[:16]}.pem")


def _move(path: Path, target: Path) -> None:
    try:
        path.replace(target)
    except OSError as error:
        raise EdgeError(f"{path}: cannot be moved away: {error.strerror}") from None


def store(path: Path, pair: KeyPair) -> None:
    """Write a pair, whole or not at all.

    Raises:
        PkiError: It cannot be written; what was there is as it was.
    """
    files.write(path, private_pem(pair.key) + pair.text.encode("ascii"), files.PRIVATE)


def remove(path: Path) -> None:
    """Delete a pair; if there is none, that is not an error.

    Raises:
        EdgeError: It cannot be deleted.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}") from None


UNUSABLE = (PkiError, EdgeError)
"""What the functions here raise."""
