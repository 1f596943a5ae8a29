# SPDX-License-Identifier: Apache-2.0
"""Edge (files): the folder of an authority; nothing in it is ever written in place.

    index.json                         the ledger; what it does not name does not exist
    signed-<number>.jsonl              what was signed since they were written, a line each
    ca.pem                             what every chassis must trust; two during a rollover
    crl.pem                            revoked certificates, a list for each trusted authority
    lock                               held by the one writer
    authorities/<number>/cert.pem      and key.pem, 0600
    certificates/<serial>.pem          each certificate in the ledger
    issued/<chassis>/cert.pem          with ca.pem, and key.pem (0600) if it was made here

A change is made in this order: files that nothing names yet, the ledger, and then files that
follow from the ledger. Killed in between, it leaves either the old state or the new one, with at
most the last files to be written again. What is signed is appended to a journal, so that signing
costs the same however many certificates there are. From time to time the journal is merged into the
ledger, which names the next journal. A process that has read both only reads what was added.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from cryptography import x509

from ..model.chassis import ChassisName
from . import files
from .authority import Authority, Shape, check_shape
from .dates import not_after
from .errors import PkiError
from .index import (
    AuthorityEntry,
    Entry,
    Index,
    Role,
    alive,
    format_entry,
    format_index,
    format_serial,
    parse_entries,
)
from .index import parse_index as parse
from .keys import new_key, private_pem, read_private
from .ledger import Ledger
from .profile import certificate_pem
from .values import CRL_LIFE, KeyKind

NO_CA = "ovn-ipsec pki init, or name the authority's folder with --ca"
NO_KEY = "restore key.pem and cert.pem from a copy of the folder; until then nothing can be signed"


JOURNAL_MIN, JOURNAL_PART = 256, 4
"""The index is written when so many certificates were signed since, and a fourth of all."""
WAIT_S = 30.0
"""How long to wait for another writer."""
LOOKS = 10
"""At an index that is written anew while it is read."""


class _Shelf:
    """The ledger as it was read last, so that only what is new has to be read."""

    def __init__(self) -> None:
        self.ledger: Ledger | None = None
        self.stamp: object = None
        self.end = 0
        """Of the journal, as far as it was read."""


@dataclass(frozen=True, slots=True)
class CaFolder:
    """A folder that holds an authority."""

    path: Path
    _shelf: _Shelf = field(default_factory=_Shelf, init=False, repr=False, compare=False)

    def init(self, shape: Shape, kind: KeyKind, now: datetime) -> AuthorityEntry:
        """Make a first authority in an empty folder.

        Raises:
            PkiError: The folder is not empty, or the shape is refused.
        """
        check_shape(shape, 1)
        # First: who names a folder of something else is not told to change its mode.
        self._refuse_occupied()
        files.make_folder(self.path)
        with files.locked(self.path / "lock"):
            self._refuse_occupied()
            for name in ("authorities", "certificates", "issued"):
                files.make_folder(self.path / name)
            entry = self.found(shape, kind, 1, Role.SIGNING, now)
            index = Index(authorities=(entry,), crl_until=now)
            self.publish(self.save_with_crl(index, now))
        return entry

    def _refuse_occupied(self) -> None:
        with files.telling(self.path, "look into this folder"):
            found = {one.name for one in self.path.iterdir()} if self.path.exists() else set()
        if self.index_path.name in found:
            raise PkiError(
                str(self.path),
                "holds an authority already",
                next_step="to replace it without loss: ovn-ipsec pki rollover start",
            )
        if found - {"lock"}:
            raise PkiError(
                str(self.path),
                "not empty, and without an index: not an authority, or an incomplete one",
                next_step="name another folder; or, if an init was interrupted, remove it",
            )

    @property
    def index_path(self) -> Path:
        """Where the index is."""
        return self.path / "index.json"

    @property
    def bundle_path(self) -> Path:
        """Where the certificates are that every chassis must trust."""
        return self.path / "ca.pem"

    @property
    def crl_path(self) -> Path:
        """Where the lists of revoked certificates are."""
        return self.path / "crl.pem"

    def read(self) -> Index:
        """Read the ledger, as it is now.

        Raises:
            PkiError: There is none, or it cannot be read.
        """
        return self.ledger().index

    def ledger(self) -> Ledger:
        """Read what was added to the ledger since it was last read.

        Raises:
            PkiError: There is none, or it cannot be read.
        """
        self._check()
        shelf = self._shelf
        for _ in range(LOOKS):
            try:
                stamp = self._stamp()
                if shelf.ledger is None or stamp != shelf.stamp:
                    text = files.read(self.index_path).decode("utf-8", errors="replace")
                    shelf.ledger, shelf.stamp = Ledger(parse(str(self.index_path), text)), stamp
                    shelf.end = 0
                self._read_journal(shelf, shelf.ledger)
            except PkiError:
                shelf.ledger = None
                if self._stamp() == stamp:
                    raise
            # Written anew meanwhile, they do not belong to the journal that was read.
            if shelf.ledger is not None and self._stamp() == stamp:
                return shelf.ledger
        raise PkiError(str(self.index_path), "does not stay as it is", next_step="try again")

    def _stamp(self) -> tuple[int, int, int]:
        with files.telling(self.index_path, "look at"):
            found = self.index_path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read_journal(self, shelf: _Shelf, ledger: Ledger) -> None:
        path = self._journal_path(ledger.written)
        if path is not None and (data := files.tail(path, shelf.end)):
            lines = data.decode("utf-8", errors="replace").splitlines()
            ledger.enter(parse_entries(str(path), lines))
            shelf.end += len(data)

    def _journal_path(self, index: Index) -> Path | None:
        if index.journal is None:
            return None
        return self.path / f"signed-{index.journal}.jsonl"

    @contextmanager
    def writing(self, wait_s: float = WAIT_S) -> Iterator[Index]:
        """Lock the folder against other writers, and read the ledger.

        Args:
            wait_s: How long to wait for another writer.
        """
        with self.signing(wait_s) as ledger:
            yield ledger.index

    @contextmanager
    def signing(self, wait_s: float = WAIT_S) -> Iterator[Ledger]:
        """Lock the folder against other writers, and read the ledger to enter certificates.

        Args:
            wait_s: How long to wait for another writer.
        """
        self._check()
        with files.locked(self.path / "lock", wait_s):
            yield self.ledger()

    def _check(self) -> None:
        with files.telling(self.path, "look into this folder"):
            if not self.path.exists():
                raise PkiError(str(self.path), "no such folder", next_step=NO_CA)
            # First: who names a folder of something else is not told to change its mode.
            if self.path.is_dir() and not self.index_path.exists():
                raise PkiError(str(self.path), "no authority here: no index.json", next_step=NO_CA)
        files.check_folder(self.path)

    def save(self, index: Index) -> None:
        """Write the ledger; with that a change has happened.

        Args:
            index: All of them, with what stood in the journal.
        """
        index = replace(index, journal=0 if index.journal is None else index.journal + 1)
        current = self._journal_path(index)
        assert current is not None  # noqa: S101 - it was given a number
        files.write(current, b"", files.PRIVATE)
        files.write(self.index_path, format_index(index).encode("ascii"), files.PRIVATE)
        self._shelf.ledger = None
        for path in self.path.glob("signed-*.jsonl"):
            if path != current:
                with files.telling(path, "remove"):
                    path.unlink(missing_ok=True)

    def enter(self, ledger: Ledger, entries: Sequence[Entry], now: datetime) -> None:
        """Enter certificates; from then on they can be revoked.

        Args:
            ledger: As ``signing`` gave them, under the lock.
            entries: What was signed.
            now: Wall time, aware; entries that expired long ago are dropped.
        """
        path, shelf = self._journal_path(ledger.written), self._shelf
        count = ledger.entered + len(entries)
        is_long = count >= max(JOURNAL_MIN, len(ledger.written.certificates) // JOURNAL_PART)
        if path is None or is_long:
            full = ledger.index.with_certificates(entries)
            after = full.pruned(now)
            self.save(after)
            self.discard(full, after)
            return
        data = "".join(f"{format_entry(entry)}\n" for entry in entries).encode("ascii")
        files.append(path, shelf.end, data)
        shelf.end += len(data)
        ledger.enter(entries)

    def save_with_crl(self, index: Index, now: datetime) -> Index:
        """Write the ledger, and the lists of revoked certificates that follow from it."""
        index = replace(
            index,
            crl_number=index.crl_number + 1,
            crl_until=now.replace(microsecond=0) + CRL_LIFE,
        )
        lists = [self._list(index, entry, now) for entry in index.trusted]
        self.save(index)
        files.write(self.crl_path, "".join(lists).encode("ascii"))
        return index

    def _list(self, index: Index, authority: AuthorityEntry, now: datetime) -> str:
        revoked = [
            (entry.serial, entry.revoked)
            for entry in index.certificates
            if entry.authority == authority.number and entry.revoked and now < entry.not_after
        ]
        return self.authority(authority).crl(revoked, index.crl_number, now)

    def found(
        self, shape: Shape, kind: KeyKind, number: int, role: Role, now: datetime
    ) -> AuthorityEntry:
        """Write the files of a new authority; it does not exist until the ledger names it."""
        key = new_key(kind)
        authority = Authority.new(key, shape, number, now)
        folder = self._authority_path(number)
        files.make_folder(folder)
        files.write(folder / "key.pem", private_pem(key), files.PRIVATE)
        files.write(folder / "cert.pem", certificate_pem(authority.certificate).encode("ascii"))
        return AuthorityEntry(
            number=number,
            role=role,
            name=shape.name,
            not_after=not_after(authority.certificate),
        )

    def authority(self, entry: AuthorityEntry) -> Authority:
        """Read an authority with its key.

        Raises:
            PkiError: One of the two cannot be read, or they do not belong together.
        """
        path = self._authority_path(entry.number)
        key_path = path / "key.pem"
        try:
            key = read_private(str(key_path), files.read(key_path, private=True))
            return Authority(self._certificate(path / "cert.pem"), key)
        except PkiError as error:
            where = error.where if error.where.startswith(str(path)) else str(path)
            raise PkiError(where, error.what, next_step=error.next_step or NO_KEY) from None

    def forget_key(self, entry: AuthorityEntry) -> None:
        """Remove the key of an authority that no longer signs."""
        path = self._authority_path(entry.number) / "key.pem"
        with files.telling(path, "remove"):
            path.unlink(missing_ok=True)

    def publish(self, index: Index) -> None:
        """Write the bundle that every chassis must trust."""
        files.write(self.bundle_path, self.bundle(index).encode("ascii"))

    def bundle(self, index: Index) -> str:
        """The certificates that every chassis must trust, PEM; the one that signs comes first."""
        paths = [self._authority_path(entry.number) / "cert.pem" for entry in index.trusted]
        return "".join(certificate_pem(self._certificate(path)) for path in paths)

    def stale(self, index: Index) -> tuple[str, ...]:
        """Files that are not as they follow from the ledger: a change was interrupted."""
        bundle = files.read(self.bundle_path) if self.bundle_path.exists() else b""
        expected = self.bundle(index).encode("ascii")
        numbers = _crl_numbers(files.read(self.crl_path)) if self.crl_path.exists() else []
        found = {
            self.bundle_path.name: bundle == expected,
            self.crl_path.name: numbers == [index.crl_number] * len(index.trusted),
        }
        return tuple(name for name, is_current in found.items() if not is_current)

    def keep(self, certificate: x509.Certificate) -> None:
        """Write a certificate that will be entered into the ledger."""
        pem = certificate_pem(certificate).encode("ascii")
        files.write(self._certificate_path(certificate.serial_number), pem)

    def discard(self, before: Index, after: Index) -> None:
        """Remove the certificates that the ledger no longer names."""
        left = {entry.serial for entry in after.certificates}
        for entry in before.certificates:
            if entry.serial not in left:
                path = self._certificate_path(entry.serial)
                with files.telling(path, "remove"):
                    path.unlink(missing_ok=True)

    def certificate(self, entry: Entry) -> x509.Certificate:
        """Read a certificate that is in the ledger."""
        return self._certificate(self._certificate_path(entry.serial))

    def issued_path(self, chassis: ChassisName) -> Path:
        """Where the files for a chassis are."""
        return self.path / "issued" / chassis

    def live(self, index: Index, chassis: ChassisName, now: datetime) -> Entry | None:
        """The newest certificate of a chassis, if it is neither expired nor revoked."""
        entry = index.newest().get(chassis)
        return entry if entry is not None and alive(entry, now) else None

    def _authority_path(self, number: int) -> Path:
        return self.path / "authorities" / str(number)

    def _certificate_path(self, serial: int) -> Path:
        return self.path / "certificates" / f"{format_serial(serial)}.pem"

    def _certificate(self, path: Path) -> x509.Certificate:
        data = files.read(path)
        try:
            return x509.load_pem_x509_certificate(data)
        except ValueError:
            raise PkiError(str(path), "expected a certificate in PEM") from None


def _crl_numbers(pem: bytes) -> list[int]:
    blocks = re.findall(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----\n", pem, re.DOTALL)
    try:
        lists = [x509.load_pem_x509_crl(block) for block in blocks]
        return [
            found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            for found in lists
        ]
    except (ValueError, x509.ExtensionNotFound):
        return []
