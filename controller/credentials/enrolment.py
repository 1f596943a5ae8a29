# SPDX-License-Identifier: Apache-2.0
"""Shell: a certificate requested through our Chassis_Private row, if no files are configured.

The key never leaves the state directory. A request is kept beside its key until it is answered, so
that a restart repeats the same request. A certificate stays in use until its successor was checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import structlog
from cryptography import x509

from ovn_ipsec.errors import CredentialError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki.profile import renewal_at
from ovn_ipsec.pki.request import make_request, requested_name
from ovn_ipsec.schema import report, sb_global

from ..plan.credentials.certificate import judge, parse_certificates
from ..plan.credentials.chain import Places
from ..plan.credentials.credential import Credential, Secret
from ..plan.credentials.suitability import is_signed, names, refuse, spki
from . import keypair
from .keypair import KeyPair

_log = structlog.get_logger()

BUNDLE = f"{sb_global.TABLE} {sb_global.AUTHORITIES}"
ANSWER = f"{report.TABLE} {report.ANSWER}"
TEXT_MAX = 1 << 16
"""Characters of an answer."""


class Enrolment:
    """What was signed for this chassis, and what it requests."""

    def __init__(self, folder: Path) -> None:
        self._path, self._asked_path = folder / "enrolled.pem", folder / "enrolling.pem"
        self._current: KeyPair | None = None
        self._asked: KeyPair | None = None
        self._chassis: ChassisName | None = None
        """Whose files were opened."""
        self._renew = False
        self._good = False
        self._asked_of = ""
        self.credential: Credential | None = None
        self.key: Secret | None = None
        self.request = ""
        """The request for our own row; empty: none."""
        self.problem = ""

    def forget(self) -> None:
        """Use nothing of it any more, because no authority signs. What is on disk stays there."""
        if self.credential is not None:
            _log.warning("credential_not_configured", subject=self.credential.subject)
        self._current = self._asked = self._chassis = self.credential = self.key = None
        self._good, self.request, self.problem = False, "", ""

    def renew(self) -> None:
        """Ask for a new certificate, whatever the age of the one in use."""
        self._renew = True

    def refresh(self, chassis: ChassisName, authorities: str, answer: str, wall: datetime) -> bool:
        """Process an answer, and send a request when it is time.

        Args:
            chassis: Our name.
            authorities: PEM bundle of those that sign; the first one must have signed ours.
            answer: The answer in our own row, PEM; empty: none.
            wall: Wall time, aware.

        Returns:
            Whether another certificate, or other authorities, are in use now.
        """
        before = self.credential
        try:
            problem = self._run(chassis, authorities, answer, wall)
        except (*keypair.UNUSABLE, CredentialError) as error:
            problem = error.diagnostics()
        self._say(problem)
        self.request = self._asked.text if self._asked is not None else ""
        return self.credential != before

    def _run(self, chassis: ChassisName, authorities: str, answer: str, wall: datetime) -> str:
        if self._chassis != chassis:
            self._open(chassis)
        bundle = parse_certificates(BUNDLE, authorities.encode(), "CA certificate")
        problem = self._judge(bundle, chassis, wall)
        if self._asked is not None and answer:
            refused = self._take(answer, bundle, chassis, wall)
            problem = refused or ("" if self._good else problem)
        if self._asked is None and self._is_due(bundle, authorities, chassis, wall):
            self._ask(chassis)
            self._asked_of = authorities
        if not problem and not self._good:
            problem = f"waiting for a certificate in {ANSWER}"
        return problem

    def _open(self, chassis: ChassisName) -> None:
        self._current = keypair.load_for(self._path, chassis, _certified)
        self._asked = keypair.load_for(self._asked_path, chassis, _asking)
        self.credential = self.key = None
        self._chassis = chassis

    def _judge(
        self, bundle: Sequence[x509.Certificate], chassis: ChassisName, wall: datetime
    ) -> str:
        """Check what is in use against the current authorities; returns what is wrong."""
        self._good = False
        if self._current is None:
            return ""
        try:
            self._use(self._current, self._checked(self._current, bundle, chassis, wall))
        except CredentialError as error:
            return error.diagnostics()
        self._good = True
        return ""

    def _checked(
        self,
        pair: KeyPair,
        bundle: Sequence[x509.Certificate],
        chassis: ChassisName,
        wall: datetime,
    ) -> Credential:
        places = Places(certificate=ANSWER, private_key=str(self._path), ca_cert=BUNDLE)
        certificates = parse_certificates(ANSWER, pair.text.encode(), "certificate")
        return judge(places, (certificates, bundle, pair.public), chassis, wall)

    def _use(self, pair: KeyPair, credential: Credential) -> None:
        self._current, self._good = pair, True
        if self.credential is None or credential.fingerprint != self.credential.fingerprint:
            self.credential, self.key = credential, pair.secret()
            _log.info("credential_loaded", subject=credential.subject, until=credential.not_after)

    def _take(
        self, answer: str, bundle: Sequence[x509.Certificate], chassis: ChassisName, wall: datetime
    ) -> str:
        """Check an answer and use it; returns why it is not used."""
        asked, current, problem = self._asked, self._current, ""
        if asked is None:
            return ""
        try:
            certificate = _parse_answer(answer)
            public = spki(certificate.public_key())
            if current is not None and public == current.public:
                return ""
            if public != asked.public:
                return f"{ANSWER}: not for the key of {report.REQUEST}; still waiting"
            pair = KeyPair(asked.key, answer)
            credential = self._checked(pair, bundle, chassis, wall)
        except CredentialError as error:
            problem = error.diagnostics()
        except Exception as error:  # noqa: BLE001 - hostile bytes: whatever the parser makes of them
            problem = f"{ANSWER}: cannot be parsed as a certificate ({type(error).__name__})"
        if problem:
            return problem
        keypair.store(self._path, pair)
        keypair.remove(self._asked_path)
        self._asked = None
        self._use(pair, credential)
        return ""

    def _is_due(
        self,
        bundle: Sequence[x509.Certificate],
        authorities: str,
        chassis: ChassisName,
        wall: datetime,
    ) -> bool:
        if self._current is None or not self._good or self._renew:
            return True
        if self._is_old(chassis, wall):
            return True
        certificate = x509.load_pem_x509_certificate(self._current.text.encode("ascii"))
        return not is_signed(certificate, bundle[0]) and self._asked_of != authorities

    def _is_old(self, chassis: ChassisName, wall: datetime) -> bool:
        found = self.credential
        if found is None:
            return False
        return wall >= renewal_at(found.not_before, found.not_after, chassis)

    def _ask(self, chassis: ChassisName) -> None:
        key = keypair.make_key()
        asked = KeyPair(key, make_request(key, chassis))
        keypair.store(self._asked_path, asked)
        self._asked, self._renew = asked, False
        _log.info("certificate_asked_for", chassis=chassis)

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            _log.warning("enrolment", reason=problem)
        self.problem = problem


def _certified(text: str) -> tuple[str, ...]:
    """The names for which a certificate of ours is valid."""
    return names(parse_certificates(ANSWER, text.encode(), "certificate")[0])


def _asking(text: str) -> tuple[str, ...]:
    return (requested_name(text),)


def _parse_answer(answer: str) -> x509.Certificate:
    if len(answer) > TEXT_MAX:
        refuse(ANSWER, f"longer than {TEXT_MAX} characters")
    return parse_certificates(ANSWER, answer.encode("ascii"), "certificate")[0]
