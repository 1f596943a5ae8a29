# SPDX-License-Identifier: Apache-2.0
"""Pure: whether packets of this host's workloads fit through its tunnels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...model.chassis import ChassisName, IpAddress
from ...model.mtu import BY_PROFILE, Interface, Wrapping, inner_mtu, larger
from ...model.policy import Mode, Treatment
from ...schema.report import printable
from ..headroom import treatment_by
from ..pairs import Ends, between
from ..view import ChassisView, Southbound
from ..wording import plural
from .checkup import Check
from .hostcheck import LOOK, NAMED, Host

PART = "MTU"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    """What one pair leaves."""

    peer: ChassisName
    local: IpAddress
    remote: IpAddress
    path: int
    left: int
    treatment: Treatment


def own_pairs(name: str, southbound: Southbound) -> Iterator[Ends]:
    """The pairs of a chassis, its own end first.

    Args:
        name: Of it.
        southbound: With all chassis.
    """
    ours = southbound.chassis.get(name)
    if ours is not None:
        for view in southbound.chassis.values():
            yield from between(ours, view)


def examine_mtu(name: str | None, host: Host) -> tuple[Check, ...]:
    """Compare the interfaces of workloads with what the narrowest pair leaves.

    Args:
        name: Of this chassis; None: it has none.
        host: What was seen.

    Returns:
        Nothing where there is no pair.
    """
    if name is None or host.southbound is None:
        return ()
    pairs = list(own_pairs(name, host.southbound))
    if not pairs:
        return ()
    found = list(_lefts(pairs, host.southbound, host))
    if not found:
        said = "the kernel knows no path to any peer"
        return (Check(part=PART, is_well=None, said=said, next_step=LOOK),)
    least = min(found, key=lambda one: one.left)
    left, why = least.left, _why(least, host)
    reported = _reported(host.southbound.chassis[name])
    if reported is not None and reported < left:
        left, why = reported, "as the controller reports, which knows where ESP is in UDP"
    over = larger(host.interfaces, left)
    if over:
        return (_too_large(over, left, why),)
    return (Check(part=PART, is_well=True, said=f"{left} is left to workloads: {why}"),)


def _lefts(pairs: list[Ends], southbound: Southbound, host: Host) -> Iterator[_Left]:
    policy = southbound.policy
    treat = treatment_by(policy)
    in_udp = policy is not None and policy.tuning.force_encapsulation
    for ends in pairs:
        ours, theirs = ends
        local, remote = ours.encap.encap, theirs.encap.encap
        path = host.paths.get((local.ip, remote.ip))
        if path is None:
            continue
        treatment = treat.pair(ends)
        esp = None if treatment.mode is Mode.OFF else BY_PROFILE[treatment.profile]
        wrapping = Wrapping(type=local.type, version=local.ip.version, esp=esp, in_udp=in_udp)
        yield _Left(
            peer=theirs.view.chassis.name,
            local=local.ip,
            remote=remote.ip,
            path=path,
            left=inner_mtu(path, wrapping),
            treatment=treatment,
        )


def _reported(ours: ChassisView) -> int | None:
    room = None if ours.digest is None else ours.digest.room
    return None if room is None else room.inner


def _why(least: _Left, host: Host) -> str:
    how = f"profile {least.treatment.profile}"
    if least.treatment.mode is Mode.OFF:
        how = "in clear"
    said = f"{least.path} on the path to {least.peer} {least.remote}, {how}"
    egress = host.egress.get((least.local, least.remote))
    if egress is None:
        return said
    link = f"{egress.link} has {egress.link_mtu}"
    if egress.route_mtu is not None:
        link += f", and the route or a router on the way says {egress.route_mtu}"
    return printable(f"{said} ({link})", 400)


def _too_large(over: tuple[Interface, ...], left: int, why: str) -> Check:
    ordered = sorted(over, key=lambda one: (-one.mtu, one.name))
    named = ", ".join(f"{one.name} {one.mtu} ({one.port})" for one in ordered[:NAMED])
    more = f" and {len(over) - NAMED} more" if len(over) > NAMED else ""
    said = f"{plural(len(over), 'interface')} above {left}: {named}{more}; {why}"
    return Check(
        part=PART,
        is_well=False,
        said=printable(said, 600),
        next_step=f"set {left} as their MTU, inside the workloads too: ip link set mtu {left} dev"
        f" NAME; what gives out a larger one: ovn-ipsec mtu",
    )
