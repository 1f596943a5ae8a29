# SPDX-License-Identifier: Apache-2.0
"""The credential of this chassis, and what may be wrong with it.

Pure. Input: what the edge read from the certificate files. Output: problems, in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ovn_ipsec.model.chassis import ChassisName


class Secret:
    """Bytes that no log, status, exception or pickle shows."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Give the bytes to whoever must have them: the daemon, nobody else."""
        return self._value

    def __repr__(self) -> str:
        """Hide the bytes and their number."""
        return "Secret(...)"

    def __reduce__(self) -> str:
        """Refuse to be pickled or copied."""
        raise TypeError("a secret is not pickled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Certificate and authorities; the key is only named."""

    certificate_der: bytes
    key_id: str
    """SHA-1 of the public key bits in hex: the daemon's id of the key."""
    ca_der: tuple[bytes, ...]
    """In the order of the file, each once."""
    not_before: datetime
    """Aware, UTC, as is not_after."""
    not_after: datetime
    names: tuple[str, ...]
    """The DNS names among the subject alternative names."""
    subject: str
    """RFC 4514, for people."""
    fingerprint: str
    """SHA-256 over certificate, authorities and chain, in hex: another one is a rollover."""
    chain_der: tuple[bytes, ...] = ()
    """What stands between it and a root, its issuer first: shown to peers beside it."""
    authority_until: datetime | None = None
    """When the first certificate above it ends; None without any."""

    @property
    def until(self) -> datetime:
        """When it ends, or is worth nothing any more."""
        return min(self.not_after, self.authority_until or self.not_after)


def check(credential: Credential, chassis: ChassisName, now: datetime) -> tuple[str, ...]:
    """Say why a credential cannot stand for a chassis.

    That the key fits and the authority signed is checked where the files are read.

    Args:
        credential: what was read.
        chassis: the name that peers expect.
        now: wall time, aware.

    Returns:
        One sentence for each problem, none when it is good.
    """
    problems = []
    if not any(same_name(name, chassis) for name in credential.names):
        problems.append(
            f"the certificate's DNS names ({listed(credential.names)}) lack the chassis name "
            f"{chassis}"
        )
    if now < credential.not_before:
        problems.append(f"the certificate is not valid before {moment(credential.not_before)}")
    if now >= credential.not_after:
        problems.append(f"the certificate expired at {moment(credential.not_after)}")
    if credential.authority_until is not None and now >= credential.authority_until:
        when = moment(credential.authority_until)
        problems.append(f"an authority above the certificate expired at {when}")
    return tuple(problems)


def same_name(name: str, other: str) -> bool:
    """Compare DNS names as the daemon does: by their ASCII letters, whatever their case."""
    return name.lower() == other.lower()


def listed(names: Sequence[str]) -> str:
    """Write some names for people; at most three, each shortened."""
    shown = [name[:80] for name in names[:3]]
    more = [f"{len(names) - 3} more"] if len(names) > 3 else []
    return ", ".join(shown + more) or "none"


def moment(when: datetime) -> str:
    """Write a time for people, in UTC to the second."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
