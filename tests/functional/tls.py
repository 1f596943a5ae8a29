# SPDX-License-Identifier: Apache-2.0
"""Certificates for ovsdb-server and its clients, made in a moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ovn_ipsec.ovsdb.streams import TlsFiles


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass
class Authority:
    """A CA, and what it signs."""

    name: str

    def __post_init__(self) -> None:
        """Make its key."""
        self._key = ec.generate_private_key(ec.SECP256R1())

    def issue(self, folder: Path, name: str, password: bytes | None = None) -> TlsFiles:
        """Write a key, its certificate and that of the CA, in place of what is there."""
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        files = TlsFiles(
            private_key=str(folder / f"{name}-key.pem"),
            certificate=str(folder / f"{name}-cert.pem"),
            ca_cert=str(folder / f"{name}-ca.pem"),
        )
        lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            lock = serialization.BestAvailableEncryption(password)
        pem = serialization.Encoding.PEM
        held = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, lock)
        Path(files.private_key).write_bytes(held)
        Path(files.certificate).write_bytes(self._sign(name, key.public_key()).public_bytes(pem))
        own = self._sign(self.name, self._key.public_key(), is_ca=True)
        Path(files.ca_cert).write_bytes(own.public_bytes(pem))
        return files

    def _sign(
        self, name: str, key: ec.EllipticCurvePublicKey, *, is_ca: bool = False
    ) -> x509.Certificate:
        now = datetime.now(UTC)  # noqa: TID251 - a certificate's dates are wall time
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
