# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.model.amend: what does not change stays the same object."""

from __future__ import annotations

import pytest

from ovn_ipsec.model.amend import amended
from ovn_ipsec.model.pacing import Backoff

SLOW = Backoff(first_s=1.0, most_s=60.0)


def test_value_that_does_not_change_is_the_same_object() -> None:
    """Equal fields are no change, and neither is none at all."""
    assert amended(SLOW) is SLOW
    assert amended(SLOW, first_s=1.0, most_s=float("60")) is SLOW


def test_value_that_changes_is_another_one() -> None:
    """With the other fields as they were."""
    assert amended(SLOW, first_s=1.0, most_s=5.0) == Backoff(first_s=1.0, most_s=5.0)
    assert SLOW.most_s == 60.0


def test_field_that_does_not_exist_is_an_error() -> None:
    """Also where it would be the only one that differs."""
    with pytest.raises(AttributeError):
        amended(SLOW, fastest_s=1.0)
