# SPDX-License-Identifier: Apache-2.0
"""Read the certificate, key and authority files of this chassis, and notice when they change.

Edge (files, and ``cryptography`` for what is in them). Input: paths. Output: Credential, and its
key as a Secret. The key never appears in a log, an error or a representation.
"""

import os
import stat
from datetime import datetime
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ovn_ipsec.errors import CredentialError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki.errors import PkiError
from ovn_ipsec.pki.files import read_secret_file
from ovn_ipsec.pki.psk import SECRET_MIN
from ovn_ipsec.schema.open_vswitch import CredentialFiles

from ..plan.credentials.certificate import describe, judge, parse_certificates, parse_crls
from ..plan.credentials.chain import Places
from ..plan.credentials.credential import Credential, Secret
from ..plan.credentials.stock import stock_fault
from ..plan.credentials.suitability import refuse, spki

FILE_MAX = 1 << 20
SECRETS_MAX = 2
"""Lines of a secret file: the one in use, and the one before or after it."""
Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]
"""Modification time in ns, size and inode of each file, None for one that is not there."""


def stamp(files: CredentialFiles) -> Stamp:
    """Check whether the files are still the same, without reading them.

    Call it before ``read``: a change in between then shows the next time.
    """
    return tuple(map(stamp_of, (files.certificate, files.private_key, files.ca_cert)))


def stamp_of(path: str) -> tuple[int, int, int] | None:
    """Check one file: modification time in ns, size and inode; None if it does not exist."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a path from a database may hold a null byte
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read(files: CredentialFiles, chassis: ChassisName, now: datetime) -> tuple[Credential, Secret]:
    """Read and check a credential.

    Args:
        files: the paths.
        chassis: the name that peers expect.
        now: wall time, aware.

    Returns:
        The credential and its private key, PKCS #8 in DER.

    Raises:
        CredentialError: a file is missing, does not hold what it should, or the three do not
            fit each other, the name or the time. It names the file and the cause.
    """
    certificates = _certificates(files.certificate, "certificate")
    authorities = _certificates(files.ca_cert, "CA certificate")
    key = _key(files.private_key)
    places = Places(
        certificate=files.certificate, private_key=files.private_key, ca_cert=files.ca_cert
    )
    parts = (certificates, authorities, spki(key.public_key()))
    credential = judge(places, parts, chassis, now)
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return credential, Secret(pkcs8)


def read_pin(
    files: CredentialFiles, chassis: ChassisName, now: datetime
) -> tuple[Credential, Secret, str]:
    """Read and check a certificate that peers pin, and with which ovs-monitor-ipsec proves itself.

    Args:
        files: The paths; the one of the authorities does not matter.
        chassis: The name that peers expect.
        now: Wall time, aware.

    Returns:
        The certificate, its private key (PKCS #8 in DER), and the certificate in PEM.

    Raises:
        CredentialError: As in ``read``; or the certificate is not one that can be pinned.
    """
    certificates = _certificates(files.certificate, "certificate")
    if len(certificates) > 1:
        refuse(files.certificate, "more than one certificate: expected the one that peers pin")
    (certificate,) = certificates
    fault = stock_fault(chassis, certificate, now)
    if fault:
        refuse(files.certificate, f"cannot be pinned: {fault}")
    key = _key(files.private_key)
    if spki(key.public_key()) != spki(certificate.public_key()):
        refuse(files.private_key, f"is not the key of the certificate {files.certificate}")
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    text = certificate.public_bytes(Encoding.PEM).decode("ascii")
    return describe(files.certificate, certificate, ()), Secret(pkcs8), text


def read_secrets(path: str) -> tuple[Secret, ...]:
    """Read the secret that a cluster shares, and at most one more that is also accepted.

    Args:
        path: A file of mode 0600 with one secret a line.

    Returns:
        The first line is the one to use.

    Raises:
        CredentialError: It is not such a file; the error says nothing about its content.
    """
    try:
        lines = [line.removesuffix(b"\r") for line in read_secret_file(path).split(b"\n")]
    except (PkiError, ValueError) as error:
        raise CredentialError(str(error)) from None
    found = list(dict.fromkeys(line for line in lines if line))
    if len(found) > SECRETS_MAX:
        refuse(
            path,
            f"more than {SECRETS_MAX} lines: expected one secret per line; the first one is used",
        )
    if any(len(line) < SECRET_MIN for line in found):
        refuse(path, f"a line is too short for a secret; expected at least {SECRET_MIN} bytes")
    return tuple(map(Secret, found))


def read_crls(path: str, now: datetime) -> tuple[tuple[bytes, ...], str]:
    """Read revocation lists.

    Args:
        path: A PEM file.
        now: Wall time, aware.

    Returns:
        Each in DER, and which is out of date.

    Raises:
        CredentialError: It is not such a file.
    """
    return parse_crls(path, _content(path, "CRL"), now)


def _content(path: str, what: str) -> bytes:
    if not path:
        raise CredentialError(f"no {what} is configured")
    try:
        # Nonblocking, so that a pipe at that path does not hold the loop.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        refuse(path, f"cannot read the {what}: {getattr(error, 'strerror', None) or error}")
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            refuse(path, f"the {what} is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        refuse(path, f"cannot read the {what}: {error.strerror}")
    finally:
        os.close(descriptor)
    if len(data) > FILE_MAX:
        refuse(path, f"the {what} is larger than {FILE_MAX} bytes")
    return data


def _certificates(path: str, what: str) -> list[x509.Certificate]:
    return parse_certificates(path, _content(path, what), what)


def _key(path: str) -> PrivateKeyTypes:
    data = _content(path, "private key")
    try:
        return load_pem_private_key(data, password=None)
    except TypeError:
        refuse(path, "the private key is encrypted with a passphrase")
    except (ValueError, UnsupportedAlgorithm):
        refuse(path, "holds no private key in PEM that can be parsed")
