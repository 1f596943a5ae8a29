# SPDX-License-Identifier: Apache-2.0
"""Shell: this chassis' certificate and key, read when they change; bad new ones are refused."""

from __future__ import annotations

from datetime import datetime

import structlog

from ovn_ipsec.errors import CredentialError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.schema.open_vswitch import CredentialFiles

from . import credentials
from .plan.credential import Credential, Secret, check

_log = structlog.get_logger()

LOOK_S = 2.0


class CredentialKeeper:
    """The credential in use, and what is wrong with it or with the one that should follow."""

    def __init__(self) -> None:
        """Start without one."""
        self.credential: Credential | None = None
        self.key: Secret | None = None
        self.problem = "no certificate is configured"
        self._files: CredentialFiles | None = None
        self._stamp: object = None
        self._look_at = float("-inf")

    def run(
        self, files: CredentialFiles | None, chassis: ChassisName, now: float, wall: datetime
    ) -> bool:
        """Look at the files when it is time or their names changed.

        Returns:
            Whether another credential is in use now.
        """
        if now < self._look_at and files == self._files:
            return False
        self._look_at = now + LOOK_S
        if files is None:
            self._files = None
            self._say(
                "no certificate: set Open_vSwitch other_config certificate, private_key, ca_cert"
            )
            return False
        stamp = credentials.stamp(files)
        if (files, stamp) == (self._files, self._stamp) and not self.problem:
            self._check_dates(chassis, wall)
            return False
        self._files, self._stamp = files, stamp
        try:
            credential, key = credentials.read(files, chassis, wall)
        except CredentialError as error:
            self._say(error.diagnostics())
            return False
        self._say("")
        if self.credential is not None and credential.fingerprint == self.credential.fingerprint:
            return False
        self.credential, self.key = credential, key
        _log.info("credential_loaded", subject=credential.subject, until=credential.not_after)
        return True

    def _check_dates(self, chassis: ChassisName, wall: datetime) -> None:
        if self.credential is None:
            return
        self._say("; ".join(check(self.credential, chassis, wall)))

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            _log.error("credential_refused", reason=problem)
        self.problem = problem

    def wake_at(self) -> float:
        """When the files are looked at again, monotonic seconds."""
        return self._look_at
