# SPDX-License-Identifier: Apache-2.0
"""Shell: a look at everything that this machine shows by itself, each part on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from ... import ikes
from ...clock import utc_now
from ...errors import IPsecError
from ...model.ike import Chosen, Ike, IkeSetting, IkesHere, choose
from ...model.observation import Known
from ...schema.open_vswitch import LocalChassis
from ...schema.report import printable
from ..machine import boot_guard, charon, credentials, kernel, nft, pluto, ports, units, xfrm
from ..machine.values import Block
from .checkup import Check
from .credentialcheck import examine_credentials
from .daemoncheck import PORTS, examine_daemon, examine_ports
from .host import cause
from .hostcheck import LOOK, Host
from .kernelcheck import (
    MODULES,
    examine_blocks,
    examine_clock,
    examine_kept,
    examine_modules,
    examine_nft,
)
from .plutocheck import examine_pluto
from .unitcheck import UNITS, examine_units

T = TypeVar("T")
NAME_ONE = "stop one of them, or set other_config:ovn-ipsec-ike to the one that is to be used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where to look."""

    vici: str | None = None
    """None: where Open_vSwitch says, or where strongSwan has it."""
    state_dir: Path = boot_guard.STATE_DIR


def vici_of(places: Places, here: LocalChassis | None) -> str:
    """Say where the IKE daemon is asked, as the controller does."""
    return places.vici or (here.vici if here is not None else None) or charon.DEFAULT


def chosen_ike(places: Places, here: LocalChassis | None) -> Chosen:
    """Choose the IKE daemon as the controller does when it starts."""
    wanted = IkeSetting.STRONGSWAN if here is None else here.ike
    found = IkesHere()
    if wanted is IkeSetting.AUTO:
        found = ikes.look(vici_of(places, here))
    return choose(wanted, found)


def survey(host: Host, name: str | None, places: Places, *, runs: bool) -> tuple[Check, ...]:
    """Look at everything; what cannot be seen is said to be unseen.

    Args:
        host: What was seen by way of the databases.
        name: Of this chassis; None: it has none.
        places: Where to look.
        runs: Whether a controller answers.

    Returns:
        The checks, in the order in which one thing needs the other.
    """
    here = host.local
    chosen = chosen_ike(places, here)
    ike = chosen.ike
    answers, daemon = _daemon(ike, vici_of(places, here))
    found = [
        *_tried("units", partial(units.units, UNITS),
                lambda seen: examine_units(seen, runs=runs, daemon=answers, ike=ike)),
        *_unclear(chosen),
        *daemon,
        *_tried("UDP ports", partial(ports.holders, PORTS),
                lambda seen: examine_ports(seen, daemon=answers, ike=ike)),
        *_tried("modules", partial(kernel.modules, MODULES),
                lambda seen: examine_modules(seen, host.wanted)),
        *_guard(places),
    ]  # fmt: skip
    if here is not None:
        found += _tried(
            "certificate",
            partial(credentials.read, here),
            lambda seen: examine_credentials(name, seen, utc_now(), delegated=ike is Ike.DELEGATE),
        )
    found += _tried("clock", kernel.clock_is_set, lambda seen: [examine_clock(seen)])
    return tuple(found)


def _unclear(chosen: Chosen) -> Iterator[Check]:
    if chosen.problem:
        said = printable(chosen.problem, 400)
        yield Check(part="IKE daemons", is_well=False, said=said, next_step=NAME_ONE)


def _daemon(ike: Ike, vici: str) -> tuple[bool, tuple[Check, ...]]:
    """Whether the IKE daemon answers, and what is well with it; nobody asks a delegated one."""
    match ike:
        case Ike.STRONGSWAN:
            return _strongswan(vici)
        case Ike.LIBRESWAN:
            return _libreswan()
        case Ike.DELEGATE:
            return False, ()


def _strongswan(uri: str) -> tuple[bool, tuple[Check, ...]]:
    """Whether charon answers, and what is well with it."""
    daemon, unseen = _looked("vici", partial(charon.look, uri))
    if daemon is None:
        return False, unseen
    return not daemon.fault, examine_daemon(daemon, charon.files())


def _libreswan() -> tuple[bool, tuple[Check, ...]]:
    """Whether pluto answers, and what is well with it."""
    daemon, unseen = _looked("pluto", pluto.look)
    if daemon is None:
        return False, unseen
    return not daemon.fault, examine_pluto(daemon)


def _guard(places: Places) -> tuple[Check, ...]:
    look = partial(boot_guard.kept_guard, places.state_dir)
    kept, unseen = _looked("boot guard", look)
    if unseen:
        return unseen
    return (
        examine_kept(kept),
        *_tried("guard, nftables", nft.guarded_ports, lambda seen: [examine_nft(kept, seen)]),
        *_tried("guard, XFRM", _blocks, lambda seen: [examine_blocks(kept, seen)]),
    )


def _blocks() -> frozenset[Block]:
    found = (policy.block() for policy in xfrm.policies())
    return frozenset(block for block in found if block is not None)


def _tried(
    part: str, look: Callable[[], T], judge: Callable[[T], Iterable[Check]]
) -> tuple[Check, ...]:
    seen, unseen = _looked(part, lambda: Known(look()))
    return unseen if seen is None else tuple(judge(seen.value))


def _looked(part: str, look: Callable[[], T]) -> tuple[T | None, tuple[Check, ...]]:
    """What was seen, or the check that says why nothing was."""
    try:
        return look(), ()
    except IPsecError as error:
        why = error.diagnostics()
    except OSError as error:
        why = cause(error)
    except (ValueError, LookupError) as error:
        why = f"not as expected: {error!r}"
    return None, (Check(part=part, is_well=None, said=printable(why, 400), next_step=LOOK),)
