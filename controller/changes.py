# SPDX-License-Identifier: Apache-2.0
"""Shell: one log event for each change of a pair, and none if nothing changed."""

from __future__ import annotations

import structlog

from .plan.pair.record import PairRecord

_log = structlog.get_logger()


def log_change(before: PairRecord | None, after: PairRecord | None) -> None:
    """Log that a pair's state or treatment changed, if it did."""
    if after is None or (before is not None and _facts(before) == _facts(after)):
        return
    _log.info(
        "pair",
        peer=after.pair.peer,
        remote=str(after.pair.remote),
        local=str(after.pair.local),
        mode=after.mode.value,
        profile=after.profile.value,
        state=after.state.value,
        was=before.state.value if before is not None else "new",
    )


def _facts(record: PairRecord) -> tuple[object, ...]:
    return (record.state, record.mode, record.profile)
