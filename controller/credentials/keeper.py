# SPDX-License-Identifier: Apache-2.0
"""Shell: the credentials of this chassis, checked when they may have changed.

A new credential that is invalid is refused and reported, and the previous one stays in use; one
that is no longer configured is no longer used. See ``source`` for the interface.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ovn_ipsec.errors import CredentialError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.expiry import Expiry, expiry
from ovn_ipsec.model.policy import Auth
from ovn_ipsec.schema.open_vswitch import CredentialFiles

from ..plan.credentials.credential import Credential, Secret, check, moment
from ..plan.credentials.pins import KEY
from ..plan.credentials.proof import LocalCredentials
from .enrolment import Enrolment
from .file_pin import FilePin
from .file_watch import FileWatch
from .files import read, read_crls, read_secrets, stamp, stamp_of
from .own_pin import OwnPin
from .source import NO_FILES, NO_SECRET, CredentialInputs, CredentialSource

__all__ = ["NO_FILES", "NO_SECRET", "CredentialInputs", "CredentialKeeper"]

_log = structlog.get_logger()

LOOK_S = 1.0
"""Between two checks of files that cannot be watched, or while a new pin waits to be used."""
SLOW_S = 10.0
"""Between two checks of watched files: certificates expire, and other hosts may change files."""
SETTLE_S = 0.3
"""From the first event until a check: a certificate and its key are replaced one after the other.
"""


class CaFiles:
    """Certificate, key and authorities in files that the operator names."""

    def __init__(self) -> None:
        self.credential: Credential | None = None
        self.key: Secret | None = None
        self.problem = ""
        self._seen: object = None

    def read(self, files: CredentialFiles | None, chassis: ChassisName, wall: datetime) -> None:
        """Read the files if they changed or were invalid; if none are set, forget the old ones.

        A name that is missing of three makes the others worthless, too.
        """
        if files is None or not all((files.certificate, files.private_key, files.ca_cert)):
            self._forget()
            self._say("" if files is None else NO_FILES)
            return
        seen = (files, stamp(files), chassis)
        if seen == self._seen and not self.problem:
            if self.credential is not None:
                self._say("; ".join(check(self.credential, chassis, wall)))
            return
        self._seen = seen
        try:
            credential, key = read(files, chassis, wall)
        except CredentialError as error:
            self._say(error.diagnostics())
            return
        self._say("")
        if self.credential is None or credential.fingerprint != self.credential.fingerprint:
            self.credential, self.key = credential, key
            _log.info("credential_loaded", subject=credential.subject, until=credential.not_after)

    def _forget(self) -> None:
        if self.credential is not None:
            _log.warning("credential_not_configured", subject=self.credential.subject)
        self.credential = self.key = self._seen = None

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            _log.error("credential_refused", reason=problem)
        self.problem = problem


class SecretFile:
    """The secret that the cluster shares."""

    def __init__(self) -> None:
        self.secrets: tuple[Secret, ...] = ()
        self.problem = ""
        self._seen: object = None

    def read(self, path: str) -> None:
        """Read the file if it changed or was invalid; if none is set, forget the old content."""
        if not path:
            if self.secrets:
                _log.warning("secret_not_configured")
            self.secrets, self.problem, self._seen = (), "", None
            return
        seen = (path, stamp_of(path))
        if seen == self._seen and not self.problem:
            return
        self._seen = seen
        try:
            found = read_secrets(path)
        except CredentialError as error:
            if error.diagnostics() != self.problem:
                _log.error("credential_refused", reason=error.diagnostics())
            self.problem = error.diagnostics()
            return
        self.problem = ""
        if [s.reveal() for s in found] != [s.reveal() for s in self.secrets]:
            self.secrets = found
            _log.info("secret_loaded", path=path, secrets=len(found))


class CrlFile:
    """What authorities have revoked."""

    def __init__(self) -> None:
        self.crls: tuple[bytes, ...] = ()
        self.problem = ""
        self._seen: object = None

    def read(self, path: str, wall: datetime) -> None:
        """Read the file; an invalid one changes nothing, and without one nothing is kept.

        A daemon that was given a list keeps it until it ends: what was revoked stays so until then.
        """
        if not path:
            self.crls, self.problem, self._seen = (), "", None
            return
        seen = (path, stamp_of(path))
        if seen == self._seen and not self.problem:
            return
        self._seen = seen
        try:
            self.crls, late = read_crls(path, wall)
            problem = late and f"{path}: a CRL is out of date: {late}"
        except CredentialError as error:
            problem = error.diagnostics()
        if problem and problem != self.problem:
            _log.error("crl_refused", reason=problem)
        self.problem = problem


class CredentialKeeper:
    """What is in use of each way, and what is wrong with it or with what should follow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files = CaFiles()
        self.enrolment = Enrolment(folder)
        self.own_pin = OwnPin(folder)
        self.file_pin = FilePin()
        self.psk = SecretFile()
        self.crl = CrlFile()
        self.credentials = LocalCredentials()
        self.watch = FileWatch()
        self.expiry = Expiry.VALID
        """How near the end of the certificate in use is."""
        self._needs: CredentialInputs | None = None
        self._look_at = float("-inf")
        self._wall: datetime | None = None

    @property
    def crls(self) -> tuple[bytes, ...]:
        """What authorities have revoked, DER."""
        return self.crl.crls

    def heed(self, now: float) -> None:
        """Note that files may have changed."""
        if self.watch.drain():
            self._look_at = min(self._look_at, now + SETTLE_S)

    def refresh(self, inputs: CredentialInputs, now: float, wall: datetime) -> bool:
        """Check everything if it is time to, or if the inputs have changed.

        Returns:
            Whether something else is in use, or demanded of peers, now.
        """
        if now < self._look_at and inputs == self._needs:
            return False
        if self._needs is not None and self._needs.chassis != inputs.chassis:
            # What stands for one name is worth nothing to another.
            self.files = CaFiles()
            self.enrolment, self.own_pin = Enrolment(self._folder), OwnPin(self._folder)
            self.file_pin = FilePin()
        often = not self.watch.watch(_paths(inputs))
        often = often or (Auth.PINNED in inputs.ways and self._pin_of(inputs).switching)
        self._look_at, self._needs, self._wall = now + (LOOK_S if often else SLOW_S), inputs, wall
        self.files.read(_signed(inputs), inputs.chassis, wall)
        if inputs.authorities == "":
            self.enrolment.forget()
        elif inputs.authorities is not None and self._enrols(inputs):
            self.enrolment.refresh(inputs.chassis, inputs.authorities, inputs.answer, wall)
        if Auth.PINNED in inputs.ways and inputs.stock:
            self.file_pin.refresh(inputs.files, inputs.chassis, wall)
        elif Auth.PINNED in inputs.ways:
            self.own_pin.refresh(inputs.chassis, inputs.pin, now, wall)
        self.psk.read(inputs.psk_file)
        self.crl.read(inputs.crl_file, wall)
        before = self.credentials
        self.credentials = LocalCredentials(
            ca=self._ca(inputs),
            pinned=self._pin_of(inputs).credential,
            secrets=self.psk.secrets,
            revocation=inputs.revocation,
        )
        self._warn(wall)
        return self.credentials != before

    def _warn(self, wall: datetime) -> None:
        """Log how near the end of the certificate in use is, once for each step nearer."""
        own, before = self._used, self.expiry
        self.expiry = Expiry.VALID if own is None else expiry(own.not_before, own.until, wall)
        if own is None or self.expiry in (before, Expiry.VALID):
            return
        say = _log.error if self.expiry is Expiry.EXPIRED else _log.warning
        say("certificate_ends", how=self.expiry.value, subject=own.subject, until=own.until)

    @staticmethod
    def _enrols(inputs: CredentialInputs) -> bool:
        return Auth.CA in inputs.ways and inputs.files is None and bool(inputs.authorities)

    def _pin_of(self, inputs: CredentialInputs) -> OwnPin | FilePin:
        return self.file_pin if inputs.stock else self.own_pin

    def _ca(self, inputs: CredentialInputs) -> Credential | None:
        found = (self.files.credential, self.enrolment.credential)
        first, second = found if inputs.files is not None else reversed(found)
        return first or second

    def renew(self) -> None:
        """Make new keys for what is made here, whatever the age of those in use."""
        self.enrolment.renew()
        self.own_pin.renew()
        self._look_at = float("-inf")

    @property
    def keys(self) -> dict[str, Secret]:
        """The private keys for the policy's methods, by the IKE daemon's ids."""
        ways = self._needs.ways if self._needs is not None else ()
        found = (self.files, self.enrolment, self.own_pin, self.file_pin)
        owned = {Auth.CA: self.credentials.ca, Auth.PINNED: self.credentials.pinned}
        used = {own.key_id for way, own in owned.items() if own is not None and way in ways}
        return {
            one.credential.key_id: one.key
            for one in found
            if one.credential is not None and one.key is not None and one.credential.key_id in used
        }

    @property
    def request(self) -> str:
        """The request for our own Chassis_Private row; empty: none."""
        inputs = self._needs
        return self.enrolment.request if inputs is not None and self._enrols(inputs) else ""

    @property
    def pin(self) -> str:
        """The certificate to publish in our own Chassis row; empty: none."""
        inputs = self._needs
        is_pinned = inputs is not None and Auth.PINNED in inputs.ways
        return self._pin_of(inputs).text if inputs is not None and is_pinned else ""

    @property
    def auths(self) -> frozenset[Auth]:
        """Ways for which everything is there and good, now."""
        inputs, wall = self._needs, self._wall
        if inputs is None or wall is None:
            return frozenset()
        found = set(self.credentials.auths)
        owned = {Auth.CA: self.credentials.ca, Auth.PINNED: self.credentials.pinned}
        for way, own in owned.items():
            if own is not None and check(own, inputs.chassis, wall):
                found.discard(way)
        if not self.pin or self.pin != inputs.pin:
            found.discard(Auth.PINNED)
        return frozenset(found)

    @property
    def expires(self) -> datetime | None:
        """When the certificate in use ends; None without one."""
        return self._used.until if self._used is not None else None

    @property
    def _used(self) -> Credential | None:
        way = self._needs.ways[0] if self._needs is not None else Auth.CA
        return {Auth.CA: self.credentials.ca, Auth.PINNED: self.credentials.pinned}.get(way)

    @property
    def warning(self) -> str:
        """What will become wrong unless someone provides another certificate; empty if nothing."""
        if self._used is None or self.expiry not in (Expiry.EXPIRING, Expiry.URGENT):
            return ""
        return f"the certificate expires at {moment(self._used.until)}"

    def problems(self) -> list[str]:
        """What is wrong with the methods that the policy uses, or that the operator has set up."""
        inputs = self._needs
        if inputs is None:
            return []
        words: list[str] = []
        if inputs.files is not None:
            words.append(self.files.problem)
        elif self._enrols(inputs):
            words.append(self.enrolment.problem)
        elif Auth.CA in inputs.ways:
            words.append(NO_FILES)
        if Auth.PINNED in inputs.ways:
            words.append(self._pin_of(inputs).problem)
            if self.pin != inputs.pin:
                words.append(f"{KEY} is not in our Chassis row yet")
        if inputs.psk_file:
            words.append(self.psk.problem)
        elif Auth.PSK in inputs.ways:
            words.append(NO_SECRET)
        if inputs.crl_file:
            words.append(self.crl.problem)
        return [word for word in words if word]

    def wake_at(self) -> float:
        """When the next check is due, monotonic seconds."""
        return self._look_at


def _signed(inputs: CredentialInputs) -> CredentialFiles | None:
    """The files, if they are there for an authority's signature and not to be pinned."""
    is_pinned = inputs.stock and Auth.PINNED in inputs.ways and Auth.CA not in inputs.ways
    return None if is_pinned else inputs.files


def _paths(inputs: CredentialInputs) -> list[str]:
    files = inputs.files
    own = [] if files is None else [files.certificate, files.private_key, files.ca_cert]
    return [*own, inputs.psk_file, inputs.crl_file]


if TYPE_CHECKING:
    _SOURCE: type[CredentialSource] = CredentialKeeper
