# SPDX-License-Identifier: Apache-2.0
"""Shell: what an authority does for chassis, each time with its entry in the ledger.

Used by `ovn-ipsec pki` and, to answer requests of chassis, by ovn-ipsec-northd.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from ..model.chassis import ChassisName
from . import files
from .dates import not_after, not_before
from .errors import LimitError, PkiError
from .folder import WAIT_S, CaFolder
from .index import Entry, Index, Origin, alive, format_serial
from .keys import PrivateKey, PublicKey, key_id, new_key, private_pem
from .ledger import Ledger
from .profile import certificate_pem, renewal_at
from .request import Request
from .values import CHASSIS_LIFE, CLOCK_SKEW, KeyKind, checked_name

LIVE_MAX, HOURLY_MAX = 5, 3
"""Certificates that chassis get by asking: good ones of one name, and new ones in an hour. One that
renews in time has two; more are for those that lose their disk."""
HOUR = timedelta(hours=1)
_SERIAL = re.compile(r"(serial:)?(0x)?(?P<hex>[0-9a-f:]{1,59})\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueOptions:
    """What a certificate is given: key, life."""

    life: timedelta = CHASSIS_LIFE
    kind: KeyKind | None = None
    """Kind of the new key; None: as the authority's own."""
    same_key: bool = False
    """Renew without a new key."""
    out: Path | None = None
    """Folder to write into; None: issued/<chassis> in the authority's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What was written for a chassis."""

    entry: Entry
    written: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """What was revoked."""

    chassis: ChassisName | None
    """The chassis that gets no certificate any more, if it was named."""
    entries: tuple[Entry, ...]
    """Certificates that were not revoked before."""


def issue(folder: CaFolder, chassis: str, options: IssueOptions, now: datetime) -> Issued:
    """Make a key and a certificate for a chassis that has none, and write both with the bundle.

    Raises:
        PkiError: The name is junk, revoked or taken; or a file cannot be read or written.
    """
    name = checked_name(chassis)
    with folder.signing() as ledger:
        if (entry := ledger.newest(name)) is not None and alive(entry, now):
            what = f"has a certificate until {entry.not_after:%Y-%m-%d}"
            raise PkiError(name, what, next_step=f"ovn-ipsec pki renew {name}")
        issuer = _Issuer(folder, ledger, now)
        key = new_key(options.kind or issuer.authority.key_kind)
        return _deliver(issuer, name, key, options)


def renew(folder: CaFolder, chassis: str, options: IssueOptions, now: datetime) -> Issued:
    """Make another certificate for a chassis, usually with a new key; the old one stays valid.

    Raises:
        PkiError: The chassis has none, is revoked, or holds its key itself.
    """
    name = checked_name(chassis)
    with folder.signing() as ledger:
        entry = ledger.newest(name)
        if entry is None:
            what = "has no certificate to renew"
            raise PkiError(name, what, next_step=f"ovn-ipsec pki issue {name}")
        if entry.origin is Origin.SIGN and not options.same_key:
            what = "made its own key, so it must make the new one too"
            step = f"let it send a new request, or: ovn-ipsec pki renew --same-key {name}"
            raise PkiError(name, what, next_step=step)
        issuer = _Issuer(folder, ledger, now)
        if options.same_key:
            return _certify_again(issuer, entry, options)
        return _deliver(issuer, name, new_key(options.kind or issuer.authority.key_kind), options)


def sign(folder: CaFolder, request: Request, life: timedelta, now: datetime) -> str:
    """Sign one request that has passed `check_request`; PEM.

    Raises:
        PkiError: The chassis is revoked or its name taken, the key revoked, a file unreadable.
    """
    (answer,) = sign_all(folder, [request], life, now, enrolling=False)
    if isinstance(answer, PkiError):
        raise answer
    return answer


def sign_all(
    folder: CaFolder,
    requests: Sequence[Request],
    life: timedelta,
    now: datetime,
    *,
    enrolling: bool = True,
) -> tuple[str | PkiError, ...]:
    """Sign many requests with one write to the ledger.

    Args:
        folder: The authority.
        requests: Requests that have passed `check_request`.
        life: How long from now the certificates are good.
        now: Wall time, aware.
        enrolling: Whether chassis ask themselves, and not an operator for them. Then a key that has
            a certificate gets the same again while it need not be renewed and the same authority
            signs, so that whoever asks again after a restart costs nothing; a name is given no
            more than LIVE_MAX good certificates, and HOURLY_MAX in one hour; and who writes in the
            folder now is not waited for.

    Returns:
        In the order of the requests: the certificate, PEM, or why there is none.

    Raises:
        PkiError: The folder cannot be read or written.
    """
    answers: list[str | PkiError] = []
    with folder.signing(0.0 if enrolling else WAIT_S) as ledger:
        issuer = _Issuer(folder, ledger, now)
        for request in requests:
            try:
                found = issuer.reusable(request) if enrolling else None
                if enrolling and found is None:
                    issuer.ration(request.chassis)
                certificate = found or issuer.certify(
                    request.public_key, request.chassis, Origin.SIGN, life
                )
                answers.append(certificate_pem(certificate))
            except PkiError as refusal:
                answers.append(refusal)
        issuer.close()
    return tuple(answers)


