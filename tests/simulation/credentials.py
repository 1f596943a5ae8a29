# SPDX-License-Identifier: Apache-2.0
"""What a simulated chassis proves itself with: symbols in the place of certificates.

A certificate is `AUTHORITY/NAME/NUMBER`, an authority its name; the secrets of `psk` are real.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stock:
    """What lies on the disk of one host."""

    name: str
    authority: str = "ca1"
    trusted: tuple[str, ...] = ("ca1",)
    number: int = 1
    secrets: tuple[str, ...] = ("a secret of the cluster, one",)
    broken: bool = False
    """Whether the files hold something that cannot be used."""
    changed: int = field(default=0)
    """Counts changes, as the time of the files does."""
    watch: Callable[[], None] = lambda: None
    """Told of each."""

    def _touch(self) -> None:
        self.changed += 1
        self.watch()

    def rename(self, name: str) -> None:
        """Let the authority sign for another name."""
        self.name = name
        self._touch()

    def renew(self) -> None:
        """Another certificate and key of the same authority."""
        self.number += 1
        self._touch()

    def put(
        self,
        *,
        trusted: tuple[str, ...] | None = None,
        authority: str | None = None,
        secrets: tuple[str, ...] | None = None,
        broken: bool = False,
    ) -> None:
        """Write other files."""
        self.trusted = self.trusted if trusted is None else trusted
        self.authority = self.authority if authority is None else authority
        self.secrets = self.secrets if secrets is None else secrets
        self.broken = broken
        self._touch()
