# SPDX-License-Identifier: Apache-2.0
"""Pure: certificates that peers publish in their own Chassis rows, and that are pinned.

A row comes from whoever may write the southbound: it is parsed as hostile bytes, and what is taken
is one certificate that its own key has signed, in the name of that row alone. It is compared with
what a peer shows as a whole and vouches for nothing else, so one that could sign others is refused.

A peer that replaces its certificate publishes the new one a while before it uses it. So the one
before is held on for HOLD_S. A row that has lost the key leaves what is known: ovn-controller makes
its row anew when it restarts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ovn_ipsec.errors import CredentialError, InputError
from ovn_ipsec.schema import report

from .certificate import check_strength, is_signed, misuse
from .credential import moment

TABLE = "Chassis"
KEY = report.PIN
"""Chassis.external_ids: PEM, one certificate."""
HOLD_S = 120.0
"""How long the certificate before the newest is accepted: longer than its owner waits to switch."""
FORGET_S = 600.0
"""How long the certificate of a chassis without a row is remembered."""
PIN_MAX = 8192
"""Characters of PEM: RSA of 8192 bits takes half of it."""
_PEM = re.compile(
    r"\s*-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*\Z", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A certificate that was checked."""

    der: bytes
    not_after: datetime


def parse_pin(row: str, text: str, now: datetime) -> Pin:
    """Parse the certificate of a chassis out of its row.

    Args:
        row: The chassis' name, which must be the certificate's only one.
        text: One PEM block.
        now: Wall time, aware.

    Raises:
        InputError: It is anything else, and what was expected. No other exception leaves.
    """
    if len(text) > PIN_MAX:
        _refuse(row, text, f"expected at most {PIN_MAX} characters")
    if not _PEM.match(text):
        _refuse(row, text, "expected one PEM block CERTIFICATE and nothing else")
    try:
        certificate = x509.load_pem_x509_certificate(text.encode("ascii"))
        cause = _fault(row, certificate, now)
    except Exception as error:  # noqa: BLE001 - hostile bytes: whatever the parser makes of them
        _refuse(row, text, f"cannot be parsed as a certificate ({type(error).__name__})")
    if cause:
        _refuse(row, text, cause)
    der = certificate.public_bytes(Encoding.DER)
    return Pin(der=der, not_after=certificate.not_valid_after_utc)


def _refuse(row: str, text: str, reason: str) -> NoReturn:
    raise InputError(
        table=TABLE,
        row=row[:80],
        key=f"external_ids:{KEY}",
        text=f"{len(text)} characters",
        reason=reason,
    ) from None


def _fault(row: str, certificate: x509.Certificate, now: datetime) -> str:
    """Why a certificate cannot be pinned for a chassis; empty when it can."""
    extensions = certificate.extensions
    try:
        found = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        found = []
    if [name.value for name in found if isinstance(name, x509.DNSName)] != [row] or len(found) > 1:
        return f"expected one subject alternative name, the DNS name {row[:80]}"
    try:
        check_strength("", certificate.public_key())
    except CredentialError as error:
        return str(error).removeprefix(": ")
    if not is_signed(certificate, certificate):
        return "expected a certificate signed with its own key"
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= now < end:
        return f"valid only from {moment(begin)} to {moment(end)}"
    if _is_authority(extensions):
        return "it could sign others (basicConstraints): expected that of a host"
    return misuse(certificate)


def _is_authority(extensions: x509.Extensions) -> bool:
    try:
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


@dataclass(slots=True)
class _Held:
    text: str
    current: Pin | None = None
    former: Pin | None = None
    gone_at: float | None = None


class Pins:
    """What every chassis has published, parsed when it is first asked for."""

    def __init__(self) -> None:
        """Start empty."""
        self._held: dict[str, _Held] = {}
        self._unread: set[str] = set()
        self._former: dict[str, float] = {}
        """How long the former ones are held, monotonic seconds."""
        self._refusals: dict[str, InputError] = {}
        self._news: list[InputError] = []

    def note(self, row: str, text: str | None, now: float) -> bool:
        """Take in what a row says.

        Args:
            row: The chassis' name.
            text: None: there is no such row. Empty: the row does not say.
            now: Monotonic seconds.

        Returns:
            Whether it says something new.
        """
        held = self._held.get(row)
        if text is None:
            if held is not None and held.gone_at is None:
                held.gone_at = now
            self._forget(now)
            return False
        if held is not None:
            held.gone_at = None
        if not text or (held is not None and held.text == text):
            return False
        if held is None:
            held = self._held[row] = _Held(text)
        held.text = text
        self._unread.add(row)
        return True

    def _forget(self, now: float) -> None:
        for row, held in list(self._held.items()):
            if held.gone_at is not None and now >= held.gone_at + FORGET_S:
                del self._held[row]
                self._unread.discard(row)
                self._refusals.pop(row, None)

    def of(self, row: str, now: float, wall: datetime) -> tuple[bytes, ...]:
        """The certificates that a chassis may show, the newest first; none when none is good."""
        held = self._held.get(row)
        if held is None:
            return ()
        if row in self._unread:
            self._unread.discard(row)
            self._read(row, held, now, wall)
        pins = [held.current, held.former]
        return tuple(pin.der for pin in pins if pin is not None and wall < pin.not_after)

    def due(self, now: float) -> list[str]:
        """Chassis whose former certificate has been held long enough, each once."""
        found = [row for row, until in self._former.items() if now >= until]
        for row in found:
            del self._former[row]
            if row in self._held:
                self._held[row].former = None
        return found

    def _read(self, row: str, held: _Held, now: float, wall: datetime) -> None:
        self._refusals.pop(row, None)
        try:
            pin = parse_pin(row, held.text, wall)
        except InputError as error:
            self._refusals[row] = error
            self._news.append(error)
            return
        if held.current is not None and held.current != pin:
            held.former, self._former[row] = held.current, now + HOLD_S
        held.current = pin

    def refusals(self) -> tuple[InputError, ...]:
        """What is refused now, in order of the chassis' names."""
        return tuple(self._refusals[row] for row in sorted(self._refusals))

    def take_refusals(self) -> list[InputError]:
        """What was refused since the last call."""
        news, self._news = self._news, []
        return news
