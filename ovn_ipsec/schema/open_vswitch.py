# SPDX-License-Identifier: Apache-2.0
"""Pure: the local Open_vSwitch row to the settings of this chassis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TypeVar

from ..errors import InputError
from ..model.chassis import DEFAULT_PORT, ChassisName, EncapType, IpAddress
from ..model.ike import IkeSetting
from ..model.key import Key, Party, one_of
from ..model.policy import Revocation
from . import fields as parse
from .fields import Place
from .remotes import parse_remotes

TABLE = "Open_vSwitch"
TUNNELS = "ovn-ipsec-tunnels"
IKE = "ovn-ipsec-ike"
VICI = "ovn-ipsec-vici"
PSK_FILE = "ovn-ipsec-psk-file"
PSK_PLAIN = "ovn-ipsec-psk-plain"
CRL_FILE = "ovn-ipsec-crl-file"
REVOCATION = "ovn-ipsec-revocation"
OCSP_URI = "ovn-ipsec-ocsp-uri"
CERTIFICATE, PRIVATE_KEY, CA_CERT = "certificate", "private_key", "ca_cert"
CHASSIS_INDEX = "ovn-chassis-idx-"
"""And the name of a chassis behind it."""
SYSTEM_ID = "system-id"
REMOTE = "ovn-remote"
PROBE_INTERVAL = "ovn-remote-probe-interval"
BRIDGE = "ovn-bridge"
ENCAP_IP = "ovn-encap-ip"
ENCAP_TYPE = "ovn-encap-type"
ENCAP_TOS = "ovn-encap-tos"
ENCAP_DF = "ovn-encap-df_default"
SET_LOCAL_IP = "ovn-set-local-ip"
BRIDGE_REMOTE = "ovn-bridge-remote"
_PROBE_INTERVAL_MS = 5000
_BRIDGE = "br-int"
_TOS = "none"

T = TypeVar("T")


class Tunnels(StrEnum):
    """Which program makes the tunnel ports (design 7)."""

    ADOPT = "adopt"
    OWN = "own"
    AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialFiles:
    """Paths from Open_vSwitch.other_config, with the keys of the stock ovs-monitor-ipsec."""

    certificate: str
    private_key: str
    ca_cert: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalChassis:
    """What the local database says about this chassis."""

    name: ChassisName | None
    """None: not yet given, overridden or set in external_ids:system-id."""
    remote: str
    """external_ids:ovn-remote, a comma-separated list of OVSDB remotes in the syntax of ovsdb(7);
    empty if not set, or if no part of it is a remote."""
    bridge: str
    """Integration bridge, external_ids:ovn-bridge."""
    probe_interval_ms: int
    tunnels: Tunnels
    vici: str | None
    """other_config:ovn-ipsec-vici, a socket URI; None for the daemon's own default."""
    files: CredentialFiles | None
    """None if none of the three is set."""
    tos: str
    """external_ids:ovn-encap-tos, which our own ports repeat, as ovn-controller's do."""
    df_default: str
    """external_ids:ovn-encap-df_default, likewise; empty if not set."""
    errors: tuple[InputError, ...]
    encap_ips: frozenset[IpAddress] = frozenset()
    """external_ids:ovn-encap-ip: the tunnel addresses, even before ovn-controller has made rows."""
    encap_ports: frozenset[int] = frozenset()
    """Their UDP ports, by external_ids:ovn-encap-type."""
    psk_file: str = ""
    """other_config:ovn-ipsec-psk-file: the file with the cluster's secret; empty if not set."""
    psk_plain: frozenset[ChassisName] = frozenset()
    """other_config:ovn-ipsec-psk-plain: stock chassis whose ``options:psk`` is that secret."""
    crl_file: str = ""
    """other_config:ovn-ipsec-crl-file: CRLs of the authorities, PEM; empty if not set."""
    revocation: Revocation = Revocation.RELAXED
    """other_config:ovn-ipsec-revocation; an invalid value counts as the strictest."""
    ocsp_uri: str = ""
    """other_config:ovn-ipsec-ocsp-uri: the responder that knows revoked certificates."""
    ike: IkeSetting = IkeSetting.STRONGSWAN
    """other_config:ovn-ipsec-ike."""


