# SPDX-License-Identifier: Apache-2.0
"""Pure: the local Open_vSwitch row to the settings of this chassis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from ..errors import InputError
from ..model.chassis import DEFAULT_PORT, ChassisName, EncapType, IpAddress
from ..model.policy import Revocation
from . import fields as parse
from .fields import Place
from .remotes import parse_remotes

TABLE = "Open_vSwitch"
TUNNELS = "ovn-ipsec-tunnels"
VICI = "ovn-ipsec-vici"
PSK_FILE = "ovn-ipsec-psk-file"
PSK_PLAIN = "ovn-ipsec-psk-plain"
CRL_FILE = "ovn-ipsec-crl-file"
REVOCATION = "ovn-ipsec-revocation"
OCSP_URI = "ovn-ipsec-ocsp-uri"

T = TypeVar("T")


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
    """external_ids:ovn-remote, a comma list of OVSDB remotes, each as ovsdb(7) writes it; empty
    when not set, and when no part of it is a remote."""
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
    psk_plain: frozenset[ChassisName] = frozenset()
    """other_config:ovn-ipsec-psk-plain: stock chassis whose ``options:psk`` is that secret."""
    crl_file: str = ""
    """other_config:ovn-ipsec-crl-file: what authorities have revoked, PEM; empty when not set."""
    revocation: Revocation = Revocation.RELAXED
    """other_config:ovn-ipsec-revocation; junk there counts as the strictest."""
    ocsp_uri: str = ""
    """other_config:ovn-ipsec-ocsp-uri: who is asked whether a certificate is revoked."""


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
        The settings; a junk setting is at its default, or at what is safest, and in `errors`.
    """
    errors: list[InputError] = []
    text = name_override or external_ids.get("system-id", "")
    place, name = Place(table=TABLE, row=".", key="external_ids:system-id"), None
    if text:
        name = _parsed(errors, (place, text), parse.chassis_name, None)

    def external(key: str, default: str = "") -> str:
        return external_ids.get(f"{key}-{name}", external_ids.get(key, default))

    encap_ips = frozenset(_addresses(external("ovn-encap-ip"), errors))
    place = Place(table=TABLE, row=".", key="external_ids:ovn-remote")
    remotes = parse_remotes(place, external("ovn-remote"))
    errors += remotes.errors
    paths = [other_config.get(key, "") for key in ("certificate", "private_key", "ca_cert")]
    files = CredentialFiles(certificate=paths[0], private_key=paths[1], ca_cert=paths[2])
    place = Place(table=TABLE, row=".", key="external_ids:ovn-remote-probe-interval")
    text = external("ovn-remote-probe-interval", "5000")
    probe_interval_ms = _parsed(errors, (place, text), _milliseconds, 5000)
    tunnels, psk_plain, revocation, ocsp_uri = _parse_own(other_config, errors)
    return LocalChassis(
        name=name,
        remote=str(remotes),
        bridge=external("ovn-bridge", "br-int"),
        probe_interval_ms=probe_interval_ms,
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
        psk_plain=psk_plain,
        crl_file=other_config.get(CRL_FILE, ""),
        revocation=revocation,
        ocsp_uri=ocsp_uri,
    )


def _parse_own(
    other_config: Mapping[str, str], errors: list[InputError]
) -> tuple[Tunnels, frozenset[ChassisName], Revocation, str]:
    """Parse what is not just a path."""

    def value(key: str, kind: Callable[[Place, str], T], default: T, junk: T) -> T:
        place = Place(table=TABLE, row=".", key=f"other_config:{key}")
        text = other_config.get(key)
        return default if text is None else _parsed(errors, (place, text), kind, junk)

    return (
        value(TUNNELS, _tunnels, Tunnels.AUTO, Tunnels.AUTO),
        value(PSK_PLAIN, parse.chassis_names, frozenset(), frozenset()),
        value(REVOCATION, _revocation, Revocation.RELAXED, Revocation.STRICT),
        value(OCSP_URI, parse.http_uri, "", ""),
    )


def _parsed(
    errors: list[InputError],
    found: tuple[Place, str],
    kind: Callable[[Place, str], T],
    junk: T,
) -> T:
    try:
        return kind(*found)
    except InputError as error:
        errors.append(error)
        return junk


def _milliseconds(place: Place, text: str) -> int:
    return parse.integer(place, text, 0, 10**9)


def _tunnels(place: Place, text: str) -> Tunnels:
    return parse.word(place, text, Tunnels)


def _revocation(place: Place, text: str) -> Revocation:
    return parse.word(place, text, Revocation)


def _addresses(text: str, errors: list[InputError]) -> Iterator[IpAddress]:
    place = Place(table=TABLE, row=".", key="external_ids:ovn-encap-ip")
    for word in filter(None, text.split(",")):
        try:
            yield parse.address(place, word.strip())
        except InputError as error:
            errors.append(error)
