# SPDX-License-Identifier: Apache-2.0
"""The interface to whatever keeps the credentials of this chassis.

Interface only. Input: CredentialInputs, and both clocks. Output: what this chassis may authenticate
with, as far as it could be checked here; ``Keyring`` says which of it the IKE daemon has accepted,
and only that is used. A source serves one chassis name: a renamed chassis gets another source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Auth, Revocation
from ovn_ipsec.schema.open_vswitch import PSK_FILE, CredentialFiles

from ..plan.credentials.credential import Secret
from ..plan.credentials.proof import LocalCredentials

NO_FILES = "no certificate: set Open_vSwitch other_config certificate, private_key, ca_cert"
NO_PIN_FILES = (
    "no certificate that peers could pin: set Open_vSwitch other_config certificate, private_key"
)
NO_SECRET = f"no secret: set Open_vSwitch other_config {PSK_FILE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialInputs:
    """What this chassis needs to authenticate, and what it has been given.

    An empty setting is an order: what it named is no longer used. A file that cannot be read is not
    an order: what was read before stays in use.
    """

    chassis: ChassisName
    ways: tuple[Auth, ...]
    """The authentication methods that the policy accepts: the one in use first."""
    authorities: str | None = ""
    """Those that sign requests, PEM; empty: there are none; None: the southbound has not been read,
    so that what was signed stays in use."""
    files: CredentialFiles | None = None
    psk_file: str = ""
    crl_file: str = ""
    revocation: Revocation = Revocation.RELAXED
    pin: str = ""
    """The certificate in our own Chassis row."""
    answer: str = ""
    """The answer in our own Chassis_Private row."""
    stock: bool = False
    """Whether ovs-monitor-ipsec proves who we are: then peers pin the certificate in `files`."""


class Watch(Protocol):
    """What may wake the loop."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when something may have changed; -1: none."""

    def close(self) -> None:
        """Stop watching."""


class CredentialSource(Protocol):
    """The credentials of one chassis."""

    @property
    def credentials(self) -> LocalCredentials:
        """What was judged to be good, for ``Keyring.offer``."""

    @property
    def keys(self) -> Mapping[str, Secret]:
        """The private keys of `credentials` that policy has a use for, by the IKE daemon's ids."""

    @property
    def crls(self) -> tuple[bytes, ...]:
        """What authorities have revoked, DER, for ``Keyring.revoke``."""

    @property
    def request(self) -> str:
        """The request for our own Chassis_Private row; empty: none."""

    @property
    def pin(self) -> str:
        """The certificate to publish in our own Chassis row; empty: none."""

    @property
    def auths(self) -> frozenset[Auth]:
        """Ways for which everything is there and good, now, as far as it can be told here."""

    @property
    def expires(self) -> datetime | None:
        """When the certificate in use ends; None without one."""

    @property
    def warning(self) -> str:
        """What will become wrong unless someone provides another certificate; empty if nothing."""

    @property
    def watch(self) -> Watch:
        """Readable when ``heed`` has something to process."""

    def problems(self) -> list[str]:
        """What is wrong with the methods that the policy uses, or that the operator has set up."""

    def heed(self, now: float) -> None:
        """Note that files may have changed (monotonic seconds)."""

    def refresh(self, inputs: CredentialInputs, now: float, wall: datetime) -> bool:
        """Check everything if it is time to, or if the inputs have changed.

        Args:
            inputs: All of it, each time.
            now: Monotonic seconds.
            wall: Wall time, aware.

        Returns:
            Whether something else is offered, or demanded of peers, now.
        """

    def renew(self) -> None:
        """Make new keys for what is made here, whatever the age of those in use."""

    def wake_at(self) -> float:
        """When the next check is due, monotonic seconds."""
