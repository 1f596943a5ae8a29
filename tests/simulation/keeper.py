# SPDX-License-Identifier: Apache-2.0
"""The credentials of a simulated chassis, as the controller asks for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from controller.plan.credentials.credential import Credential, Secret
from controller.plan.credentials.proof import LocalCredentials
from ovn_ipsec.model.policy import Auth
from tests.fakes.files import FakeWatch
from tests.fakes.timeline import EPOCH

from .credentials import Stock
from .host import Host

LOOK_S = 10.0
"""Between two looks when nothing seems to have happened (credentials.keeper.SLOW_S)."""
SETTLE_S = 0.3
FILES_FD = 40


class SimKeeper:
    """See CredentialSource."""

    def __init__(self, host: Host, kick: Callable[[int], None]) -> None:
        self._host = host
        self.credentials = LocalCredentials()
        self.watch = FakeWatch()
        self.watch.fileno = lambda: FILES_FD  # type: ignore[method-assign]
        host.stock.watch = lambda: kick(FILES_FD)
        self.crls: tuple[bytes, ...] = ()
        self.request = self.pin = self.warning = ""
        self.keys: dict[str, Secret] = {}
        self._heeded = 0
        self._seen: object = None
        self._needs: object = None
        self._look_at = float("-inf")
        self._problem = ""

    def heed(self, now: float) -> None:
        """Take in that files have changed."""
        if self._host.stock.changed != self._heeded:
            self._heeded = self._host.stock.changed
            self._look_at = min(self._look_at, now + SETTLE_S)

    def refresh(self, inputs: object, now: float, wall: datetime) -> bool:
        """Look at the files when it is time."""
        if now < self._look_at and inputs == self._needs:
            return False
        self._look_at, self._needs = now + LOOK_S, inputs
        stock = self._host.stock
        seen = (stock.changed, inputs.chassis)  # type: ignore[attr-defined]
        if seen == self._seen:
            return False
        self._seen = seen
        if stock.broken or stock.name != inputs.chassis:  # type: ignore[attr-defined]
            self._problem = "the files do not hold what they should"
            return False
        self._problem = ""
        before, self.credentials = self.credentials, _credentials(stock)
        assert self.credentials.ca is not None
        self.keys = {self.credentials.ca.key_id: Secret(self.credentials.ca.key_id.encode())}
        return self.credentials != before

    @property
    def auths(self) -> frozenset[Auth]:
        """Ways for which everything is there."""
        return frozenset({Auth.CA, Auth.PSK}) if self.credentials.ca is not None else frozenset()

    @property
    def expires(self) -> datetime | None:
        """When the certificate ends."""
        return None if self.credentials.ca is None else self.credentials.ca.not_after

    def problems(self) -> list[str]:
        """What is wrong."""
        return [self._problem] if self._problem else []

    def renew(self) -> None:
        """Nothing is made here."""

    def wake_at(self) -> float:
        """When to look again."""
        return self._look_at


def _credentials(stock: Stock) -> LocalCredentials:
    text = f"{stock.authority}/{stock.name}/{stock.number}"
    credential = Credential(
        certificate_der=text.encode(),
        key_id=f"key-{stock.name}-{stock.number}",
        ca_der=tuple(name.encode() for name in stock.trusted),
        not_before=EPOCH - timedelta(days=1),
        not_after=EPOCH + timedelta(days=300),
        names=(stock.name,),
        subject=f"CN={stock.name}",
        fingerprint=f"{text} {stock.trusted}",
    )
    return LocalCredentials(
        ca=credential, secrets=tuple(Secret(one.encode()) for one in stock.secrets)
    )
