# SPDX-License-Identifier: Apache-2.0
"""Pure: the certificates that peers publish in their own Chassis rows, and that are pinned.

A row comes from anyone who may write the southbound: it is parsed as hostile bytes, and only one
self-signed certificate in the name of that very row is accepted. It is compared as a whole with
what a peer presents and vouches for nothing else, so one that could sign others is refused.

A peer that replaces its certificate publishes the new one some time before it uses it, so the old
one is kept for HOLD_S. A row that has lost the key changes nothing: ovn-controller creates its row
again when it restarts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ovn_ipsec.errors import CredentialError, InputError
from ovn_ipsec.model.allowance import Allowance
from ovn_ipsec.pki.dates import not_after, not_before
from ovn_ipsec.schema import report

from .credential import moment
from .suitability import (
    broken_signature,
    check_strength,
    is_signed,
    misuse,
    unknown_critical,
)

TABLE = "Chassis"
KEY = report.PIN
"""Chassis.external_ids: PEM, one certificate."""
HOLD_S = 120.0
"""How long the certificate before the newest is accepted: longer than its owner waits to switch."""
FORGET_S = 600.0
"""How long the certificate of a chassis without a row is remembered."""
PIN_MAX = 8192
"""Characters of PEM: RSA of 8192 bits takes half of it."""
READ_S, READ_BURST = 10.0, 4
"""A certificate of one chassis is parsed every so often, and so many times at once: whoever writes
another one a thousand times a second costs its peers no more than that."""
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
        cause = unfit(row, certificate, now)
    except Exception as error:  # noqa: BLE001 - hostile bytes: whatever the parser makes of them
        _refuse(row, text, f"cannot be parsed as a certificate ({type(error).__name__})")
    if cause:
        _refuse(row, text, cause)
    der = certificate.public_bytes(Encoding.DER)
    return Pin(der=der, not_after=not_after(certificate))


def _refuse(row: str, text: str, reason: str) -> NoReturn:
    raise InputError(
        table=TABLE,
        row=row[:80],
        key=f"external_ids:{KEY}",
        text=f"{len(text)} characters",
        reason=reason,
    ) from None


def unfit(row: str, certificate: x509.Certificate, now: datetime) -> str:
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
        return broken_signature(certificate) or "expected a certificate signed with its own key"
    begin, end = not_before(certificate), not_after(certificate)
    if not begin <= now < end:
        return f"valid only from {moment(begin)} to {moment(end)}"
    if _is_authority(extensions):
        return "it could sign others (basicConstraints): expected that of a host"
    return misuse(certificate) or unknown_critical(certificate)


def _is_authority(extensions: x509.Extensions) -> bool:
    try:
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


@dataclass(slots=True)
class _Held:
    text: str
    """What the row says, no longer than what can be told apart from a pin."""
    reads: Allowance
    """How often it may be parsed."""
    current: Pin | None = None
    former: Pin | None = None
    former_until: float = 0.0


class Pins:
    """What every chassis has published, parsed when it is first asked for."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._unread: set[str] = set()
        self._late: set[str] = set()
        """Of these, those whose turn has not come yet."""
        self._former: set[str] = set()
        """Who has a former one."""
        self._gone: dict[str, float] = {}
        """Who has no row now, and since when."""
        self._refusals: dict[str, InputError] = {}
        self._news: list[InputError] = []

    def note(self, row: str, text: str | None, now: float) -> bool:
        """Take in what a row says.

        Args:
            row: The chassis' name.
            text: None: there is no such row. Empty: the row does not say.
            now: Monotonic seconds.

        Returns:
            Whether it says something new that can be looked at now; what has to wait is in
            ``due`` when its turn has come.
        """
        held = self._held.get(row)
        if text is None:
            if held is not None and row not in self._gone:
                self._gone[row] = now
            return False
        self._gone.pop(row, None)
        text = text[: PIN_MAX + 1]
        if not text or (held is not None and held.text == text):
            return False
        if held is None:
            held = self._held[row] = _Held(text, Allowance.full(READ_BURST, READ_S, now))
        held.text = text
        self._unread.add(row)
        if held.reads.allows(now):
            return True
        self._late.add(row)
        return False

    def _forget(self, now: float) -> set[str]:
        found = {row for row, since in self._gone.items() if now >= since + FORGET_S}
        for row in found:
            del self._held[row], self._gone[row]
            for names in (self._unread, self._late, self._former):
                names.discard(row)
            self._refusals.pop(row, None)
        return found

    def of(self, row: str, now: float, wall: datetime) -> tuple[bytes, ...]:
        """The certificates that a chassis may show, the newest first; none when none is good."""
        held = self._held.get(row)
        if held is None:
            return ()
        if row in self._unread and held.reads.allows(now):
            held.reads = held.reads.take(now)
            self._unread.discard(row)
            self._late.discard(row)
            self._read(row, held, now, wall)
        pins = [held.current, held.former]
        return tuple(pin.der for pin in pins if pin is not None and wall < pin.not_after)

    def due(self, now: float) -> list[str]:
        """Chassis of which something else is held now, each once, sorted.

        Whose former certificate has been held long enough, whose new one may be parsed, or who has
        had no row for so long that it is forgotten.
        """
        forgotten = self._forget(now)
        past = {row for row in self._former if now >= self._held[row].former_until}
        for row in past:
            self._held[row].former = None
        self._former -= past
        turns = {row for row in self._late if self._held[row].reads.allows(now)}
        self._late -= turns
        return sorted(past | turns | forgotten)

    def wake_at(self) -> float | None:
        """When ``due`` will have something, monotonic seconds; None: not before a row changes."""
        times = [self._held[row].former_until for row in self._former]
        times += [self._held[row].reads.next_at for row in self._late]
        times += [since + FORGET_S for since in self._gone.values()]
        return min(times, default=None)

    def _read(self, row: str, held: _Held, now: float, wall: datetime) -> None:
        self._refusals.pop(row, None)
        try:
            pin = parse_pin(row, held.text, wall)
        except InputError as error:
            self._refusals[row] = error
            self._news.append(error)
            return
        if held.current is not None and held.current != pin:
            held.former, held.former_until = held.current, now + HOLD_S
            self._former.add(row)
        held.current = pin

    def refusals(self) -> tuple[InputError, ...]:
        """What is refused now, in order of the chassis' names."""
        return tuple(self._refusals[row] for row in sorted(self._refusals))

    def take_refusals(self) -> list[InputError]:
        """What was refused since the last call."""
        news, self._news = self._news, []
        return news
