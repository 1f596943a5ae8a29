# SPDX-License-Identifier: Apache-2.0
"""Edge (signals): what was made is taken away again, however the program ends.

Only what cannot be caught, SIGKILL and the end of the machine, leaves something behind.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def undoing() -> Iterator[ExitStack]:
    """Collect what to undo; at the end it is done, the last first, and no signal stops it.

    A signal ends the block by KeyboardInterrupt.
    """
    before = {number: signal.signal(number, _interrupt) for number in SIGNALS}
    stack = ExitStack()
    try:
        yield stack
    finally:
        try:
            _ignore()
            stack.close()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _ignore() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    _ignore()
    raise KeyboardInterrupt
