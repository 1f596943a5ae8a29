# SPDX-License-Identifier: Apache-2.0
"""Shell: remove everything of ours from the kernel and the IKE daemons (`--flush`)."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from ovn_ipsec.errors import EdgeError, IkeError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.observation import Known, Unknown

from .guard.host import HostGuard
from .ike.apply import apply_steps
from .ike.backend import IkeBackend
from .ike.keyring import Keyring
from .ike.link import mirror
from .plan.agent import Agent
from .plan.pair.lifecycle import remove_steps
from .state_dir import State

_log = structlog.get_logger()


def flush(state: State, guard: HostGuard, backends: Iterable[IkeBackend]) -> None:
    """Remove the guard, every connection, SA and key of ours, and the stored policy.

    Raises:
        EdgeError: The guard could not be removed.
    """
    state.open()
    guard.keeper.found()
    for backend in backends:
        _flush_daemon(state, backend)
    if not guard.flush():
        raise EdgeError(f"guard not removed: {guard.keeper.problems()}")
    if not (state.keep_boot_guard(None) and state.keep_policy(None)):
        raise EdgeError(state.problem)


def _flush_daemon(state: State, backend: IkeBackend) -> None:
    try:
        backend.open()
        _remove_connections(backend)
        backend.set_ocsp((), "")
        Keyring(state).tidy(backend, frozenset())
    except IkeError as error:
        # Without the daemon there is nothing to unload, but the guard still has to be removed.
        _log.warning("ike_daemon_not_flushed", daemon=backend.kind, reason=error.diagnostics())
    finally:
        backend.close()


def _remove_connections(backend: IkeBackend) -> None:
    match backend.observe():
        case Known(value=seen):
            agent = Agent(ChassisName("-"))
            mirror(agent, seen)
            for name, one in agent.seen.items():
                _, failure = apply_steps(backend, remove_steps(name, one), one)
                if failure is not None:
                    raise failure
        case Unknown(reason=reason):
            raise IkeError(reason)
