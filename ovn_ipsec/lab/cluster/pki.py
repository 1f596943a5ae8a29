# SPDX-License-Identifier: Apache-2.0
"""A throw-away certificate authority for the laboratory.

Edge (the ``openssl`` program: one fork for each certificate, which in the guest is a tenth of
importing ``cryptography``).
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import CommandError

P256 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
"""A type of key, as ``openssl req -newkey`` takes it."""
P384 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-384")
RSA = ("rsa:2048",)
ED25519 = ("ed25519",)
_SIGNED = ("-CA", "ca.crt", "-CAkey", "ca.key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A certificate, its private key and the authority, as PEM texts."""

    certificate: str
    """The certificate."""
    private_key: str
    """The key; it protects nothing but a laboratory."""
    ca: str
    """The authority's certificate."""

    def __repr__(self) -> str:
        """Show everything but the key."""
        return "Credentials(...)"


class Authority:
    """One certificate authority; make a second one to test a rollover."""

    def __init__(self, folder: Path, name: str = "lab CA", *, key: Sequence[str] = P256) -> None:
        """Remember where its files go, and the type of its key and of those that it signs."""
        self.folder = folder
        self.name = name
        self._key = key

    def open(self) -> None:
        """Make the key and the certificate of the authority."""
        self.folder.mkdir(parents=True, exist_ok=True)
        extensions = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
        subject = f"/O=ovn-ipsec lab/CN={self.name}"
        self._request("ca", subject, extensions, ("-newkey", *self._key, "-days", "30"))

    def issue(
        self,
        name: str,
        *,
        days: int = 30,
        extensions: Sequence[str] = (),
        san: str = "",
        key: Sequence[str] = (),
    ) -> Credentials:
        """Sign a certificate with a new key.

        Args:
            name: The common name, and the DNS name unless ``san`` says otherwise.
            days: Validity from now; 0 makes one that has expired already.
            extensions: More of them, as ``openssl req -addext`` takes them.
            san: The subject alternative name, such as ``DNS:h1,IP:10.9.0.1``.
            key: The type of its key, such as ``RSA``; by default the authority's.
        """
        usages = ("extendedKeyUsage=serverAuth,clientAuth", "basicConstraints=CA:FALSE")
        wanted = (f"subjectAltName={san or f'DNS:{name}'}", *usages, *extensions)
        subject = f"/O=ovn-ipsec lab/CN={name}"
        more = ("-newkey", *(key or self._key), *_SIGNED, "-days", str(max(days, 1)))
        self._request(name, subject, wanted, more)
        if days == 0:
            self._expire(name)
        return Credentials(
            certificate=(self.folder / f"{name}.crt").read_text(),
            private_key=(self.folder / f"{name}.key").read_text(),
            ca=self.certificate,
        )

    @property
    def certificate(self) -> str:
        """The authority's own certificate, as PEM text."""
        return (self.folder / "ca.crt").read_text()

    def _request(
        self, stem: str, subject: str, extensions: Sequence[str], more: Sequence[str]
    ) -> None:
        argv = ["req", "-x509", "-new", "-nodes", "-sha256", "-subj", subject]
        argv += ["-config", "/dev/null", *more]
        argv += ["-keyout", f"{stem}.key", "-out", f"{stem}.crt"]
        argv += [word for extension in extensions for word in ("-addext", extension)]
        self._openssl(argv)
        (self.folder / f"{stem}.key").chmod(0o600)

    def _expire(self, stem: str) -> None:
        # ``openssl req`` refuses a validity of no days, ``openssl x509`` does not.
        certificate, request, names = f"{stem}.crt", f"{stem}.csr", "-copy_extensions"
        made = ["-x509toreq", "-in", certificate, "-signkey", f"{stem}.key", names, "copy"]
        self._openssl(["x509", *made, "-out", request])
        signed = ["-req", "-in", request, "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "0"]
        self._openssl(["x509", *signed, names, "copyall", "-out", certificate])

    def _openssl(self, arguments: Sequence[str]) -> None:
        argv = ["openssl", *arguments]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=self.folder)
        if done.returncode != 0:
            raise CommandError(tuple(argv), done.returncode, done.stderr)
