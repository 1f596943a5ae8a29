# SPDX-License-Identifier: Apache-2.0
"""Pure: SB Chassis and Encap rows to model values: the contract between the two daemons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from heapq import nsmallest

from ..errors import InputError
from ..model.chassis import DEFAULT_PORT, ChassisName, Encap, EncapType
from ..model.key import Key, Party, one_of
from ..model.policy import ClassName, Mode
from . import fields as parse
from .fields import Place
from .sb_global import CLASS_NAME

TABLE = "Encap"
MODE = "ovn-ipsec"
CLASS = "ovn-ipsec-class"
DST_PORT = "dst_port"
CSUM = "csum"
IS_REMOTE = "is-remote"
IS_INTERCONN = "is-interconn"
CMS_OPTIONS = "ovn-cms-options"
KEYS = (MODE, CLASS)

ENCAPS_MAX = 16
"""Encaps of one chassis that count, in the order of type and address; the others are ignored."""
PORTS_MAX = 4
"""Distinct UDP ports that the encaps of one chassis may name, in the order of the encaps."""
PORT_LOW, PORT_HIGH = 1024, 65535
IKE_NAT_PORT = 4500
"""Never a tunnel port: a guard on it would stop IKE (RFC 3948). IKE's 500 is below PORT_LOW."""
ERRORS_MAX = 4
"""Refusals reported for one chassis; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEncap:
    """An Encap row as stored in the database: nothing in it is trusted yet."""

    type: str
    ip: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawChassis:
    """A Chassis row with its Encap rows, as stored in the database."""

    name: str
    hostname: str = ""
    transport_zones: frozenset[str] = frozenset()
    other_config: Mapping[str, str]
    encaps: tuple[RawEncap, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncapIntent:
    """An encap and the mode that its row asks for."""

    encap: Encap
    mode: Mode | None
    """None: the key is missing or invalid, so the cluster's default applies."""
    class_name: ClassName | None = None
    """None: the key is missing or invalid, so the mode applies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chassis:
    """A chassis that can be a peer."""

    name: ChassisName
    zones: frozenset[str]
    is_remote: bool
    """other_config:is-remote: it belongs to another availability zone (ovn-ic)."""
    is_interconn: bool
    """other_config:is-interconn: it has tunnels to chassis of other availability zones."""
    hostname: str = ""
    azs: frozenset[str] = frozenset()
    """Availability zones in ovn-cms-options."""
    encaps: tuple[EncapIntent, ...]
    """Sorted by type and address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedChassis:
    """A chassis, or None if it cannot be a peer at all, and everything that was refused."""

    chassis: Chassis | None
    errors: tuple[InputError, ...]


def parse_encap(row: str, raw: RawEncap) -> tuple[EncapIntent | None, tuple[InputError, ...]]:
    """Parse one encap.

    Args:
        row: The name of the row in errors, such as `hv1/10.0.0.1`.
        raw: The row.

    Returns:
        The intent and no error; or what could be understood, and why the rest could not. An encap
        of a type that IPsec does not cover here (stt) gives (None, ()).
    """
    if raw.type not in list(EncapType):
        return None, ()
    try:
        kind = EncapType(raw.type)
        ip = parse.address(Place(table=TABLE, row=row, key="ip"), raw.ip)
        port = DEFAULT_PORT[kind]
        if DST_PORT in raw.options:
            place = Place(table=TABLE, row=row, key=f"options:{DST_PORT}")
            port = parse_port(place, raw.options[DST_PORT])
    except InputError as error:
        return None, (error,)
    csum = {"true": True, "false": False}.get(raw.options.get(CSUM, ""))
    encap = Encap(type=kind, ip=ip, port=port, csum=csum)
    errors: list[InputError] = []
    mode = None
    if MODE in raw.options:
        try:
            place = Place(table=TABLE, row=row, key=f"options:{MODE}")
            mode = parse.word(place, raw.options[MODE], Mode)
        except InputError as error:
            errors.append(error)
    class_name = raw.options.get(CLASS)
    if class_name is not None and not CLASS_NAME.match(class_name):
        reason = "expected 1 to 16 of a-z 0-9"
        key = f"options:{CLASS}"
        errors.append(
            InputError(table=TABLE, row=row, key=key, text=class_name[:80], reason=reason)
        )
        class_name = None
    name = None if class_name is None else ClassName(class_name)
    return EncapIntent(encap=encap, mode=mode, class_name=name), tuple(errors)


def parse_port(place: Place, text: str) -> int:
    """Parse a UDP port that a guard may deny.

    Raises:
        InputError: It is not a port, or it belongs to IKE or to a common service.
    """
    port = parse.integer(place, text, PORT_LOW, PORT_HIGH)
    if port == IKE_NAT_PORT:
        place.refuse(text, f"{IKE_NAT_PORT} is IKE's")
    return port


