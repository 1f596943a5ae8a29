# SPDX-License-Identifier: Apache-2.0
"""Shell: certificates for the chassis that ask for one in their own Chassis_Private row.

A request counts as the chassis' own only where the southbound lets nobody else write that row: over
TLS with the role ovn-controller (ovn-sb(5), Connection.role; RBAC in ovn-northd's rbac_perm_cfg).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import structlog

from ovn_ipsec.errors import InputError
from ovn_ipsec.pki.errors import PkiError
from ovn_ipsec.pki.office import sign_all
from ovn_ipsec.pki.request import Request, check_request
from ovn_ipsec.pki.store import CaFolder
from ovn_ipsec.pki.values import checked_name
from ovn_ipsec.schema import report

from .target import NO_SIGNING, Signing
from .views import Asked, Remote

_log = structlog.get_logger()

LIFE = timedelta(days=30)
"""Of a certificate; its chassis asks for the next one at 70 to 90 % of it."""
LOOK_S = 2.0
"""Between two looks at the authority's books."""
RETRY_S = 60.0
"""After the authority's folder could not be read or written."""
BATCH = 50
"""Requests signed in one pass, each with two writes to disk, so that policy never waits long."""
ROLE = "ovn-controller"


def why_unsafe(remotes: Iterable[Remote]) -> str:
    """Why the southbound does not tell chassis apart; empty when it does."""
    found = list(remotes)
    if not found:
        return "the southbound's remotes are not in its Connection table, so they cannot be judged"
    open_ones = [r for r in found if not r.target.startswith(("pssl:", "ssl:")) or r.role != ROLE]
    if open_ones:
        names = ", ".join(sorted(r.target for r in open_ones)[:3])
        return f"anybody may write any row over {names}: expected pssl: with role={ROLE}"
    return ""


class Enrolment:
    """The authority of one folder, and what it has answered."""

    def __init__(self, folder: CaFolder, *, insecure: bool) -> None:
        """Store them.

        Args:
            folder: The authority.
            insecure: Sign although the southbound does not tell chassis apart.
        """
        self._folder, self._insecure = folder, insecure
        self._answers: dict[str, tuple[str, str | InputError]] = {}
        """By chassis: the request, and the certificate for it or why there is none."""
        self.refusals: tuple[InputError, ...] = ()
        self.signed = 0
        """Certificates since the program started."""
        self.signing: Signing = NO_SIGNING
        self.problem = ""
        self._stamp: object = None
        self._look_at = float("-inf")

    def look(self, now: float) -> bool:
        """Read the books if they have changed; returns whether `signing` has."""
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_S
        before = self.signing
        try:
            stamp = self._folder.index_path.stat().st_mtime_ns
            if stamp != self._stamp:
                index = self._folder.read()
                revoked = {e.chassis for e in index.newest().values() if e.revoked is not None}
                bundle = self._folder.bundle(index)
                barred = frozenset(index.barred) | revoked
                self.signing = Signing(authorities=bundle, barred=barred)
                self._stamp = stamp
            self._say("")
        except (OSError, PkiError) as error:
            self._say(str(error))
            self._look_at = now + RETRY_S
        if self.signing != before:
            self._answers.clear()
        return self.signing != before

    def wake_at(self) -> float:
        """When look() has something to do, on the clock of `now`."""
        return self._look_at

    def answer(
        self, asked: Iterable[Asked], remotes: Iterable[Remote], wall: datetime
    ) -> Mapping[str, str]:
        """Sign what may be signed.

        Returns:
            Certificates that rows do not carry yet, PEM by chassis name.
        """
        rows = list(asked)
        unsafe = "" if self._insecure else why_unsafe(remotes)
        if unsafe:
            self.refusals = tuple(_refusal(row, unsafe) for row in rows)
            return {}
        self._sign([row for row in rows if self._is_new(row)][:BATCH], wall)
        answers: dict[str, str] = {}
        refusals: list[InputError] = []
        for row in rows:
            _, found = self._answers.get(row.name, ("", ""))
            if isinstance(found, InputError):
                refusals.append(found)
            elif found not in ("", row.answer):
                answers[row.name] = found
        self.refusals = tuple(refusals)
        return answers

    def _is_new(self, row: Asked) -> bool:
        return self._answers.get(row.name, ("", ""))[0] != row.request

    def _sign(self, rows: list[Asked], wall: datetime) -> None:
        requests: list[tuple[Asked, Request]] = []
        for row in rows:
            try:
                requests.append((row, check_request(row.request, checked_name(row.name))))
            except PkiError as error:
                self._refuse(row, error)
        if not requests:
            return
        try:
            signed = sign_all(self._folder, [request for _, request in requests], LIFE, wall)
        except PkiError as error:
            self._say(str(error))
            return
        for (row, _), certificate in zip(requests, signed, strict=True):
            if isinstance(certificate, PkiError):
                self._refuse(row, certificate)
            else:
                self._answers[row.name] = (row.request, certificate)
                self.signed += 1
                _log.info("certificate_signed", chassis=row.name)

    def _refuse(self, row: Asked, error: PkiError) -> None:
        self._answers[row.name] = (row.request, _refusal(row, str(error)))

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            _log.error("authority_not_usable", reason=problem)
        self.problem = problem


def _refusal(row: Asked, reason: str) -> InputError:
    name = report.printable(row.name, 80)
    text = f"{len(row.request)} characters"
    return InputError(table=report.TABLE, row=name, key=report.REQUEST, text=text, reason=reason)
