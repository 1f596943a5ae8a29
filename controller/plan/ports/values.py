# SPDX-License-Identifier: Apache-2.0
"""Values of a tunnel port as text in the local database, and when two of them are the same.

Pure. Input: Interface.options and Port.external_ids:ovn-chassis-id. Output: comparable values.

Source: Open vSwitch lib/netdev-vport.c, set_tunnel_config.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from ovn_ipsec.model.chassis import DEFAULT_PORT, EncapType

Options = tuple[tuple[str, str], ...]
"""Interface.options, sorted by key."""

_TOS = re.compile(r"(0[xX])?[0-9a-fA-F]{1,8}")
_PORT = re.compile(r"[0-9]{1,10}")


def meaning(kind: EncapType, options: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """What Open vSwitch makes of options.

    Args:
        kind: Interface.type.
        options: Keys and their texts.

    Returns:
        Values in one spelling each, without defaults that are written out.
    """
    meant = ((key, _value(kind, key, text)) for key, text in options)
    return frozenset((key, text) for key, text in meant if text is not None)


def _value(kind: EncapType, key: str, text: str) -> str | None:
    """One option in one spelling; None: as if it were not there."""
    match key:
        case "remote_ip" | "local_ip":
            return short_form(text)
        case "dst_port":
            port = str(int(text)) if _PORT.fullmatch(text) else text
            return None if port == str(DEFAULT_PORT[kind]) else port
        case "tos":
            return _tos(text)
        case "csum":
            return text if text in ("true", "false") else None
        case "df_default":
            return text if text == "false" else None
        case _:
            return text


def _tos(text: str) -> str | None:
    """As strtol(3) with base 0 reads it."""
    prefix = text[:2].lower()
    base = 16 if prefix == "0x" else 8 if text[:1] == "0" else 10
    try:
        number = int(text, base) if _TOS.fullmatch(text) else None
    except ValueError:
        number = None
    if number is None:
        return text
    return str(number) if number else None


def in_order(options: Mapping[str, str]) -> Options:
    """Options as a value.

    Args:
        options: As a map.
    """
    return tuple(sorted(options.items()))


def parse_id(chassis_id: str) -> tuple[str, str, str]:
    """Take an ovn-chassis-id apart.

    Args:
        chassis_id: In either form (see controller.plan.ports.tunnels).

    Returns:
        The peer, its address, and the local one or nothing; addresses in their short form.
    """
    peer, _, addresses = chassis_id.partition("@")
    remote, _, local = addresses.partition("%")
    return peer, short_form(remote), short_form(local)


def short_form(address: str) -> str:
    """An address in its short form.

    Args:
        address: What is none comes back as it is.
    """
    try:
        return str(ip_address(address))
    except ValueError:
        return address
