# SPDX-License-Identifier: Apache-2.0
"""Pure: what goes wrong with certificates: where, what, why, and what to do next."""

from __future__ import annotations

from datetime import datetime

from ..errors import CredentialError, Retry


class PkiError(CredentialError):
    """Something cannot be done; no text of a key or secret is ever part of it."""

    def __init__(self, where: str, what: str, *, next_step: str = "") -> None:
        """Store the place (a file, a chassis), the problem with its cause, and a next step."""
        self.where, self.what, self.next_step = where, what, next_step
        super().__init__(f"{where}: {what}")


class RequestError(PkiError):
    """A certificate request was refused; says what was expected."""


class LimitError(PkiError):
    """A chassis has been given as many certificates as it may have for now."""

    retry = Retry.LATER

    def __init__(self, where: str, what: str, *, until: datetime, next_step: str = "") -> None:
        """Also store when to try again."""
        self.until = until
        super().__init__(where, f"{what}; again at {until:%Y-%m-%d %H:%M} UTC", next_step=next_step)


class BusyError(PkiError):
    """Another process writes in the same folder."""

    retry = Retry.LATER
