# SPDX-License-Identifier: Apache-2.0
"""What the IKE daemon should hold and what it was seen to hold, as values.

Pure. Input: pairs and credentials. Output: connection configurations, and the types in which
observations of the daemon are expressed.

One pair is one connection with two children: Geneve sends from a hashed source port to a fixed
destination port, so ``out`` carries what we send and ``in`` what the peer sends. The reverse half
of each child stays unused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address
from types import MappingProxyType
from typing import NewType

from ovn_ipsec.model.chassis import ChassisName, Pair
from ovn_ipsec.model.policy import Auth, Profile, Tuning

from .credentials.proof import Proof

ConnName = NewType("ConnName", str)

OUT = "out"
IN = "in"
CHILDREN = (OUT, IN)
"""The children of a connection, in the order in which they are initiated."""

DEFAULT_IKE_PROPOSALS = (
    "aes256gcm16-prfsha256-x25519-ecp256",
    "aes256gcm16-prfsha256-modp2048",
)
"""Modern groups first; the last one is what a stock ovs-monitor-ipsec offers."""

DEFAULT_ESP_PROPOSALS = (
    "aes256gcm16-x25519-ecp256-modp2048-esn-noesn",
    "aes256gcm16-esn-noesn",
)
"""Every IKE group, because Libreswan asks for the IKE_SA's group in each CREATE_CHILD_SA, and one
proposal without a group for the child that IKE_AUTH makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A profile in strongSwan's spelling.

    As with the default, ESP is offered with every group of IKE, and once without, for IKE_AUTH.
    """

    ike: tuple[str, ...]
    esp: tuple[str, ...]
    needs: frozenset[str]
    """Algorithms, by their names in get-algorithms, without which it cannot be negotiated: the
    daemon loads a proposal even without a plugin for it, and starts with the very first group."""
    shown: str
    """How IkeSa.suite begins if it was negotiated, as a regular expression; all differ."""


_X25519, _SHA256, _SHA384 = "CURVE_25519", "PRF_HMAC_SHA2_256", "PRF_HMAC_SHA2_384"

SUITES: Mapping[Profile, Suite] = MappingProxyType(
    {
        Profile.DEFAULT: Suite(
            ike=DEFAULT_IKE_PROPOSALS,
            esp=DEFAULT_ESP_PROPOSALS,
            needs=frozenset({"AES_GCM_16", _SHA256, _X25519}),
            shown=f"AES_GCM_16-256/{_SHA256}",
        ),
        Profile.CHACHA20: Suite(
            ike=("chacha20poly1305-prfsha256-x25519-ecp256",),
            esp=("chacha20poly1305-x25519-ecp256-esn-noesn", "chacha20poly1305-esn-noesn"),
            needs=frozenset({"CHACHA20_POLY1305", _SHA256, _X25519}),
            shown=f"CHACHA20_POLY1305(-256)?/{_SHA256}",
        ),
        Profile.AES256_SHA256: Suite(
            ike=("aes256-sha256-x25519-ecp256-modp2048",),
            esp=("aes256-sha256-x25519-ecp256-modp2048-esn-noesn", "aes256-sha256-esn-noesn"),
            needs=frozenset({"AES_CBC", "HMAC_SHA2_256_128", _SHA256, _X25519}),
            shown=f"AES_CBC-256/{_SHA256}",
        ),
        Profile.CNSA: Suite(
            ike=("aes256gcm16-prfsha384-ecp384",),
            esp=("aes256gcm16-ecp384-esn-noesn", "aes256gcm16-esn-noesn"),
            needs=frozenset({"AES_GCM_16", _SHA384, "ECP_384"}),
            shown=f"AES_GCM_16-256/{_SHA384}/ECP_384",
        ),
        Profile.PQ: Suite(
            ike=("aes256gcm16-prfsha384-x25519-ke1_mlkem768",),
            esp=("aes256gcm16-x25519-ke1_mlkem768-esn-noesn", "aes256gcm16-esn-noesn"),
            needs=frozenset({"AES_GCM_16", _SHA384, _X25519, "ML_KEM_768"}),
            shown=f"AES_GCM_16-256/{_SHA384}/{_X25519}",
        ),
    }
)


def able(algorithms: frozenset[str]) -> frozenset[Profile]:
    """Tell which profiles a daemon can do.

    Args:
        algorithms: Those for which it has plugins, by their names in get-algorithms.
    """
    return frozenset(profile for profile, suite in SUITES.items() if suite.needs <= algorithms)


_PREFIX = "ovn-"
_NAME_MAX, _NAME_KEPT = 120, 100
_NAME = re.compile(r"ovn-[A-Za-z0-9._-]{1,120}(?:~[0-9a-f]{8})?@([0-9a-f.:]+)%([0-9a-f.:]+)\Z")
_WAY = "+"
_GONE = frozenset({"DELETED", "REKEYED"})


def conn_name(pair: Pair) -> ConnName:
    """Name the connection of a pair: ``ovn-`` and OVN's name of the tunnel.

    Args:
        pair: the pair.

    Returns:
        At most 206 ASCII characters. A chassis name of more than 120 characters is cut, and a
        digest of the whole name is appended: a vici key holds 255 bytes.

    Source:
        ovn controller/encaps.c, encaps_tunnel_id_create; strongSwan vici README, "Messages".
    """
    chassis: str = pair.peer
    if len(chassis) > _NAME_MAX:
        chassis = f"{chassis[:_NAME_KEPT]}~{sha256(chassis.encode()).hexdigest()[:8]}"
    return ConnName(f"{_PREFIX}{chassis}@{pair.remote}%{pair.local}")


def is_ours(name: str) -> bool:
    """Tell whether a connection of the daemon has a name that ``conn_name`` makes."""
    match = _NAME.match(name)
    if match is None:
        return False
    try:
        remote, local = (ip_address(text) for text in match.groups())
    except ValueError:
        return False
    return f"{remote}%{local}" == f"{match[1]}%{match[2]}" and remote.version == local.version


def spelled(name: ConnName, auth: Auth) -> str:
    """Name the connection of a pair for one authentication method, as the daemon knows it.

    Each method is a separate connection there, so an SA's name tells how it was authenticated.
    """
    return str(name) if auth is Auth.CA else f"{name}{_WAY}{auth}"


def parse_spelled(text: str) -> tuple[ConnName, Auth] | None:
    """Undo ``spelled``; None for a name that is not ours."""
    name, sign, way = text.partition(_WAY)
    if not is_ours(name) or (sign and way not in (Auth.PINNED, Auth.PSK)):
        return None
    return ConnName(name), Auth(way) if sign else Auth.CA


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnConfig:
    """One connection as it should be loaded."""

    name: ConnName
    pair: Pair
    local_id: ChassisName
    remote_id: ChassisName
    reqid_out: int
    """Static and unique on this host: a restarted daemon then continues without loss."""
    reqid_in: int
    esp_proposals: tuple[str, ...] = DEFAULT_ESP_PROPOSALS
    ike_proposals: tuple[str, ...] = DEFAULT_IKE_PROPOSALS
    tuning: Tuning
    proofs: tuple[Proof, ...]
    """How both ends authenticate: with the first; the others are accepted if the peer uses them."""
    epoch: int = 0
    """Distinguishes it from an earlier equal one: the daemon then makes a new IKE_SA for it."""
    _marks: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)
    _fingerprint: str = field(default="", init=False, repr=False, compare=False)

    @property
    def fingerprint(self) -> str:
        """Digest of every field, the same in every process; computed once."""
        if not self._fingerprint:
            proofs = tuple(proof.parts for proof in self.proofs)
            text = repr((self._own_parts(), proofs, self.epoch))
            object.__setattr__(self, "_fingerprint", _digest(text))
        return self._fingerprint

    @property
    def marks(self) -> tuple[str, ...]:
        """What SAs are made from: a digest of the settings, then one of each proof; computed once.

        A CHILD_SA with other settings, or whose IKE_SA was not made with the first proof, has to be
        replaced. What we accept from the peer is not part of either digest.
        """
        if not self._marks:
            found = (f"{proof.auth}:{_digest(proof.mark)}" for proof in self.proofs)
            object.__setattr__(self, "_marks", (_digest(repr(self._own_parts())), *found))
        return self._marks

    def _own_parts(self) -> tuple[object, ...]:
        return (
            self.name,
            self.pair,
            self.local_id,
            self.remote_id,
            self.reqid_out,
            self.reqid_in,
            self.esp_proposals,
            self.ike_proposals,
            self.tuning,
        )


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSa:
    """A CHILD_SA."""

    name: str
    """Of the child from which it was made, ``out`` or ``in``; the peer's name is not visible."""
    id: int
    """Unique in the daemon's lifetime; the argument of terminate_child and rekey_child."""
    state: str
    """As strongSwan spells it: CREATED, ROUTED, INSTALLING, INSTALLED, UPDATING, REKEYING,
    REKEYED, RETRYING, DELETING, DELETED, DESTROYING."""
    reqid: int
    spi_in: int
    """0 while there is none; likewise for spi_out."""
    spi_out: int
    install_s: int = field(default=0, compare=False)
    """Seconds since it was installed."""
    packets_in: int = field(default=0, compare=False)
    """Packets received over it."""
    esn: bool = False
    udp_encap: bool = False
    suite: str = ""
    """Such as ``AES_GCM_16-256``, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IkeSa:
    """An IKE_SA, without its children in DELETED and REKEYED."""

    conn: ConnName
    id: int
    """Unique in the daemon's lifetime; the argument of terminate_ike."""
    state: str
    """CREATED, CONNECTING, ESTABLISHED, PASSIVE, REKEYING, REKEYED, DELETING or DESTROYING."""
    initiator: bool
    """Whether this end initiated it."""
    initiator_spi: int
    """The same number on both ends."""
    children: tuple[ChildSa, ...] = ()
    established_s: int = field(default=0, compare=False)
    """Seconds since it was established; 0 while it is not."""
    remote_id: str = ""
    """The peer's identity, empty until it has authenticated."""
    local_spi: int = 0
    remote_spi: int = 0
    suite: str = ""
    """Such as ``AES_GCM_16-256/PRF_HMAC_SHA2_256/CURVE_25519``, for people."""
    auth: Auth = Auth.CA
    """How both ends authenticated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSeen:
    """Everything of ours that the daemon holds."""

    since: str
    """When it started, in its own words: another text means another daemon, which has nothing."""
    version: str
    conns: frozenset[ConnName]
    sas: Mapping[ConnName, tuple[IkeSa, ...]]
    """Sorted by id; a connection without an IKE_SA has no key."""
    traps: frozenset[tuple[ConnName, str]]
    profiles: frozenset[Profile]
    """Profiles that it can do."""
    unreadable: Mapping[ConnName, str] = field(default_factory=dict)
    """Connections with an SA that could not be read, and why: nothing is known of their SAs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a kind of IKE daemon can do; the plan does without what it cannot."""

    traps: bool = True
    """Whether it has traps that deny clear text in both directions."""
    beside: bool = True
    """Whether it can make another IKE_SA of a pair beside the one that is to be replaced, so that
    nothing is lost."""
    revocation: bool = True
    """Whether it can be given lists of revoked certificates, and a responder (OCSP)."""
    shown: bool = True
    """Whether it tells the certificates that peers have shown."""
    reqid_max: int = 2**32 - 1
    """The largest reqid that it takes."""
    delegated: bool = False
    """Whether another program drives it by the tunnel ports: then it is told nothing, its SAs are
    those of the kernel, and all that can be done for a pair is to have the kernel ask for one."""
    auths: frozenset[Auth] = frozenset(Auth)
    """Methods that it can be used with."""


ABLE = Abilities()
"""It can do everything."""


def fitting(reqids: tuple[int, int], most: int) -> tuple[int, int]:
    """Give the reqids that a daemon is told, which may take small ones only.

    Args:
        reqids: An even one, and the next.
        most: The largest that it takes.

    Returns:
        The same, or two that stand for them; for so many pairs that others would share them, these
        have other addresses.
    """
    if max(reqids) <= most:
        return reqids
    first = 2 + reqids[0] % ((most - 2) // 2 * 2)
    return first, first + 1


def profile_of(sa: IkeSa) -> Profile | None:
    """Tell with which profile an IKE_SA was negotiated; None if its suite belongs to none."""
    found = (p for p, suite in SUITES.items() if re.match(rf"{suite.shown}(/|\Z)", sa.suite))
    return next(found, None)


def installed(child: ChildSa) -> bool:
    """Tell whether a CHILD_SA carries traffic, including while its successor is negotiated."""
    return child.state in ("INSTALLED", "UPDATING", "REKEYING", "RETRYING")


def gone(child: ChildSa) -> bool:
    """Tell whether a CHILD_SA was replaced or deleted and only waits for late packets."""
    return child.state in _GONE


def established(sa: IkeSa) -> bool:
    """Tell whether an IKE_SA is authenticated and not being deleted."""
    return sa.state in ("ESTABLISHED", "REKEYING")


def installed_children(sa: IkeSa) -> frozenset[str]:
    """Name the children of an IKE_SA that carry traffic."""
    return frozenset(child.name for child in sa.children if installed(child))
