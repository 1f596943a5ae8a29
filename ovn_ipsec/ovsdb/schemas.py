# SPDX-License-Identifier: Apache-2.0
"""Edge: the tables and columns that are read or written here, in the form that the IDL expects.

Only these columns are monitored, so a southbound of a thousand chassis costs no more than they do,
and a start does not parse the whole schema. Every column here has been in OVN since 20.09.

Source: ovn-nb.ovsschema, ovn-sb.ovsschema, vswitch.ovsschema of OVN 23.03 and OVS 3.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Columns = dict[str, Any]
_ANY = "unlimited"


def _map(key: str = "string", value: str = "string") -> Columns:
    return {"type": {"key": key, "value": value, "min": 0, "max": _ANY}}


def _set(kind: str) -> Columns:
    return {"type": {"key": kind, "min": 0, "max": _ANY}}


def _optional(kind: str) -> Columns:
    return {"type": {"key": kind, "min": 0, "max": 1}}


def _refs(table: str) -> Columns:
    return {"type": {"key": {"type": "uuid", "refTable": table}, "min": 0, "max": _ANY}}


def _ref(table: str) -> Columns:
    return {"type": {"key": {"type": "uuid", "refTable": table}, "min": 0, "max": 1}}


def _weak(table: str) -> Columns:
    key = {"type": "uuid", "refTable": table, "refType": "weak"}
    return {"type": {"key": key, "min": 0, "max": 1}}


def _one(kind: str) -> Columns:
    return {"type": kind}


def _database(name: str, tables: dict[str, tuple[bool, Columns]]) -> dict[str, Any]:
    return {
        "name": name,
        "version": "1.0.0",
        "tables": {
            table: {"columns": columns, "isRoot": root} for table, (root, columns) in tables.items()
        },
    }


def part_of(schema: dict[str, Any], columns: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Less of a schema, so that nothing else is asked for.

    Args:
        schema: One of those below.
        columns: What to keep, by table.
    """
    tables = {
        table: schema["tables"][table]
        | {"columns": {name: schema["tables"][table]["columns"][name] for name in names}}
        for table, names in columns.items()
    }
    return schema | {"tables": tables}


NORTHBOUND = _database(
    "OVN_Northbound",
    {
        "NB_Global": (True, {"ipsec": _one("boolean"), "options": _map(), "external_ids": _map()}),
        "Logical_Switch": (True, {"name": _one("string"), "other_config": _map()}),
    },
)

NORTHBOUND_MTUS = _database(
    "OVN_Northbound",
    {
        "NB_Global": (True, {"ipsec": _one("boolean"), "options": _map(), "external_ids": _map()}),
        "Logical_Switch": (
            True,
            {
                "name": _one("string"),
                "external_ids": _map(),
                "ports": _refs("Logical_Switch_Port"),
            },
        ),
        "Logical_Switch_Port": (False, {"type": _one("string")}),
        "DHCP_Options": (
            True,
            {"cidr": _one("string"), "options": _map(), "external_ids": _map()},
        ),
        "Logical_Router_Port": (
            False,
            {
                "name": _one("string"),
                "options": _map(),
                "external_ids": _map(),
                "ipv6_ra_configs": _map(),
            },
        ),
    },
)
"""For the command: what gives workloads an MTU. Of the ports only those of ONLY_LOCALNET are asked
for, since there are many."""
ONLY_LOCALNET = {"Logical_Switch_Port": [["type", "==", "localnet"]]}

_CHASSIS = {
    "name": _one("string"),
    "hostname": _one("string"),
    "encaps": _refs("Encap"),
    "external_ids": _map(),
    "other_config": _map(),
    "transport_zones": _set("string"),
}
_ENCAP = {
    "type": _one("string"),
    "ip": _one("string"),
    "options": _map(),
    "chassis_name": _one("string"),
}
_CONNECTION = {"target": _one("string"), "role": _one("string")}
_CHASSIS_PRIVATE = {"name": _one("string"), "external_ids": _map()}

