# SPDX-License-Identifier: Apache-2.0
"""Every exception of the project: what happened, who has to act, and when a retry makes sense."""

from __future__ import annotations

from enum import StrEnum

from .model.text import printable

DIAGNOSTICS_MAX = 1000
"""Characters of what an error says: it may quote what others wrote."""


class Retry(StrEnum):
    """When the same thing may succeed."""

    LATER = "later"
    ON_INPUT_CHANGE = "on-input-change"
    NEVER = "never"


class IPsecError(Exception):
    """Base of all errors here; never raised itself."""

    retry: Retry = Retry.NEVER

    def diagnostics(self) -> str:
        """What happened, in one bounded line for a log or a screen."""
        return printable(str(self).replace("\n", " "), DIAGNOSTICS_MAX)


class InputError(IPsecError):
    """A value of somebody else's that does not parse: names table, row, key, text and reason."""

    retry = Retry.ON_INPUT_CHANGE

    def __init__(self, *, table: str, row: str, key: str, text: str, reason: str) -> None:
        """Store where the value stands (table, row, key), the text, and what was expected."""
        self.table, self.row, self.key, self.text, self.reason = table, row, key, text, reason
        where = printable(f"{table} {row[:253]} {key}")
        super().__init__(f"{where}={text[:80]!r}: {printable(reason)}")


class EdgeError(IPsecError):
    """An outside system refused or did not answer."""

    retry = Retry.LATER


class OvsdbError(EdgeError):
    """A transaction failed or a database cannot be reached."""


class OvsdbConflict(OvsdbError):  # noqa: N818 - the word for it
    """Somebody else wrote, or took the lock, meanwhile: look again and decide anew."""


class OvsdbRefused(OvsdbError):  # noqa: N818 - the word for it
    """The server will not have this write: a constraint, or access control. It will not soon."""


class IkeError(EdgeError):
    """The IKE daemon refused a command or its socket is gone."""


class IkeHungError(IkeError):
    """The IKE daemon takes what it is told and does not answer in time."""


class XfrmError(EdgeError):
    """The kernel refused an XFRM message."""

    def __init__(self, message: str, errno: int = 0) -> None:
        """Store the kernel's errno beside the words."""
        self.errno = errno
        super().__init__(message)


class NftError(EdgeError):
    """libnftables refused a command or is missing."""


class CredentialError(IPsecError):
    """A certificate or key that cannot be used, and why."""

    retry = Retry.ON_INPUT_CHANGE


class InvariantError(IPsecError):
    """Our own bug: something that must always hold does not."""