def parse_local(
    external_ids: Mapping[str, str],
    other_config: Mapping[str, str],
    name_override: str | None,
) -> LocalChassis:
    """Parse the Open_vSwitch row.

    Args:
        external_ids: The column. A key with `-<chassis>` appended takes precedence, as for
            ovn-controller (ovn-controller(8), "system-id").
        other_config: The column.
        name_override: Chassis name from the command line or from system-id-override.

    Returns:
        The settings; an invalid setting has its default or the safest value, and is in `errors`.
    """
    errors: list[InputError] = []
    text = name_override or external_ids.get(SYSTEM_ID, "")
    place, name = Place(table=TABLE, row=".", key=f"external_ids:{SYSTEM_ID}"), None
    if text:
        name = _parsed(errors, (place, text), parse.chassis_name, None)

    def external(key: str, default: str = "") -> str:
        return external_ids.get(f"{key}-{name}", external_ids.get(key, default))

    encap_ips = frozenset(_addresses(external(ENCAP_IP), errors))
    place = Place(table=TABLE, row=".", key=f"external_ids:{REMOTE}")
    remotes = parse_remotes(place, external(REMOTE))
    errors += remotes.errors
    paths = [other_config.get(key, "") for key in (CERTIFICATE, PRIVATE_KEY, CA_CERT)]
    files = CredentialFiles(certificate=paths[0], private_key=paths[1], ca_cert=paths[2])
    place = Place(table=TABLE, row=".", key=f"external_ids:{PROBE_INTERVAL}")
    text = external(PROBE_INTERVAL, str(_PROBE_INTERVAL_MS))
    probe_interval_ms = _parsed(errors, (place, text), _milliseconds, _PROBE_INTERVAL_MS)
    tunnels, psk_plain, revocation, ocsp_uri, ike = _parse_own(other_config, errors)
    return LocalChassis(
        name=name,
        remote=str(remotes),
        bridge=external(BRIDGE, _BRIDGE),
        probe_interval_ms=probe_interval_ms,
        tunnels=tunnels,
        vici=other_config.get(VICI),
        files=files if any(paths) else None,
        tos=external(ENCAP_TOS, _TOS),
        df_default=external(ENCAP_DF),
        encap_ips=encap_ips,
        errors=tuple(errors),
        encap_ports=frozenset(
            DEFAULT_PORT[kind] for kind in EncapType if kind in external(ENCAP_TYPE).split(",")
        ),
        psk_file=other_config.get(PSK_FILE, ""),
        psk_plain=psk_plain,
        crl_file=other_config.get(CRL_FILE, ""),
        revocation=revocation,
        ocsp_uri=ocsp_uri,
        ike=ike,
    )


