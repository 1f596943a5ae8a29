# SPDX-License-Identifier: Apache-2.0
"""Shell: the certificate that this chassis makes itself and that its peers pin.

It is published in our Chassis row. A new one is published first and used SWITCH_S later, when every
peer holds both (see ``plan.credentials.pins``).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import structlog
from cryptography import x509

from ovn_ipsec.errors import CredentialError, InputError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki.profile import renewal_at, self_signed
from ovn_ipsec.pki.values import CHASSIS_LIFE

from ..plan.credentials.certificate import describe, parse_certificates
from ..plan.credentials.credential import Credential, Secret
from ..plan.credentials.pins import parse_pin
from ..plan.credentials.suitability import names, spki
from . import keypair
from .keypair import KeyPair

_log = structlog.get_logger()

SWITCH_S = 30.0
"""From a new certificate published until it is used: less than plan.credentials.pins.HOLD_S."""


class OwnPin:
    """The certificate in use, and the one that follows."""

    def __init__(self, folder: Path) -> None:
        self._path, self._next_path = folder / "pinned.pem", folder / "pinned-next.pem"
        self._current: KeyPair | None = None
        self._next: KeyPair | None = None
        self._chassis: ChassisName | None = None
        self._seen_at: float | None = None
        self._renew = False
        self.credential: Credential | None = None
        self.key: Secret | None = None
        self.text = ""
        """The certificate for our own row."""
        self.problem = ""

    def renew(self) -> None:
        """Make a new key and certificate, whatever the age of the one in use."""
        self._renew = True

    @property
    def switching(self) -> bool:
        """Whether a new certificate is published, or to be, and not used yet."""
        return self._next is not None

    def refresh(self, chassis: ChassisName, published: str, now: float, wall: datetime) -> bool:
        """Make what is missing, and switch to what was published for long enough.

        Args:
            chassis: Our name.
            published: The certificate in our own row now.
            now: Monotonic seconds.
            wall: Wall time, aware.

        Returns:
            Whether another certificate is in use now.
        """
        before = self.credential
        try:
            if self._chassis != chassis:
                self._open(chassis, wall)
            self._prepare(chassis, wall)
            self._switch(published, now, wall)
            self._say("")
        except (*keypair.UNUSABLE, CredentialError) as error:
            self._say(error.diagnostics())
        following = self._next or self._current
        self.text = following.text if following is not None else ""
        return self.credential != before

    def _open(self, chassis: ChassisName, wall: datetime) -> None:
        self.credential = self.key = self._current = None
        self._next = self._good(self._next_path, chassis, wall)
        self._use(self._good(self._path, chassis, wall) or self._make(self._path, chassis, wall))
        self._chassis, self._seen_at = chassis, None

    def _good(self, path: Path, chassis: ChassisName, wall: datetime) -> KeyPair | None:
        """A pair from the disk, if it can stand for this chassis now."""
        pair = keypair.load_for(path, chassis, _pinned)
        if pair is None:
            return None
        try:
            parse_pin(chassis, pair.text, wall)
        except InputError as error:
            _log.warning("pin_replaced", path=str(path), reason=error.diagnostics())
            return None
        certificate = x509.load_pem_x509_certificate(pair.text.encode("ascii"))
        return pair if spki(certificate.public_key()) == pair.public else None

    def _make(self, path: Path, chassis: ChassisName, wall: datetime) -> KeyPair:
        key = keypair.make_key()
        pair = KeyPair(key, self_signed(key, chassis, CHASSIS_LIFE, wall))
        keypair.store(path, pair)
        _log.info("pin_made", chassis=chassis)
        return pair

    def _use(self, pair: KeyPair) -> None:
        certificate = x509.load_pem_x509_certificate(pair.text.encode("ascii"))
        self.credential = describe("the pinned certificate", certificate, ())
        self._current, self.key = pair, pair.secret()

    def _prepare(self, chassis: ChassisName, wall: datetime) -> None:
        found = self.credential
        if self._next is not None or found is None:
            return
        if self._renew or wall >= renewal_at(found.not_before, found.not_after, chassis):
            self._next, self._seen_at = self._make(self._next_path, chassis, wall), None
        self._renew = False

    def _switch(self, published: str, now: float, wall: datetime) -> None:
        found = self.credential
        if self._next is None or published != self._next.text:
            return
        self._seen_at = now if self._seen_at is None else self._seen_at
        late = found is not None and wall >= found.not_after
        if now >= self._seen_at + SWITCH_S or late:
            keypair.store(self._path, self._next)
            keypair.remove(self._next_path)
            self._use(self._next)
            self._next = None
            _log.info("pin_switched")

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            _log.error("pin_not_usable", reason=problem)
        self.problem = problem


def _pinned(text: str) -> tuple[str, ...]:
    """The names for which a certificate of ours is valid."""
    return names(parse_certificates("the pinned certificate", text.encode(), "certificate")[0])
