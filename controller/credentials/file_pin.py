# SPDX-License-Identifier: Apache-2.0
"""Shell: the certificate that peers pin, where ovs-monitor-ipsec proves itself with the operator's.

ovs-monitor-ipsec reads the files that Open_vSwitch names, and reads them again when it is told of
other paths. So another certificate is used, and published, when another path is named.
"""

from __future__ import annotations

from datetime import datetime

import structlog

from ovn_ipsec.errors import CredentialError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.schema.open_vswitch import CredentialFiles

from ..plan.credentials.credential import Credential, Secret
from .files import read_pin
from .source import NO_PIN_FILES

_log = structlog.get_logger()

OTHER = "{} has another certificate, which ovs-monitor-ipsec does not notice: name it by a new path"


class FilePin:
    """The certificate in use."""

    switching = False
    """Whether a new certificate is published and not used yet: its owner uses it at once."""

    def __init__(self) -> None:
        self._paths: tuple[str, str] | None = None
        self.credential: Credential | None = None
        self.key: Secret | None = None
        self.text = ""
        """The certificate for our own row."""
        self.problem = NO_PIN_FILES

    def renew(self) -> None:
        """Do nothing: only the operator makes another one."""

    def refresh(self, files: CredentialFiles | None, chassis: ChassisName, wall: datetime) -> None:
        """Read the files if other paths are named, or if there is no certificate yet.

        Args:
            files: As ovs-monitor-ipsec is told of them; the authorities do not matter.
            chassis: Our name.
            wall: Wall time, aware.
        """
        if files is None or not (files.certificate and files.private_key):
            self.credential = self.key = self._paths = None
            self.text = ""
            self._say(NO_PIN_FILES)
            return
        paths = files.certificate, files.private_key
        try:
            credential, key, text = read_pin(files, chassis, wall)
        except CredentialError as error:
            self._say(error.diagnostics())
            return
        known = self.credential
        if known is not None and paths == self._paths:
            is_same = credential.certificate_der == known.certificate_der
            self._say("" if is_same else OTHER.format(files.certificate))
            return
        self._paths = paths
        self.credential, self.key, self.text = credential, key, text
        self._say("")
        _log.info("credential_loaded", subject=credential.subject, until=credential.not_after)

    def _say(self, problem: str) -> None:
        if problem not in ("", NO_PIN_FILES, self.problem):
            _log.error("credential_refused", reason=problem)
        self.problem = problem
