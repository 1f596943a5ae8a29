# SPDX-License-Identifier: Apache-2.0
"""The fake guard layer keeps the contract, and fails when told to."""

from __future__ import annotations

import pytest

from controller.guard.layer import GuardLayer
from ovn_ipsec.errors import NftError
from ovn_ipsec.model.observation import Unknown
from tests.contracts.guard_layer import CLOSED, GuardLayerContract
from tests.fakes.kernel import FakeGuardLayer


class TestFake(GuardLayerContract):
    """The contract on the fake."""

    @pytest.fixture
    def layer(self) -> GuardLayer:
        """Build an empty layer."""
        return FakeGuardLayer()


class TestBlindFake(GuardLayerContract):
    """The contract on the fake that sees no VNIs, as the XFRM layer."""

    @pytest.fixture
    def layer(self) -> GuardLayer:
        """Build an empty layer."""
        return FakeGuardLayer(sees_vnis=False)


def test_failure_has_no_effect() -> None:
    """A failed apply leaves the state, and only the next call fails."""
    layer = FakeGuardLayer()
    layer.fail_next("apply", NftError("refused"))
    with pytest.raises(NftError):
        layer.apply(None, CLOSED)
    assert layer.state is None
    layer.apply(None, CLOSED)
    layer.fail_next("observe", NftError("away"))
    assert layer.observe() == Unknown("away")
    layer.flush()
    assert layer.state is None