def revoke(folder: CaFolder, what: str, now: datetime) -> Revoked:
    """Revoke a chassis with all its certificates, or one certificate by its serial number.

    A chassis that was revoked gets no other certificate before it is readmitted, so that it
    cannot just ask again. A revoked serial only bars its key.

    Args:
        folder: The authority.
        what: A chassis name, or a serial number in hex, with `serial:` in front of it if need be.
        now: Wall time, aware.

    Raises:
        PkiError: There is no such chassis or certificate, or the word may mean either.
    """
    with folder.writing() as index:
        chassis = next((name for name in index.newest() if name == what), None)
        serial = _serial(index, what)
        if chassis is None and serial is None:
            unknown = "neither a chassis that was given a certificate nor the serial number of one"
            raise PkiError(repr(what[:80]), unknown, next_step="ovn-ipsec pki status")
        if chassis is not None and serial is not None:
            step = f"for the certificate: ovn-ipsec pki revoke serial:{what}"
            raise PkiError(what, "both a chassis and a serial number", next_step=step)
        marked = tuple(
            entry
            for entry in index.certificates
            if entry.revoked is None and _is_meant(entry, chassis, serial)
        )
        after = index.with_revoked(frozenset(entry.serial for entry in marked), now)
        if chassis is not None:
            after = replace(after, revoked_names={**index.revoked_names, chassis: now})
        folder.save_with_crl(after, now)
    return Revoked(chassis=chassis, entries=marked)


def _is_meant(entry: Entry, chassis: ChassisName | None, serial: int | None) -> bool:
    return entry.chassis == chassis if chassis is not None else entry.serial == serial


def _serial(index: Index, text: str) -> int | None:
    found = _SERIAL.match(text)
    digits = found["hex"].replace(":", "") if found else ""
    serial = int(digits, 16) if digits else None
    return serial if any(entry.serial == serial for entry in index.certificates) else None


def readmit(folder: CaFolder, chassis: str, now: datetime) -> None:
    """Let a chassis that was revoked have certificates again, with another key.

    Raises:
        PkiError: It was not revoked.
    """
    name = checked_name(chassis)
    with folder.writing() as index:
        if name not in index.revoked_names:
            raise PkiError(name, "is not revoked; there is nothing to readmit")
        left = {other: since for other, since in index.revoked_names.items() if other != name}
        folder.save_with_crl(replace(index, revoked_names=left), now)


def refresh(folder: CaFolder, now: datetime) -> Index:
    """Write the bundle and the lists of revoked certificates again; give the ledger."""
    with folder.writing() as before:
        after = folder.save_with_crl(before, now)
        folder.publish(after)
    return after


