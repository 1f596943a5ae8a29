# SPDX-License-Identifier: Apache-2.0
"""Shell: certificates for the chassis that request one in their own Chassis_Private row.

A request counts as the chassis' own only if the southbound lets nobody else write that row: over
TLS with the role ovn-controller (ovn-sb(5), Connection.role; RBAC in ovn-northd's rbac_perm_cfg).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.allowance import Allowance
from ovn_ipsec.pki.errors import BusyError, LimitError, PkiError
from ovn_ipsec.pki.folder import CaFolder
from ovn_ipsec.pki.issuance import sign_all
from ovn_ipsec.pki.request import REQUEST_MAX, Request, check_request
from ovn_ipsec.pki.values import checked_name
from ovn_ipsec.schema import report

from .observe.views import Asked, Remote
from .policy.target import NO_SIGNING, Signing

_log = structlog.get_logger()

LIFE = timedelta(days=30)
"""Of a certificate; its chassis requests the next one after 70 to 90 % of it."""
LOOK_S = 2.0
"""Between two checks of the authority's records."""
RETRY_S = 60.0
"""Until a retry after the authority's directory could not be read or written."""
BATCH = 50
"""Requests examined in one pass; each writes to disk, and policy must not wait for long."""
TOTAL_BURST, TOTAL_EVERY_S = 200, 0.05
"""Requests of all chassis: this many at once, then 20 a second: a cluster of 3000 chassis that
enrols at once takes less than three minutes."""
ASK_BURST, ASK_EVERY_S = 4, 60.0
"""Requests of one chassis that are examined: one that keeps changing its request waits."""
ROLE = "ovn-controller"


def why_unsafe(remotes: Iterable[Remote]) -> str:
    """Why the southbound does not tell chassis apart; empty if it does."""
    found = list(remotes)
    if not found:
        return "the southbound's remotes are not in its Connection table, so they cannot be judged"
    open_ones = [r for r in found if not r.target.startswith(("pssl:", "ssl:")) or r.role != ROLE]
    if open_ones:
        names = ", ".join(sorted(r.target for r in open_ones)[:3])
        return f"anybody may write any row over {names}: expected pssl: with role={ROLE}"
    return ""


@dataclass(slots=True)
class _Case:
    """What is known of one chassis."""

    looks: Allowance
    request: str = ""
    """The request that was examined last; empty: it has to be examined again."""
    found: str | InputError = ""
    """The certificate, or why there is none."""
    until: datetime | None = None
    """When a temporary refusal ends."""
    turn: int = 0
    """The number of the pass in which it was last examined."""


