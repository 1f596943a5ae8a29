# SPDX-License-Identifier: Apache-2.0
"""Pure: what the two databases contain, parsed: NbView and SbView, the inputs of every decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from uuid import UUID

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import EncapType, IpAddress
from ovn_ipsec.model.policy import ClusterPolicy, Mode, Phase
from ovn_ipsec.model.status import Digest
from ovn_ipsec.policy.topology import Membership
from ovn_ipsec.schema import fields as parse
from ovn_ipsec.schema import nb_global
from ovn_ipsec.schema.fields import Place

DEGRADED = " (degraded)"
"""Suffix of the state while something that should hold does not."""

STATE_PHASE: Mapping[str, Phase] = MappingProxyType(
    {
        "off": Phase.OFF,
        "preparing": Phase.PREPARE,
        "establishing": Phase.ESTABLISH,
        "established": Phase.ESTABLISH,
        "enforced": Phase.ENFORCE,
        "relaxing": Phase.RELAX,
    }
)
"""NB_Global.external_ids:ovn-ipsec-state, without DEGRADED, and the phase that each word means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NbView:
    """NB_Global as it is now."""

    asked: nb_global.ParsedPolicy
    report: Mapping[str, str]
    """The report keys (nb_global.REPORT_KEYS) that NB_Global.external_ids holds now."""
    switches: frozenset[str] = frozenset()
    """Names of all logical switches."""
    networks: Mapping[str, Mode] = field(default_factory=dict)
    """Logical_Switch.other_config:ovn-ipsec by name of the switch."""
    errors: tuple[InputError, ...] = ()
    """What of the switches could not be understood."""
    origin: str = ""
    """UUID of the row: a different database has a different one, a restored one has the same."""

    @property
    def reported_phase(self) -> Phase | None:
        """The phase last reported to the operator; None if there is none, or it is invalid."""
        return STATE_PHASE.get(self.report.get(nb_global.STATE, "").removesuffix(DEGRADED))

    @property
    def known_generation(self) -> int | None:
        """The generation last reported to the operator; None if there is none, or it is invalid."""
        text = self.report.get(nb_global.GENERATION, "")
        try:
            place = Place(table=nb_global.TABLE, row=".", key=nb_global.GENERATION)
            return parse.generation(place, text)
        except InputError:
            return None

    @property
    def reported_generation(self) -> int:
        """The same; 0 if there is none, or it is invalid."""
        return self.known_generation or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EncapFacts:
    """An Encap row."""

    row: UUID
    label: str
    """`<chassis>/<type>/<ip>`: it stays the same when ovn-controller replaces the row."""
    type: str
    """As in the row; only those of EncapType are ever given a key."""
    text: str | None
    """options:ovn-ipsec now, unchecked; None if missing."""
    class_text: str | None = None
    """options:ovn-ipsec-class now, unchecked; None if missing."""
    ip: IpAddress | None = None
    """None if the row's address is invalid: then no prefix matches it."""

    @property
    def protectable(self) -> bool:
        """Whether IPsec covers tunnels of this type here."""
        return self.type in list(EncapType)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChassisFacts:
    """A Chassis row, its encaps, and what its controller reports."""

    name: str
    """As in the row: not trusted, and made printable before it is shown."""
    is_remote: bool = False
    """other_config:is-remote: it belongs to ovn-ic and is never written."""
    is_interconn: bool = False
    """other_config:is-interconn: it has tunnels to chassis of other availability zones."""
    hostname: str = ""
    zones: frozenset[str] = frozenset()
    """Chassis.transport_zones."""
    azs: frozenset[str] = frozenset()
    """Availability zones in ovn-cms-options."""
    encaps: tuple[EncapFacts, ...] = ()
    """The encaps that count."""
    encap_error: InputError | None = None
    """Why other encaps do not count."""
    digest: Digest | None = None
    """None: no controller of ours runs there, or its report does not parse."""
    digest_error: InputError | None = None

    @property
    def types(self) -> frozenset[str]:
        """The tunnel types of its encaps that IPsec covers."""
        return frozenset(encap.type for encap in self.encaps if encap.protectable)


@dataclass(frozen=True, slots=True, kw_only=True)
class SbView:
    """The southbound database as it is now."""

    policy: ClusterPolicy | None = None
    """As stored in SB_Global; None if it was never written, or does not parse (see error)."""
    error: InputError | None = None
    readable_generation: int = 0
    """The generation of a policy that does not parse, if at least that can be read."""
    chassis: Mapping[str, ChassisFacts]
    """By name. Digests of chassis that no longer exist are not here."""
    memberships: Mapping[str, Membership] | None = field(default_factory=dict)
    """Networks by chassis name; None while they are needed but not known yet."""
    tunnel_keys: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Datapath_Binding.tunnel_key of the switches of each name that a rule selects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a chassis' row contains about its certificate."""

    name: str
    request: str
    """Chassis_Private.external_ids:ovn-ipsec-csr."""
    answer: str
    """...:ovn-ipsec-crt; empty if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A row of the southbound's Connection table."""

    target: str
    role: str
