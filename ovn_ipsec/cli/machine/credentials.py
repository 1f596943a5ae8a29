# SPDX-License-Identifier: Apache-2.0
"""Edge: the certificate, key and secret files that Open_vSwitch names, without what is secret."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from ...pki import files
from ...pki.errors import PkiError
from ...schema.open_vswitch import LocalChassis
from .values import Content, Credentials

FILE_MAX = 1 << 20


def read(here: LocalChassis) -> Credentials:
    """Look at the files.

    Args:
        here: What names them.

    Raises:
        PermissionError: One is there, and not for us to read: the controller runs as root.
    """
    named = here.files
    return Credentials(
        certificate=_public(named.certificate) if named and named.certificate else None,
        private_key=_key(named.private_key) if named and named.private_key else None,
        ca_cert=_public(named.ca_cert) if named and named.ca_cert else None,
        secret=_secret(here.psk_file) if here.psk_file else None,
    )


def _public(path: str) -> Content:
    _knock(path)
    try:
        data = files.read(Path(path), limit=FILE_MAX)
    except (PkiError, ValueError) as error:
        return Content(path=path, fault=_fault(error))
    return Content(path=path, mode=_mode(path), data=data)


def _key(path: str) -> Content:
    """Its public half alone leaves this function."""
    _knock(path)
    try:
        data = files.read(Path(path), limit=FILE_MAX)
    except (PkiError, ValueError) as error:
        return Content(path=path, fault=_fault(error))
    mode = _mode(path)
    try:
        key = load_pem_private_key(data, password=None)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except TypeError:
        return Content(path=path, mode=mode, fault="encrypted with a passphrase")
    except (ValueError, UnsupportedAlgorithm):
        return Content(path=path, mode=mode, fault="holds no private key in PEM that can be parsed")
    return Content(path=path, mode=mode, data=public)


def _secret(path: str) -> Content:
    _knock(path)
    try:
        files.read_secret_file(path)
    except (PkiError, ValueError) as error:
        return Content(path=path, fault=_fault(error))
    return Content(path=path, mode=_mode(path))


def _knock(path: str) -> None:
    """Raise PermissionError for a file that is not for us; whatever else is wrong shows later."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except PermissionError:
        raise
    except (OSError, ValueError):
        return


def _mode(path: str) -> int:
    with suppress(OSError):
        return Path(path).stat().st_mode & 0o7777
    return 0


def _fault(error: Exception) -> str:
    return error.what if isinstance(error, PkiError) else str(error)