class Enrolment:
    """The authority of one directory, and what it has answered."""

    def __init__(self, folder: CaFolder, *, insecure: bool) -> None:
        """Build it.

        Args:
            folder: The authority.
            insecure: Sign although the southbound does not tell chassis apart.
        """
        self._folder, self._insecure = folder, insecure
        self._cases: dict[str, _Case] = {}
        self.refusals: tuple[InputError, ...] = ()
        """At most one for each chassis."""
        self.signed = 0
        """Certificates signed since the program started."""
        self.signing: Signing = NO_SIGNING
        self.problem = ""
        self._stamp: object = None
        self._look_at = self._now = self._sign_at = float("-inf")
        self._unwritable = ""
        """Why the last attempt to write to the authority's records failed."""
        self._total = Allowance.full(TOTAL_BURST, TOTAL_EVERY_S, 0.0)
        self._turn = 0

    def look(self, now: float) -> bool:
        """Read the records if they have changed; returns whether `signing` has changed."""
        self._now = now
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_S
        before = self.signing
        try:
            stamp = self._stamp_now()
            if stamp != self._stamp:
                index = self._folder.ledger().written
                # Who was revoked by name; a certificate that was revoked by its number bars a key.
                revoked = frozenset(index.revoked_names)
                self.signing = Signing(authorities=self._folder.bundle(index), revoked=revoked)
                self._stamp = stamp
                self._unwritable, self._sign_at = "", float("-inf")
            self._say(self._unwritable)
        except PkiError as error:
            self._say(str(error))
            self._stamp, self._look_at = None, now + RETRY_S
        if self.signing != before:
            for case in self._cases.values():
                case.request, case.until = "", None
        return self.signing != before

    def _stamp_now(self) -> object:
        """What other books have another of.

        Raises:
            PkiError: There are none, or nobody may look.
        """
        try:
            found = self._folder.index_path.stat()
        except OSError as error:
            self._folder.ledger()  # it says what is missing, and what to do
            raise PkiError(str(self._folder.index_path), str(error.strerror)) from None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def wake_at(self) -> float:
        """When look() has something to do, on the clock of `now`."""
        return self._look_at

    def answer(
        self, asked: Iterable[Asked], remotes: Iterable[Remote], wall: datetime
    ) -> Mapping[str, str]:
        """Sign what may be signed, as much as is allowed in one pass.

        Returns:
            Certificates that the rows do not carry yet, PEM by chassis name.
        """
        rows = list(asked)
        unsafe = "" if self._insecure else why_unsafe(remotes)
        if unsafe:
            self.refusals = _all_refused(rows, unsafe)
            return {}
        if self._now >= self._sign_at:
            self._sign(self._turns(rows, wall), wall)
        answers: dict[str, str] = {}
        refusals: list[InputError] = []
        for row in rows:
            case = self._cases.get(row.name)
            if case is None:
                continue
            if isinstance(case.found, InputError):
                refusals.append(case.found)
            elif case.found != row.answer and case.request == _kept(row):
                answers[row.name] = case.found
        self.refusals = tuple(refusals)
        return answers

    def _turns(self, rows: list[Asked], wall: datetime) -> list[Asked]:
        """The requests to examine now: new ones, longest waiting first."""
        now = self._now
        named = {row.name for row in rows}
        # Withdrawing a request and asking again gives nothing back of what was used up.
        full = [
            n for n, c in self._cases.items() if n not in named and c.looks.left(now) >= ASK_BURST
        ]
        for name in full:
            del self._cases[name]
        waiting = [row for row in rows if self._is_due(row, wall)]
        waiting.sort(key=lambda row: self._cases[row.name].turn if row.name in self._cases else 0)
        self._turn += 1
        found: list[Asked] = []
        for row in waiting[:BATCH]:
            if not self._total.allows(now):
                break
            self._total = self._total.take(now)
            case = self._cases.setdefault(
                row.name, _Case(Allowance.full(ASK_BURST, ASK_EVERY_S, now))
            )
            case.looks, case.turn = case.looks.take(now), self._turn
            found.append(row)
        return found

    def _is_due(self, row: Asked, wall: datetime) -> bool:
        case = self._cases.get(row.name)
        if case is None:
            return True
        is_new = case.request != _kept(row) or (case.until is not None and wall >= case.until)
        return is_new and case.looks.allows(self._now)

    def _sign(self, rows: list[Asked], wall: datetime) -> None:
        requests: list[tuple[Asked, Request]] = []
        for row in rows:
            try:
                requests.append((row, check_request(row.request, checked_name(row.name))))
            except PkiError as error:
                self._refuse(row, error)
        if not requests:
            if not rows:
                # Nobody requests anything any more, so nothing shows whether it is still true.
                self._unwritable = ""
            return
        try:
            signed = sign_all(self._folder, [request for _, request in requests], LIFE, wall)
        except PkiError as error:
            # The failure is not these chassis' fault; records in use elsewhere are no fault at all.
            for row, _ in requests:
                self._cases[row.name].looks = self._cases[row.name].looks.give_back()
                self._total = self._total.give_back()
            if not isinstance(error, BusyError):
                self._unwritable = str(error)
                self._say(self._unwritable)
                self._sign_at = self._now + RETRY_S
            return
        self._unwritable = ""
        for (row, _), certificate in zip(requests, signed, strict=True):
            if isinstance(certificate, PkiError):
                self._refuse(row, certificate)
            else:
                self._settle(row, certificate)
                self.signed += 1
                _log.info("certificate_signed", chassis=row.name)

    def _refuse(self, row: Asked, error: PkiError) -> None:
        until = error.until if isinstance(error, LimitError) else None
        self._settle(row, _refusal(row, str(error)), until)

    def _settle(self, row: Asked, found: str | InputError, until: datetime | None = None) -> None:
        case = self._cases[row.name]
        case.request, case.found, case.until = _kept(row), found, until

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            _log.error("authority_not_usable", reason=problem)
        elif self.problem and not problem:
            _log.info("authority_usable_again")
        self.problem = problem


def _kept(row: Asked) -> str:
    """What distinguishes a request from another; of an overlong one only the beginning."""
    return row.request[: REQUEST_MAX + 1]


def _all_refused(rows: list[Asked], reason: str) -> tuple[InputError, ...]:
    """One refusal for all of them, because they have one cause."""
    if not rows:
        return ()
    more = f", and those of {len(rows) - 1} more" if len(rows) > 1 else ""
    return (_refusal(rows[0], f"{reason}{more}"),)


def _refusal(row: Asked, reason: str) -> InputError:
    name = report.printable(row.name, 80)
    text = f"{len(row.request)} characters"
    return InputError(table=report.TABLE, row=name, key=report.REQUEST, text=text, reason=reason)