_SOUTHBOUND = {
    "SB_Global": (True, {"ipsec": _one("boolean"), "options": _map(), "external_ids": _map()}),
    "Chassis": (True, _CHASSIS),
    "Encap": (False, _ENCAP),
    "Chassis_Private": (True, _CHASSIS_PRIVATE),
}

_OWN_PRIVATE = {**_CHASSIS_PRIVATE, "chassis": _weak("Chassis"), "nb_cfg": _one("integer")}

SOUTHBOUND = _database("OVN_Southbound", {**_SOUTHBOUND, "Chassis_Private": (True, _OWN_PRIVATE)})
"""For a controller, which makes its own Chassis_Private row where no ovn-controller does."""

SOUTHBOUND_CENTRAL = _database(
    "OVN_Southbound", {**_SOUTHBOUND, "Connection": (False, _CONNECTION)}
)
"""For northd_ext, which judges by its remotes whom the database lets write what."""

SOUTHBOUND_NETWORKS = _database(
    "OVN_Southbound",
    {
        "Chassis": (True, {"name": _one("string"), "hostname": _one("string")}),
        "Datapath_Binding": (True, {"tunnel_key": _one("integer"), "external_ids": _map()}),
        "Port_Binding": (
            True,
            {
                "logical_port": _one("string"),
                "type": _one("string"),
                "options": _map(),
                "datapath": _one("uuid"),
                "parent_port": _optional("string"),
                "virtual_parent": _optional("string"),
                "chassis": _ref("Chassis"),
                "ha_chassis_group": _ref("HA_Chassis_Group"),
            },
        ),
        "HA_Chassis_Group": (True, {"ha_chassis": _refs("HA_Chassis")}),
        "HA_Chassis": (False, {"chassis": _ref("Chassis")}),
    },
)
"""Thousands of rows, for a session of their own that is open while a rule asks for a network.

additional_chassis and the requested_ columns came after 20.09, and a server refuses all of a
monitor that names a column it lacks; what they hold stands in options:requested-chassis too.
"""

VSWITCH = _database(
    "Open_vSwitch",
    {
        "Open_vSwitch": (
            True,
            {
                "external_ids": _map(),
                "other_config": _map(),
                "bridges": _refs("Bridge"),
                "ssl": _ref("SSL"),
            },
        ),
        "SSL": (
            False,
            {
                "private_key": _one("string"),
                "certificate": _one("string"),
                "ca_cert": _one("string"),
            },
        ),
        "Bridge": (False, {"name": _one("string"), "ports": _refs("Port")}),
        "Port": (
            False,
            {"name": _one("string"), "interfaces": _refs("Interface"), "external_ids": _map()},
        ),
        "Interface": (
            False,
            {
                "name": _one("string"),
                "type": _one("string"),
                "options": _map(),
                "external_ids": _map(),
                "mtu": _optional("integer"),
                "mtu_request": _optional("integer"),
            },
        ),
    },
)

NORTHBOUND_WORKLOADS = _database(
    "OVN_Northbound",
    {
        "Logical_Switch": (
            True,
            {"name": _one("string"), "ports": _refs("Logical_Switch_Port"), "external_ids": _map()},
        ),
        "Logical_Switch_Port": (
            False,
            {
                "name": _one("string"),
                "addresses": _set("string"),
                "port_security": _set("string"),
                "up": _optional("boolean"),
            },
        ),
    },
)
"""For `ovn-ipsec evaluate`, which makes a logical switch of its own."""

VSWITCH_WORKLOADS = _database(
    "Open_vSwitch",
    {
        "Open_vSwitch": (True, {"external_ids": _map()}),
        "Bridge": (False, {"name": _one("string"), "ports": _refs("Port")}),
        "Port": (False, {"name": _one("string"), "interfaces": _refs("Interface")}),
        "Interface": (
            False,
            {"name": _one("string"), "type": _one("string"), "external_ids": _map()},
        ),
    },
)
"""For `ovn-ipsec evaluate`, which makes a port of its own."""
