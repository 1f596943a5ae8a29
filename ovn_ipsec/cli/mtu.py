# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec mtu`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ..errors import OvsdbError
from .output import complain_of, say_json
from .settings import Exit, Settings

if TYPE_CHECKING:
    from .headroom import Headroom
    from .tables import Screen

NOT_KNOWN = (
    "no controller reports how large packets of the underlay may be: start ovn-ipsec-controller on"
    " the chassis; one that has no pair has nothing to report"
)
SET_INTERFACES = "there: ovn-ipsec doctor names them; set their MTU, and that inside the workloads"


@click.command(name="mtu", short_help="Show how large packets may be, and what to set.")
@click.pass_obj
def command(settings: Settings) -> None:
    """Show how large packets of workloads may be, and what to set where a larger MTU is given out.

    What is left is computed for pairs that are alike, from the MTU of the underlay that controllers
    report, the profile, UDP encapsulation and the version of IP; while encryption is off, as it
    will be once it is on. It is compared with the northbound: the options mtu of DHCP, gateway_mtu
    and ipv6_ra_configs:mtu of router ports, and OpenStack's neutron:mtu; and with the interfaces of
    workloads, which controllers compare. Networks with a localnet port are left out. Exit status: 0
    nothing is too large, 1 something is, 2 nobody can tell.
    """
    try:
        found = _look(settings)
    except OvsdbError as error:
        complain_of(error)
        sys.exit(Exit.CANNOT_TELL)
    say_json(as_json(found)) if settings.as_json else _show(found)
    sys.exit(judged(found))


def _look(settings: Settings) -> Headroom:
    from ..ovsdb.schemas import NORTHBOUND_MTUS, ONLY_LOCALNET, SOUTHBOUND  # noqa: PLC0415
    from ..schema.nb_global import parse_policy  # noqa: PLC0415
    from ..schema.network_mtu import parse_networks  # noqa: PLC0415
    from . import gather  # noqa: PLC0415 - --help stays quick
    from .database import connected, global_row  # noqa: PLC0415
    from .headroom import headroom, treatment_by, trusted  # noqa: PLC0415
    from .view import parse_southbound  # noqa: PLC0415

    with connected(settings, settings.ovnnb_db, NORTHBOUND_MTUS, only=ONLY_LOCALNET) as nb:
        asked = parse_policy(False, dict(global_row(nb).options)).policy
        networks, errors = parse_networks(gather.networks(nb))
    with connected(settings, settings.ovnsb_db, SOUTHBOUND) as sb:
        seen = parse_southbound(gather.southbound(sb))
    stated = seen.policy or asked
    return headroom(
        trusted(seen),
        treatment_by(seen.policy, asked),
        networks,
        errors,
        in_udp=stated is not None and stated.tuning.force_encapsulation,
    )


def judged(found: Headroom) -> Exit:
    """Whether something is too large."""
    return {True: Exit.WELL, False: Exit.DEGRADED, None: Exit.CANNOT_TELL}[found.fits]


def as_json(found: Headroom) -> dict[str, Any]:
    """What `--json` prints."""
    limit = found.limit
    return {
        "left": None if limit is None else limit.left,
        "because": "" if limit is None else limit.because,
        "pairs": [
            {
                "underlay": line.underlay,
                "type": line.type,
                "ip_version": line.version,
                "mode": line.treatment.mode,
                "profile": line.treatment.profile,
                "in_udp": line.in_udp,
                "in_clear": line.clear,
                "encrypted": line.encrypted,
                "left": line.left,
                "number": line.pairs,
                "example": line.example,
            }
            for line in found.lines
        ],
        "too_large": [
            {
                "table": one.table,
                "row": one.name,
                "key": one.key,
                "mtu": one.mtu,
                "command": "" if limit is None else one.to_set(limit.left),
            }
            for one in found.larger
        ],
        "interfaces": [
            {"chassis": name, "number": number, "left": left}
            for name, number, left in found.interfaces
        ],
        "narrow": [{"chassis": name, "left": left} for name, left in found.narrow],
        "errors": [error.diagnostics() for error in found.errors],
        "exit": int(judged(found)),
    }


COLUMNS = ("underlay", "tunnel", "profile", "in clear", "encrypted", "left", "pairs", "such as")


def _show(found: Headroom) -> None:
    from .tables import Screen  # noqa: PLC0415 - --help stays quick

    screen = Screen()
    limit = found.limit
    if limit is None:
        screen.line("how large packets of workloads may be is not known", "yellow")
        screen.line(f"    next: {NOT_KNOWN}")
    else:
        screen.line(f"{limit.left} is left to workloads, {limit.because}", "bold")
    screen.table(COLUMNS, rows(found))
    if found.larger or found.interfaces or found.narrow:
        screen.line("")
        _show_larger(screen, found)
    for error in found.errors:
        screen.line(error.diagnostics(), "yellow")


def _show_larger(screen: Screen, found: Headroom) -> None:
    from .headroom import SEE_UNDERLAY, too_narrow  # noqa: PLC0415 - --help stays quick

    if found.limit is not None:
        for one in found.larger:
            screen.line(f"{one} is {one.mtu}", "yellow")
            screen.line(f"    {one.to_set(found.limit.left)}")
    for name, left in found.narrow:
        screen.line(f"{name} {too_narrow(left)}", "yellow")
        screen.line(f"    {SEE_UNDERLAY}")
    for name, number, left in found.interfaces:
        of = f"{number} interface{'s' if number > 1 else ''} of workloads"
        screen.line(f"{name}: {of} with an MTU above {left}", "yellow")
        screen.line(f"    {SET_INTERFACES}")


def rows(found: Headroom) -> list[tuple[str, ...]]:
    """The table: one row for pairs that are alike."""
    return [
        (
            _number(line.underlay),
            f"{line.type} IPv{line.version}{', ESP in UDP' if line.in_udp else ''}",
            str(line.treatment.profile),
            _number(line.clear),
            _number(line.encrypted),
            _number(line.left),
            str(line.pairs),
            line.example,
        )
        for line in found.lines
    ]


def _number(value: int | None) -> str:
    return "not known" if value is None else str(value)
