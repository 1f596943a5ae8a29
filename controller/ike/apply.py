# SPDX-License-Identifier: Apache-2.0
"""Shell: apply the steps of one pair to the IKE daemon, and note what that changed."""

from __future__ import annotations

from dataclasses import replace

from ovn_ipsec.errors import IkeError

from ..plan.pair.facts import NOTHING_SEEN, ConnSeen
from ..plan.pair.steps import (
    Initiate,
    Install,
    Load,
    RekeyChild,
    Step,
    TerminateChild,
    TerminateIke,
    Uninstall,
    Unload,
)
from .backend import IkeBackend


def apply_steps(
    backend: IkeBackend, steps: tuple[Step, ...], seen: ConnSeen
) -> tuple[ConnSeen, IkeError | None]:
    """Apply steps in order and stop at the first that fails.

    Returns:
        What the daemon now holds of this connection, as far as the successful steps tell, and the
        failure.
    """
    for step in steps:
        try:
            _do(backend, step)
        except IkeError as error:
            return seen, error
        seen = _after(step, seen)
    return seen, None


def _do(backend: IkeBackend, step: Step) -> None:
    match step:
        case Load(config=config):
            backend.load(config)
        case Unload(name=name):
            backend.unload(name)
        case Install(name=name, child=child):
            backend.install(name, child)
        case Uninstall(name=name, child=child):
            backend.uninstall(name, child)
        case Initiate(name=name, child=child):
            backend.initiate(name, child)
        case TerminateIke(ike_id=ike_id, force=force):
            backend.terminate_ike(ike_id, force=force)
        case TerminateChild(child_id=child_id):
            backend.terminate_child(child_id)
        case RekeyChild(child_id=child_id):
            backend.rekey_child(child_id)


def _after(step: Step, seen: ConnSeen) -> ConnSeen:
    match step:
        case Load(config=config):
            return replace(seen, config=config.fingerprint, marks=config.marks, present=True)
        case Unload():
            return replace(seen, config="", marks=(), present=False)
        case Install(child=child):
            return replace(seen, traps=seen.traps | {child})
        case Uninstall(child=child):
            return replace(seen, traps=seen.traps - {child})
        case _:
            return seen


def after_restart(seen: ConnSeen) -> ConnSeen:
    """What is left of a connection when the daemon that held it is gone.

    Its SAs are assumed to live on in the kernel until an audit, a moment later, finds otherwise.
    """
    return replace(NOTHING_SEEN, orphaned=seen.up or seen.orphaned)
