# SPDX-License-Identifier: Apache-2.0
"""Edge: the local Open_vSwitch database and the files that name this chassis."""

from __future__ import annotations

from pathlib import Path

from ovn_ipsec.ovsdb.session import Session
from ovn_ipsec.schema.open_vswitch import LocalChassis, parse_local


def name_override(given: str | None, sysconfdir: Path) -> str | None:
    """The chassis name that takes precedence over external_ids:system-id.

    Source: ovn controller/ovn-controller.c get_ovs_chassis_id: option -n, then the file
    system-id-override.
    """
    if given:
        return given
    try:
        return (sysconfdir / "system-id-override").read_text("utf-8").strip() or None
    except OSError:
        return None


def observe(session: Session, override: str | None) -> LocalChassis | None:
    """Read the Open_vSwitch row; None before there is one."""
    row = session.first("Open_vSwitch")
    if row is None:
        return None
    return parse_local(row.external_ids, row.other_config, override)


def tls_files(session: Session) -> tuple[str, str, str] | None:
    """Private key, certificate and CA of `ovs-vsctl set-ssl`, as ovn-controller uses them."""
    row = session.first("Open_vSwitch")
    ssl = next(iter(row.ssl), None) if row is not None else None
    if ssl is None:
        return None
    return ssl.private_key, ssl.certificate, ssl.ca_cert
