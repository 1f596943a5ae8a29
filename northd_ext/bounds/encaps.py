# SPDX-License-Identifier: Apache-2.0
"""Pure: which encaps of a chassis count, so that one chassis' rows do not burden everyone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from heapq import nsmallest
from typing import Protocol, TypeVar

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import DEFAULT_PORT, EncapType
from ovn_ipsec.schema import encap as schema
from ovn_ipsec.schema.encap import ENCAPS_MAX, PORTS_MAX
from ovn_ipsec.schema.fields import Place
from ovn_ipsec.schema.report import printable

_TEXT_MAX = 64


class EncapRow(Protocol):
    """A row of Encap, or an object like one."""

    type: str
    ip: str
    options: Mapping[str, str]


_Row = TypeVar("_Row", bound=EncapRow)


def choose(chassis: str, rows: Collection[_Row]) -> tuple[list[_Row], InputError | None]:
    """Select the encaps that count.

    Args:
        chassis: Name, for the error.
        rows: Any number.

    Returns:
        The first ones by type and address, without those whose port cannot be guarded; and why
        others do not count, in one error for all of them.
    """
    first = nsmallest(ENCAPS_MAX, rows, key=lambda row: (row.type, row.ip))
    kept: list[_Row] = []
    ports: set[int] = set()
    error: InputError | None = None
    for row in first:
        try:
            port = _parse_port(chassis, row)
            if port is not None and port not in ports and len(ports) == PORTS_MAX:
                _place(chassis, row).refuse(str(port), f"more than {PORTS_MAX} ports")
        except InputError as refused:
            error = error or refused
            continue
        if port is not None:
            ports.add(port)
        kept.append(row)
    if len(rows) > len(first):
        name, reason = printable(chassis, _TEXT_MAX), f"more than {ENCAPS_MAX} encaps"
        text = str(len(rows))
        error = InputError(table="Chassis", row=name, key="encaps", text=text, reason=reason)
    return kept, error


def _place(chassis: str, row: EncapRow) -> Place:
    label = "/".join(printable(text, _TEXT_MAX) for text in (chassis, row.type, row.ip))
    return Place(table=schema.TABLE, row=label, key=f"options:{schema.DST_PORT}")


def _parse_port(chassis: str, row: EncapRow) -> int | None:
    """The port that peers send to; None for a type that IPsec does not cover here."""
    if row.type not in list(EncapType):
        return None
    if schema.DST_PORT not in row.options:
        return DEFAULT_PORT[EncapType(row.type)]
    return schema.parse_port(_place(chassis, row), row.options[schema.DST_PORT])
