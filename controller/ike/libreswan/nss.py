# SPDX-License-Identifier: Apache-2.0
"""pluto's database of keys and certificates (NSS).

Edge. Input: keys and certificates. Output: what the database holds of ours.

A private key comes in PKCS #12 through an anonymous file in memory, together with a certificate
that nobody sees, whose only purpose is that the key has a name. Certificates for the same key are
added to it later. Everything of ours is found by the beginnings of its nicknames.
"""

import os
import re
from collections.abc import Iterable
from datetime import timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from ovn_ipsec.clock import utc_now
from ovn_ipsec.errors import IkeError

from ...plan.credentials.credential import Credential, Secret
from ...plan.credentials.suitability import unknown_critical
from ..private_key import PrivateKey, key_id, parse_private_key
from .conf import signs_with
from .pkcs12 import SALT_BYTES, format_pkcs12
from .tools import Tools

KEY, OWN, CA, PIN, TRIED = "ovn-key-", "ovn-cert-", "ovn-ca-", "ovn-pin-", "ovn-try-"
TRUST = {OWN: ",,", CA: "CT,,", PIN: "P,P,P"}
"""certutil(1): nothing; may vouch for clients and servers; is one of a peer."""
_LISTED = re.compile(r"(ovn-(?:key|cert|ca|pin|try)-[0-9a-f]{32,40}) +\S* *\Z")


def nickname(kind: str, der: bytes) -> str:
    """Name a certificate in the database."""
    return kind + sha256(der).hexdigest()[:32]


class Nss:
    """The database of one pluto."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._database = f"sql:{tools.places.nss}"
        self._held: set[str] = set()
        self._owners: dict[str, str] = {}
        """Certificates of ours, by nickname, and the keys that they belong to."""

    def look(self) -> None:
        """Read what it holds of ours.

        Raises:
            IkeError: It cannot be read.
        """
        ended = self._certutil("-L")
        lines = (_LISTED.match(line) for line in ended.splitlines())
        self._held = {match[1] for match in lines if match is not None}

    @property
    def key_ids(self) -> frozenset[str]:
        """Private keys of ours, by Credential.key_id."""
        return frozenset(name.removeprefix(KEY) for name in self._held if name.startswith(KEY))

    def names(self, kind: str) -> frozenset[str]:
        """Certificates of one kind, by nickname."""
        return frozenset(name for name in self._held if name.startswith(kind))

    def load_key(self, key: Secret) -> str:
        """Store a private key; returns its id.

        Raises:
            IkeError: It cannot be used, or cannot be stored.
        """
        private = parse_private_key(key)
        known_as = key_id(private)
        name = KEY + known_as
        if name in self._held:
            return known_as
        key_der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        shown = _placeholder(private, name).public_bytes(Encoding.DER)
        stored = format_pkcs12(name, key_der, shown, os.urandom(SALT_BYTES))
        file = os.memfd_create("ovn-ipsec", os.MFD_CLOEXEC)
        try:
            os.write(file, stored)
            os.lseek(file, 0, os.SEEK_SET)
            ended = self._tools.run(
                "pk12util", "-i", f"/proc/self/fd/{file}", "-d", self._database, "-W", "",
                descriptors=(file,),
            )  # fmt: skip
        finally:
            os.close(file)
        if ended.code != 0:
            raise IkeError(f"the key {known_as} cannot be stored for pluto: {_line(ended.said)}")
        self._held.add(name)
        return known_as

    def unload_key(self, key_id: str) -> None:
        """Remove a private key and its certificates; if it is not there, that is not an error.

        Raises:
            IkeError: It cannot be removed.
        """
        if KEY + key_id not in self._held:
            return
        for name in self.names(OWN):
            if self._owner(name) == key_id:
                self.drop(name)
        # A key goes with the last of its certificates.
        self._certutil("-F", "-n", KEY + key_id)
        self._held.discard(KEY + key_id)

    def put(self, kind: str, der: bytes) -> str:
        """Store a certificate; returns its nickname.

        Raises:
            IkeError: It cannot be stored.
        """
        name = nickname(kind, der)
        if name not in self._held:
            self._certutil("-A", "-n", name, "-t", TRUST[kind], given=der)
            self._held.add(name)
        if kind == OWN:
            self._owners[name] = _owner(der)
        return name

    def drop(self, name: str) -> None:
        """Remove a certificate.

        Raises:
            IkeError: It cannot be removed.
        """
        self._certutil("-D", "-n", name)
        self._held.discard(name)
        self._owners.pop(name, None)

    def judge(self, credential: Credential) -> None:
        """Test whether Libreswan would use a credential.

        Raises:
            IkeError: It would not, and why.
        """
        mine = x509.load_der_x509_certificate(credential.certificate_der)
        signs_with(mine.public_key())
        others = (*credential.ca_der, *credential.chain_der)
        for one in (mine, *map(x509.load_der_x509_certificate, others)):
            cause = unknown_critical(one)
            if cause:
                raise IkeError(cause)
        names = []
        try:
            for der in (credential.certificate_der, *others):
                if any(nickname(kind, der) in self._held for kind in TRUST):
                    # It was accepted; to add it again would keep its name and change its trust.
                    continue
                name = nickname(TRIED, der)
                self._certutil("-A", "-n", name, "-t", ",,", given=der)
                names.append(name)
        finally:
            for name in dict.fromkeys(names):
                self._certutil("-D", "-n", name)

    def _owner(self, name: str) -> str:
        if name not in self._owners:
            pem = self._certutil("-L", "-n", name, "-a")
            self._owners[name] = key_id(x509.load_pem_x509_certificate(pem.encode()))
        return self._owners[name]

    def _certutil(self, *words: str, given: bytes = b"") -> str:
        ended = self._tools.run("certutil", "-d", self._database, *words, given=given)
        if ended.code != 0:
            raise IkeError(f"pluto's database {self._tools.places.nss}: {_line(ended.said)}")
        return ended.said


def _owner(der: bytes) -> str:
    return key_id(x509.load_der_x509_certificate(der))


def _placeholder(key: PrivateKey, name: str) -> x509.Certificate:
    """A certificate that is not valid, of a subject that no other has."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    ended = utc_now() - timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(ended - timedelta(days=1)).not_valid_after(ended)
    return builder.sign(key, SHA256())


def _line(said: str) -> str:
    lines: Iterable[str] = filter(None, map(str.strip, said.splitlines()))
    return next(iter(lines), "no reason given")[:300]