class _Issuer:
    """Signs while the lock is held: files first, the ledger when it closes."""

    def __init__(self, folder: CaFolder, ledger: Ledger, now: datetime) -> None:
        self.folder, self.now, self._ledger = folder, now, ledger
        self.authority = folder.authority(ledger.written.signing)
        self._signed: dict[str, Entry] = {}
        """By how an IKE daemon compares names."""

    def certify(
        self, key: PublicKey, chassis: ChassisName, origin: Origin, life: timedelta
    ) -> x509.Certificate:
        self._admit(key, chassis)
        certificate = self.authority.certify(key, chassis, life, self.now)
        self.folder.keep(certificate)
        self._signed[chassis.lower()] = Entry(
            chassis=chassis,
            serial=certificate.serial_number,
            authority=self._ledger.written.signing.number,
            origin=origin,
            key_id=key_id(key),
            not_before=not_before(certificate),
            not_after=not_after(certificate),
        )
        return certificate

    def _admit(self, key: PublicKey, chassis: ChassisName) -> None:
        if revoked := self._ledger.revocation(chassis):
            name, since = revoked
            what = f"was revoked at {since:%Y-%m-%d %H:%M} UTC, and gets no certificate"
            raise PkiError(chassis, what, next_step=f"ovn-ipsec pki readmit {name}")
        signed = self._signed.get(chassis.lower())
        other = self._ledger.twin(chassis, self.now) if signed is None else signed.chassis
        if other not in (None, chassis):
            what = f"differs only in case from {other}, which has a certificate"
            raise PkiError(chassis, what, next_step=f"ovn-ipsec pki revoke {other}")
        if signed is not None:
            raise PkiError(chassis, "made two requests at once; it gets one certificate")
        if self._ledger.is_revoked(key_id(key)):
            what = "the key is that of a revoked certificate; expected a new one"
            raise PkiError(chassis, what)

    def ration(self, chassis: ChassisName) -> None:
        """Refuse a chassis that has been given as many certificates as it may have for now.

        Raises:
            LimitError: It has, and until when.
        """
        live = self._ledger.live(chassis, self.now)
        if len(live) >= LIVE_MAX:
            raise LimitError(
                chassis,
                f"has {len(live)} valid certificates; the limit is {LIVE_MAX}",
                until=min(entry.not_after for entry in live),
                next_step=f"ovn-ipsec pki revoke SERIAL, for each one that {chassis} does not need",
            )
        recent = [when for entry in live if (when := _signed_at(entry)) > self.now - HOUR]
        if len(recent) >= HOURLY_MAX:
            what = f"got {len(recent)} certificates within an hour, which is the limit"
            raise LimitError(chassis, what, until=min(recent) + HOUR)

    def reusable(self, request: Request) -> x509.Certificate | None:
        self._admit(request.public_key, request.chassis)
        entry = self._ledger.newest(request.chassis)
        if (
            entry is None
            or not alive(entry, self.now)
            or entry.key_id != key_id(request.public_key)
            or entry.authority != self._ledger.written.signing.number
            or self.now >= renewal_at(entry.not_before, entry.not_after, entry.chassis)
        ):
            return None
        return self.folder.certificate(entry)

    def close(self) -> None:
        """Write into the ledger what was signed."""
        if self._signed:
            self.folder.enter(self._ledger, tuple(self._signed.values()), self.now)

    def entry(self, chassis: ChassisName) -> Entry:
        """The entry of what was signed here for a chassis."""
        return self._signed[chassis.lower()]

    @property
    def bundle(self) -> str:
        """What every chassis must trust, PEM."""
        return self.folder.bundle(self._ledger.written)


def _signed_at(entry: Entry) -> datetime:
    return entry.not_before + CLOCK_SKEW


def _deliver(
    issuer: _Issuer, chassis: ChassisName, key: PrivateKey, options: IssueOptions
) -> Issued:
    certificate = issuer.certify(key.public_key(), chassis, Origin.ISSUE, options.life)
    out = _open(issuer, chassis, options)
    issuer.close()
    key_path = out / "key.pem"
    files.write(key_path, private_pem(key), files.PRIVATE)
    return Issued(
        entry=issuer.entry(chassis),
        written=(key_path, *_write_public(issuer, out, certificate)),
    )


def _certify_again(issuer: _Issuer, entry: Entry, options: IssueOptions) -> Issued:
    key = issuer.folder.certificate(entry).public_key()
    assert isinstance(key, PublicKey)  # noqa: S101 - nothing else is ever signed
    certificate = issuer.certify(key, entry.chassis, entry.origin, options.life)
    out = _open(issuer, entry.chassis, options)
    issuer.close()
    return Issued(
        entry=issuer.entry(entry.chassis), written=_write_public(issuer, out, certificate)
    )


def _open(issuer: _Issuer, chassis: ChassisName, options: IssueOptions) -> Path:
    if options.out is None:
        out = issuer.folder.issued_path(chassis)
        files.make_folder(out)
        return out
    with files.telling(options.out, "make this folder"):
        options.out.mkdir(mode=files.FOLDER, exist_ok=True)
    return options.out


def _write_public(issuer: _Issuer, out: Path, certificate: x509.Certificate) -> tuple[Path, Path]:
    files.write(out / "cert.pem", certificate_pem(certificate).encode("ascii"))
    files.write(out / "ca.pem", issuer.bundle.encode("ascii"))
    return out / "cert.pem", out / "ca.pem"


def describe(entry: Entry) -> str:
    """Say in one line what was signed."""
    return (
        f"{entry.chassis}: serial {format_serial(entry.serial)}, "
        f"valid until {entry.not_after:%Y-%m-%d %H:%M} UTC"
    )
