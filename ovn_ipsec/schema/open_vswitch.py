# SPDX-License-Identifier: Apache-2.0
"""Pure: the local Open_vSwitch row to the settings of this chassis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..errors import InputError
from ..model.chassis import DEFAULT_PORT, ChassisName, EncapType, IpAddress
from . import fields as parse
from .fields import Place

TABLE = "Open_vSwitch"
TUNNELS = "ovn-ipsec-tunnels"
VICI = "ovn-ipsec-vici"
PSK_FILE = "ovn-ipsec-psk-file"
CRL_FILE = "ovn-ipsec-crl-file"


class Tunnels(StrEnum):
    """Who makes the tunnel ports (design 7)."""

    ADOPT = "adopt"
    OWN = "own"
    AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialFiles:
    """Paths as Open_vSwitch.other_config names them, as for the stock ovs-monitor-ipsec."""

    certificate: str
    private_key: str
    ca_cert: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalChassis:
    """What the local database says of this chassis."""

    name: ChassisName | None
    """None: neither given, overridden nor in external_ids:system-id yet."""
    remote: str
    """external_ids:ovn-remote, a comma list of OVSDB remotes; empty when not set."""
    bridge: str
    """Integration bridge, external_ids:ovn-bridge."""
    probe_interval_ms: int
    tunnels: Tunnels
    vici: str | None
    """other_config:ovn-ipsec-vici, a socket URI; None for the daemon's own default."""
    files: CredentialFiles | None
    """None when none of the three is set."""
    tos: str
    """external_ids:ovn-encap-tos, which own ports repeat as ovn-controller does."""
    df_default: str
    """external_ids:ovn-encap-df_default, likewise; empty when not set."""
    errors: tuple[InputError, ...]
    encap_ips: frozenset[IpAddress] = frozenset()
    """external_ids:ovn-encap-ip: where tunnels will end, before ovn-controller has made rows."""
    encap_ports: frozenset[int] = frozenset()
    """Their UDP ports, by external_ids:ovn-encap-type."""
    psk_file: str = ""
    """other_config:ovn-ipsec-psk-file: where the secret of the cluster is; empty when not set."""
    crl_file: str = ""
    """other_config:ovn-ipsec-crl-file: what authorities have revoked, PEM; empty when not set."""


def parse_local(
    external_ids: Mapping[str, str],
    other_config: Mapping[str, str],
    name_override: str | None,
) -> LocalChassis:
    """Parse the Open_vSwitch row.

    Args:
        external_ids: The column. A key with `-<chassis>` behind it wins over the plain one, as
            for ovn-controller (ovn-controller(8), "system-id").
        other_config: The column.
        name_override: Chassis name from the command line or from system-id-override.

    Returns:
        The settings; a junk setting is at its default and in `errors`.
    """
    errors: list[InputError] = []
    name: ChassisName | None = None
    text = name_override or external_ids.get("system-id", "")
    if text:
        try:
            place = Place(table=TABLE, row=".", key="external_ids:system-id")
            name = parse.chassis_name(place, text)
        except InputError as error:
            errors.append(error)

    def external(key: str, default: str = "") -> str:
        return external_ids.get(f"{key}-{name}", external_ids.get(key, default))

    probe, tunnels = 5000, Tunnels.AUTO
    try:
        place = Place(table=TABLE, row=".", key="external_ids:ovn-remote-probe-interval")
        probe = parse.integer(place, external("ovn-remote-probe-interval", "5000"), 0, 10**9)
    except InputError as error:
        errors.append(error)
    try:
        place = Place(table=TABLE, row=".", key=f"other_config:{TUNNELS}")
        tunnels = parse.word(place, other_config.get(TUNNELS, Tunnels.AUTO), Tunnels)
    except InputError as error:
        errors.append(error)
    encap_ips = frozenset(_addresses(external("ovn-encap-ip"), errors))
    paths = [other_config.get(key, "") for key in ("certificate", "private_key", "ca_cert")]
    files = CredentialFiles(certificate=paths[0], private_key=paths[1], ca_cert=paths[2])
    return LocalChassis(
        name=name,
        remote=external("ovn-remote"),
        bridge=external("ovn-bridge", "br-int"),
        probe_interval_ms=probe,
        tunnels=tunnels,
        vici=other_config.get(VICI),
        files=files if any(paths) else None,
        tos=external("ovn-encap-tos", "none"),
        df_default=external("ovn-encap-df_default"),
        encap_ips=encap_ips,
        errors=tuple(errors),
        encap_ports=frozenset(
            DEFAULT_PORT[kind]
            for kind in EncapType
            if kind in external("ovn-encap-type").split(",")
        ),
        psk_file=other_config.get(PSK_FILE, ""),
        crl_file=other_config.get(CRL_FILE, ""),
    )


def _addresses(text: str, errors: list[InputError]) -> Iterator[IpAddress]:
    place = Place(table=TABLE, row=".", key="external_ids:ovn-encap-ip")
    for word in filter(None, text.split(",")):
        try:
            yield parse.address(place, word.strip())
        except InputError as error:
            errors.append(error)