def parse_chassis(raw: RawChassis) -> ParsedChassis:
    """Parse a chassis and its encaps; an invalid encap costs only itself.

    What one chassis can cause is limited: ENCAPS_MAX encaps, PORTS_MAX ports, ERRORS_MAX refusals.

    The keys of an is-remote chassis are those that the ovn-ipsec-northd of its own zone has given
    it: ovn-ic copies Encap.options. Its class belongs to other rules than ours, and its name may
    be that of a class of ours, so it is left out. Its mode can only strengthen a pair, and only one
    that no rule of this zone decides.
    """
    is_remote = raw.other_config.get(IS_REMOTE) == "true"
    try:
        name = parse.chassis_name(Place(table="Chassis", row=raw.name[:80], key="name"), raw.name)
    except InputError as error:
        return ParsedChassis(chassis=None, errors=(error,))
    intents: list[EncapIntent] = []
    errors: list[InputError] = []
    place = Place(table="Chassis", row=name, key="encaps")
    if len(raw.encaps) > ENCAPS_MAX:
        reason = f"more than {ENCAPS_MAX} encaps: only the first {ENCAPS_MAX} are looked at"
        errors.append(place.error(str(len(raw.encaps)), reason))
    for encap in nsmallest(ENCAPS_MAX, raw.encaps, key=lambda one: (one.type, one.ip)):
        known = _without_class(encap) if is_remote else encap
        intent, refused = parse_encap(f"{name}/{encap.ip[:64]}", known)
        errors.extend(refused)
        if intent is not None:
            intents.append(intent)
    ports = set(list(dict.fromkeys(intent.encap.port for intent in intents))[:PORTS_MAX])
    intents.sort(key=lambda i: (i.encap.type, i.encap.ip.version, i.encap.ip))
    beyond = [intent for intent in intents if intent.encap.port not in ports]
    if beyond:
        reason = f"more than {PORTS_MAX} ports: encaps with others than the first are refused"
        errors.append(place.error(f"options:{DST_PORT}={beyond[0].encap.port}", reason))
        intents = [intent for intent in intents if intent.encap.port in ports]
    if len(errors) > ERRORS_MAX:
        more = len(errors) - ERRORS_MAX + 1
        last = place.error(f"{more} more", "other values of this chassis are not understood either")
        errors = [*errors[: ERRORS_MAX - 1], last]
    return ParsedChassis(
        chassis=Chassis(
            name=name,
            zones=raw.transport_zones,
            is_remote=is_remote,
            is_interconn=raw.other_config.get(IS_INTERCONN) == "true",
            hostname=raw.hostname,
            azs=availability_zones(raw.other_config),
            encaps=tuple(intents),
        ),
        errors=tuple(errors),
    )


def _without_class(raw: RawEncap) -> RawEncap:
    options = {key: text for key, text in raw.options.items() if key != CLASS}
    return replace(raw, options=options)


def availability_zones(other_config: Mapping[str, str]) -> frozenset[str]:
    """Read `availability-zones=az1:az2` from ovn-cms-options (ovn-controller(8)).

    Args:
        other_config: The column of a Chassis row.
    """
    for word in other_config.get(CMS_OPTIONS, "").split(","):
        key, _, value = word.partition("=")
        if key == "availability-zones":
            return frozenset(filter(None, value.split(":")))
    return frozenset()


_ALL = (Party.CONTROLLER, Party.NORTHD, Party.COMMAND)
_option = partial(Key, column="Encap.options", readers=_ALL)
_config = partial(Key, column="Chassis.other_config", readers=_ALL)
DOCUMENTED = (
    _option(
        name=MODE,
        meaning="The fallback mode of this encap. The stronger mode of a pair's two ends"
        " applies, and never less than the floor of SB_Global.",
        values=one_of(Mode),
        default="the default of SB_Global applies",
        example=Mode.REQUIRE,
        writer=Party.NORTHD,
        page="explanation/classes.md",
    ),
    _option(
        name=CLASS,
        meaning="The class of this encap, which it shares with all encaps that no rule can tell"
        " apart from it.",
        values="1 to 16 of a-z 0-9",
        default="the stronger mode of both rows applies",
        example="a1b2c3",
        writer=Party.NORTHD,
        page="explanation/classes.md",
    ),
    _option(
        name=DST_PORT,
        meaning="UDP port on which this encap receives.",
        values=f"{PORT_LOW} to {PORT_HIGH}, but {IKE_NAT_PORT}; at most {PORTS_MAX} different"
        " ones count for a chassis",
        default=", ".join(f"{port} for {kind}" for kind, port in DEFAULT_PORT.items()),
        example="6082",
        writer=Party.OVN_CONTROLLER,
        page="explanation/guard.md#what-it-covers",
    ),
    _option(
        name=CSUM,
        meaning="Whether tunnels to this encap use UDP checksums; tunnel ports that"
        " ovn-ipsec-controller makes repeat this.",
        values=one_of(("true", "false")),
        default="the option is not set on the tunnel port",
        example="true",
        writer=Party.OVN_CONTROLLER,
        readers=(Party.CONTROLLER,),
    ),
    _config(
        name=IS_REMOTE,
        meaning="The chassis belongs to another availability zone. Its Encap rows are never"
        " written. Only rules with `remote:` match it; if none does, the default applies to its"
        " pairs, or what its row asks for if that is stronger: ovn-ic copies the keys of the other"
        " zone. Its class is ignored.",
        values=one_of(("true", "false")),
        default="`false`",
        example="true",
        writer=Party.OVN_IC,
        page="reference/policy.md#which-pairs-a-rule-matches",
    ),
    _config(
        name=IS_INTERCONN,
        meaning="The chassis has tunnels to chassis of other availability zones.",
        values=one_of(("true", "false")),
        default="`false`",
        example="true",
        writer=Party.OVN_CONTROLLER,
        readers=(Party.CONTROLLER, Party.COMMAND),
    ),
    _config(
        name=CMS_OPTIONS,
        meaning="The word `availability-zones=AZ1:AZ2` in it says which zones `az:` in a rule"
        " matches.",
        values="comma-separated words",
        default="the chassis is in no availability zone",
        example="enable-chassis-as-gw,availability-zones=az1",
        writer=Party.OVN_CONTROLLER,
        readers=(Party.NORTHD, Party.COMMAND),
        page="reference/policy.md#the-syntax",
    ),
)
"""What people are told of these keys."""
