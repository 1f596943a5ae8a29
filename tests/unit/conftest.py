# SPDX-License-Identifier: Apache-2.0
"""Hypothesis profiles, and a guard: unit tests touch nothing outside themselves."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Generator
from typing import Any, NoReturn

import hypothesis
import pytest

hypothesis.settings.register_profile("dev", max_examples=50, deadline=None)
hypothesis.settings.register_profile("few", max_examples=5, deadline=None)  # make check-fast
hypothesis.settings.register_profile("ci", max_examples=500, deadline=None)
hypothesis.settings.register_profile("nightly", max_examples=5000, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def _forbidden(*_args: Any, **_kwargs: Any) -> NoReturn:
    pytest.fail("a unit test must not connect, sleep, or start a process or thread")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Forbid the outside world while a unit test runs (a hook: hypothesis dislikes fixtures)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _forbidden)
        patch.setattr(subprocess.Popen, "__init__", _forbidden)
        patch.setattr(threading.Thread, "start", _forbidden)
        patch.setattr(time, "sleep", _forbidden)
        return (yield)