def _parse_own(
    other_config: Mapping[str, str], errors: list[InputError]
) -> tuple[Tunnels, frozenset[ChassisName], Revocation, str, IkeSetting]:
    """Parse the settings that are more than a path."""

    def value(key: str, kind: Callable[[Place, str], T], default: T, junk: T) -> T:
        place = Place(table=TABLE, row=".", key=f"other_config:{key}")
        text = other_config.get(key)
        return default if text is None else _parsed(errors, (place, text), kind, junk)

    return (
        value(TUNNELS, _tunnels, Tunnels.AUTO, Tunnels.AUTO),
        value(PSK_PLAIN, parse.chassis_names, frozenset(), frozenset()),
        value(REVOCATION, _revocation, Revocation.RELAXED, Revocation.STRICT),
        value(OCSP_URI, parse.http_uri, "", ""),
        value(IKE, _ike, IkeSetting.STRONGSWAN, IkeSetting.STRONGSWAN),
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


def _ike(place: Place, text: str) -> IkeSetting:
    return parse.word(place, text, IkeSetting)


def _revocation(place: Place, text: str) -> Revocation:
    return parse.word(place, text, Revocation)


def _addresses(text: str, errors: list[InputError]) -> Iterator[IpAddress]:
    place = Place(table=TABLE, row=".", key=f"external_ids:{ENCAP_IP}")
    for word in filter(None, text.split(",")):
        try:
            yield parse.address(place, word.strip())
        except InputError as error:
            errors.append(error)


_setting = partial(
    Key,
    column="Open_vSwitch.other_config",
    writer=Party.OPERATOR,
    readers=(Party.CONTROLLER, Party.COMMAND),
)
_own = partial(_setting, readers=(Party.CONTROLLER,))
_stock = partial(_setting, readers=(Party.CONTROLLER, Party.MONITOR))
_shared = partial(
    _setting,
    column="Open_vSwitch.external_ids",
    readers=(Party.CONTROLLER, Party.COMMAND, Party.OVN_CONTROLLER),
)
_FILES = "howto/authentication.md#files-of-your-own"
_REVOKED = "howto/authentication.md#what-must-be-known-about-a-certificate"
_PORTS = "howto/without-ovn-controller.md"
_NO_FILES = (
    "unless all three are set, the chassis requests a certificate, if an authority signs them"
)
_PINNED = " With `pinned` and `ovn-ipsec-ike=delegate`: what peers pin."
DOCUMENTED = (
    _stock(
        name=CERTIFICATE,
        meaning="File with the chassis' certificate, followed by its intermediates, if any."
        + _PINNED,
        values="a path; PEM",
        default=_NO_FILES,
        example="/etc/ovn/ipsec-cert.pem",
        page=_FILES,
    ),
    _stock(
        name=PRIVATE_KEY,
        meaning="File with the private key of the certificate.",
        values="a path; PEM, without a passphrase",
        default=_NO_FILES,
        example="/etc/ovn/ipsec-key.pem",
        page=_FILES,
    ),
    _stock(
        name=CA_CERT,
        meaning="File with the authorities that this chassis trusts.",
        values="a path; PEM, one or more certificates",
        default=_NO_FILES,
        example="/etc/ovn/ipsec-ca.pem",
        page=_FILES,
    ),
    _own(
        name=TUNNELS,
        meaning="Which program makes the tunnel ports: ovn-controller (`adopt`),"
        " ovn-ipsec-controller (`own`), or the latter only while the former is known to be dead"
        " (`auto`).",
        values=one_of(Tunnels),
        default=f"`{Tunnels.AUTO}`",
        example=Tunnels.OWN,
        page=_PORTS,
    ),
    _setting(
        name=IKE,
        meaning="Which IKE daemon encrypts the tunnels of this chassis. `delegate`: whichever a"
        " stock [ovs-monitor-ipsec](../howto/delegate.md) drives. `auto`: strongSwan or Libreswan,"
        " the one that runs, or while none does the one that is installed; while both run, neither"
        " is touched.",
        values=one_of(IkeSetting),
        default=f"`{IkeSetting.STRONGSWAN}`",
        example=IkeSetting.LIBRESWAN,
        page="howto/libreswan.md",
    ),
    _setting(
        name=VICI,
        meaning="The socket of strongSwan. `--vici` takes precedence.",
        values="`unix://` and an absolute path",
        default="`unix:///run/charon.vici`",
        example="unix:///run/charon.vici",
    ),
    _own(
        name=PSK_FILE,
        meaning="With `psk`: the file with the cluster's secret. The first line is used; a"
        " secret on the second line is accepted, too.",
        values="a path; the file must have mode 0600",
        default="the chassis has no secret",
        example="/etc/ovn/ipsec-psk",
        page="howto/authentication.md#a-secret",
    ),
    _own(
        name=PSK_PLAIN,
        meaning="Stock chassis whose `options:psk` is the secret itself instead of a derived key.",
        values="chassis names, separated by spaces or commas",
        default="every peer has a derived key",
        example="gw1,gw2",
        page="howto/authentication.md#a-stock-chassis-with-a-secret",
    ),
    _own(
        name=CRL_FILE,
        meaning="File with the CRLs of the authorities.",
        values="a path; PEM, one or more CRLs",
        default="no CRL is read from a file",
        example="/etc/ovn/ipsec-crl.pem",
        page=_REVOKED,
    ),
    _own(
        name=REVOCATION,
        meaning="What must be known about a peer's certificate, besides that it is not known to"
        " be revoked.",
        values=f"{one_of(Revocation)}; anything else counts as `{Revocation.STRICT}`",
        default=f"`{Revocation.RELAXED}`",
        example=Revocation.STRICT,
        page=_REVOKED,
    ),
    _own(
        name=OCSP_URI,
        meaning="The OCSP responder that is asked whether a certificate is revoked.",
        values="`http://HOST[:PORT][/PATH]`, at most 255 characters",
        default="only the responders named in certificates are asked",
        example="http://192.0.2.9:8080/ocsp",
        page=_REVOKED,
    ),
    _own(
        name=f"{CHASSIS_INDEX}<chassis>",
        meaning="A character in the names of this chassis' tunnel ports, on a host with several"
        " chassis.",
        values="one of 0-9 a-z",
        default="the host has one chassis",
        example="0",
        writer=Party.OVN_CONTROLLER,
    ),
    _shared(
        name=SYSTEM_ID,
        meaning="Name of this chassis, and its identity. `--name` and the file"
        " `/etc/ovn/system-id-override` take precedence.",
        values="1 to 253 of A-Z a-z 0-9 . _ -",
        default="the controller waits",
        example="hv1",
        page="howto/rollover.md#rename-a-chassis",
    ),
    _shared(
        name=REMOTE,
        meaning="Where the southbound database is.",
        values="`ssl:HOST[:PORT]`, `tcp:HOST[:PORT]` or `unix:FILE`, comma-separated",
        default="the controller waits",
        example="ssl:192.0.2.1:6642",
        page="howto/diagnose.md#a-database-that-cannot-be-reached",
    ),
    _shared(
        name=PROBE_INTERVAL,
        meaning="How long the connection to the southbound may be idle before it is probed; 0"
        " means never.",
        values="milliseconds",
        default=f"{_PROBE_INTERVAL_MS}",
        example="30000",
        readers=(Party.CONTROLLER, Party.OVN_CONTROLLER),
    ),
    _shared(
        name=BRIDGE,
        meaning="The integration bridge, which has the tunnel ports.",
        values="the name of a bridge",
        default=f"`{_BRIDGE}`",
        example=_BRIDGE,
        readers=(Party.CONTROLLER, Party.OVN_CONTROLLER),
    ),
    _shared(
        name=ENCAP_IP,
        meaning="The tunnel addresses of this chassis. The guard protects them even before there"
        " are rows in the southbound.",
        values="comma-separated addresses",
        default="ovn-controller creates no chassis",
        example="192.0.2.11",
        page="explanation/guard.md#what-it-covers",
    ),
    _shared(
        name=ENCAP_TYPE,
        meaning="Tunnel types that this chassis supports; of these, `geneve` and `vxlan` are"
        " protected.",
        values="comma-separated types",
        default="ovn-controller creates no chassis",
        example="geneve",
    ),
    _shared(
        name=ENCAP_TOS,
        meaning="The TOS of tunnel packets; tunnel ports that ovn-ipsec-controller makes repeat"
        " it.",
        values="`none`, `inherit` or a number",
        default=f"`{_TOS}`",
        example="inherit",
        readers=(Party.CONTROLLER, Party.OVN_CONTROLLER),
        page=_PORTS,
    ),
    _shared(
        name=ENCAP_DF,
        meaning="Whether tunnel packets must not be fragmented; tunnel ports that"
        " ovn-ipsec-controller makes repeat this.",
        values=one_of(("true", "false")),
        default="the option is not set on the tunnel port",
        example="false",
        readers=(Party.CONTROLLER, Party.OVN_CONTROLLER),
        page=_PORTS,
    ),
    _shared(
        name=SET_LOCAL_IP,
        meaning="Whether tunnel ports name the address from which they send, as they always do"
        " with newer ovn-controllers; tunnel ports that ovn-ipsec-controller makes follow this.",
        values=one_of(("true", "false")),
        default="`false`",
        example="true",
        readers=(Party.CONTROLLER, Party.OVN_CONTROLLER),
        page=_PORTS,
    ),
    _shared(
        name=BRIDGE_REMOTE,
        meaning="From where the bridge is controlled. If that is not a local socket, it cannot"
        " be known here that ovn-controller is dead, and `auto` leaves the tunnel ports alone.",
        values="an OpenFlow remote",
        default="a local socket",
        example="unix:/run/openvswitch/br-int.mgmt",
        readers=(Party.CONTROLLER, Party.OVN_CONTROLLER),
        page=_PORTS,
    ),
)
"""What people are told of these keys. One of external_ids may have `-<chassis>` behind it, and
then wins over the plain one on a host of several chassis."""
