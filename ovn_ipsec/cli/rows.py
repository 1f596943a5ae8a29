# SPDX-License-Identifier: Apache-2.0
"""Pure: what is wrong with the Chassis and Encap rows themselves, whatever controllers report.

A chassis without a row, or with addresses that fit no other chassis, has no pairs: so none is
missing anywhere, and its controller has nothing to report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..schema.report import printable
from .finding import CLUSTER, Finding
from .pairs import misfits
from .view import ChassisView, Southbound

SHOWN = 10
"""Findings of one kind that are told one by one: rows can be many, and one hand may write them."""
NO_ROW = (
    "start ovn-controller on that chassis; if it runs, its log says what keeps it from making the"
    " row. If the chassis is gone for good, delete its Chassis_Private row"
)
ONE_ADDRESS = (
    "give each chassis an address of its own (external_ids:ovn-encap-ip), and delete the chassis"
    " that should not have this one: ovn-sbctl chassis-del"
)
SAME_KIND = (
    "give both a common tunnel type (external_ids:ovn-encap-type) and IP version"
    " (external_ids:ovn-encap-ip)"
)
FIX_ROW = "correct the row; an unknown chassis may have written it"


def row_findings(sb: Southbound, privates: Iterable[str]) -> list[Finding]:
    """Find what is wrong with rows.

    Args:
        sb: The southbound.
        privates: Names of all Chassis_Private rows.

    Returns:
        Of each kind the first few, and how many more.
    """
    return [
        *_some(_rowless(sb, privates)),
        *_some(_claims(sb.chassis.values())),
        *_some(_misfits(sb.chassis.values())),
        *_some(
            Finding(subject=CLUSTER, problem=printable(str(error), 400), next_step=FIX_ROW)
            for error in sb.refused
        ),
    ]


def _some(found: Iterable[Finding]) -> list[Finding]:
    """The first of them, and one more for the rest."""
    kept = list(found)
    if len(kept) <= SHOWN:
        return kept
    rest = kept[SHOWN:]
    text = f"and {len(rest)} more of these"
    return [*kept[:SHOWN], Finding(subject=CLUSTER, problem=text, next_step=rest[0].next_step)]


def _rowless(sb: Southbound, privates: Iterable[str]) -> Iterator[Finding]:
    refused = {error.row for error in sb.refused if error.table == "Chassis"}
    for name in sorted(privates):
        if name not in sb.chassis and name[:80] not in refused:
            shown = printable(name, 253)
            yield Finding(subject=shown, problem="no Chassis row", next_step=NO_ROW)


def _claims(views: Iterable[ChassisView]) -> Iterator[Finding]:
    for view in views:
        for ip, other in sorted(view.rivals, key=str):
            yield Finding(
                subject=view.name, problem=f"{other} claims {ip} too", next_step=ONE_ADDRESS
            )


def _misfits(views: Iterable[ChassisView]) -> Iterator[Finding]:
    for found in misfits(views):
        one, other = (f"{_such(side)} ({ends(side[0])})" for side in (found.one, found.other))
        where = f"among {one}" if one == other else f"between {one} and {other}"
        problem = f"no tunnel is possible {where}"
        yield Finding(subject=found.one[0].name, problem=problem, next_step=SAME_KIND)


def _such(side: Sequence[ChassisView]) -> str:
    more = f" and {len(side) - 1} more" if len(side) > 1 else ""
    return f"{side[0].name}{more}"


def ends(view: ChassisView) -> str:
    """The tunnel types and versions of IP of a chassis, as `geneve IPv4`."""
    found = {f"{i.encap.type} IPv{i.encap.ip.version}" for i in view.chassis.encaps}
    return ", ".join(sorted(found)) or "no encap that IPsec covers"
