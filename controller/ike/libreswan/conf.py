# SPDX-License-Identifier: Apache-2.0
"""Connection configurations to the texts that Libreswan reads.

Pure. Input: ConnConfig. Output: sections of ipsec.conf(5), entries of ipsec.secrets(5).

A connection is several in pluto, one for each authentication method and child, named as
``child_name`` says. None of them depends on what we accept from the peer or on the secret: pluto
replaces a changed connection by deleting it, and its SAs go with it.

Source: Libreswan 4.10, configs/d.ipsec.conf, lib/libipsecconf/confread.c.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ovn_ipsec.errors import IkeError
from ovn_ipsec.model.policy import Auth, Profile, Revocation

from ...plan.connection import (
    CHILDREN,
    IN,
    OUT,
    SUITES,
    ConnConfig,
    ConnName,
    parse_spelled,
    spelled,
)
from ...plan.credentials.proof import Proof
from ...plan.pair.facts import initiates
from ..messages import DPD_DELAY_S, ESP_LIFETIME_S, IKE_LIFETIME_S, REPLAY_WINDOW, UDP

REQID_MAX = 0x3FFF
"""Above it pluto counts for itself (include/reqid.h, IPSEC_MANUAL_REQID_MAX)."""
EVERY = "ovn-ipsec"
"""An alias that all of our connections have."""
ONLY = "Libreswan signs with RSA and ECDSA keys only"
RETRANSMIT_S = 60
"""How long an exchange is repeated before the peer counts as gone, unless it is set."""

_VALUE = re.compile(r"[A-Za-z0-9@%._:;,+~/*-]+\Z", re.ASCII)
_DIGEST = re.compile(r"ovn-d-([0-9a-f]{32})\Z")


@dataclass(frozen=True, slots=True)
class Algorithms:
    """A profile in Libreswan's spelling."""

    ike: str
    esp: str
    needs: frozenset[str]
    """Algorithms, by their names in ``whack --status`` of Libreswan 5.2."""
    suite: str
    """IkeSa.suite of an SA that it leads to, as far as it is certain."""


def _groups(suite: str, *groups: str) -> str:
    return ",".join(f"{suite};{group}" for group in groups)


_MODERN = ("dh31", "dh19")
ALGORITHMS: Mapping[Profile, Algorithms] = MappingProxyType(
    {
        Profile.DEFAULT: Algorithms(
            ike=_groups("aes_gcm256-sha2_256", *_MODERN, "modp2048"),
            esp="aes_gcm256",
            needs=frozenset({"ESP AES_GCM_16", "IKE AES_GCM_16", "PRF HMAC_SHA2_256", "DH DH31"}),
            suite="AES_GCM_16-256/PRF_HMAC_SHA2_256",
        ),
        Profile.CHACHA20: Algorithms(
            ike=_groups("chacha20_poly1305-sha2_256", *_MODERN),
            esp="chacha20_poly1305",
            needs=frozenset(
                {
                    "ESP CHACHA20_POLY1305",
                    "IKE CHACHA20_POLY1305",
                    "PRF HMAC_SHA2_256",
                    "DH DH31",
                }
            ),
            suite="CHACHA20_POLY1305-256/PRF_HMAC_SHA2_256",
        ),
        Profile.AES256_SHA256: Algorithms(
            ike=_groups("aes256-sha2_256", *_MODERN, "modp2048"),
            esp="aes256-sha2_256",
            needs=frozenset({"ESP AES_CBC", "IKE AES_CBC", "PRF HMAC_SHA2_256", "DH DH31"}),
            suite="AES_CBC-256/PRF_HMAC_SHA2_256",
        ),
        Profile.CNSA: Algorithms(
            ike=_groups("aes_gcm256-sha2_384", "dh20"),
            esp="aes_gcm256",
            needs=frozenset({"ESP AES_GCM_16", "IKE AES_GCM_16", "PRF HMAC_SHA2_384", "DH DH20"}),
            suite="AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384",
        ),
    }
)


def able(algorithms: frozenset[str]) -> frozenset[Profile]:
    """Tell which profiles a pluto can do.

    Args:
        algorithms: Those that it lists, as in Algorithms.needs.
    """
    return frozenset(profile for profile, one in ALGORITHMS.items() if one.needs <= algorithms)


def profile_made(conn: ConnConfig) -> Profile | None:
    """Tell from which profile the proposals of a connection come; None: from none that it can."""
    wanted = (conn.ike_proposals, conn.esp_proposals)
    return next((p for p in ALGORITHMS if (SUITES[p].ike, SUITES[p].esp) == wanted), None)


@dataclass(frozen=True, slots=True)
class Section:
    """One connection as pluto knows it."""

    name: str
    digest: str
    """Of all that is in it: an equal one need not be loaded again."""
    text: str
    """The section of ipsec.conf, with a line feed at the end."""


def child_name(conn: ConnName, auth: Auth, child: str) -> str:
    """Name the connection of a child for one authentication method, as pluto knows it."""
    return f"{spelled(conn, auth)}:{child}"


def parse_child_name(text: str) -> tuple[ConnName, Auth, str] | None:
    """Undo ``child_name``; None for a name that is not ours."""
    name, _, child = text.rpartition(":")
    known = parse_spelled(name)
    return (*known, child) if known is not None and child in CHILDREN else None


def conn_of(text: str) -> ConnName | None:
    """Tell to which connection of ours one of pluto's belongs; None: to none."""
    known = parse_child_name(text)
    return None if known is None else known[0]


def every_name(conn: ConnName) -> list[str]:
    """Every name under which pluto may have something of a connection."""
    return [child_name(conn, auth, child) for auth in Auth for child in CHILDREN]


def pair_alias(conn: ConnName) -> str:
    """Name all connections of a pair together."""
    return f"ovn-p-{sha256(conn.encode()).hexdigest()[:32]}"


def parse_digest(aliases: Iterable[str]) -> str:
    """Read the digest of a Section from the aliases of a connection; empty if there is none."""
    return next((match[1] for word in aliases if (match := _DIGEST.match(word))), "")


def sections(conn: ConnConfig, proof: Proof, nickname: str, pin: str) -> tuple[Section, ...]:
    """Format a connection, as far as one way of authentication goes.

    Args:
        conn: The connection.
        proof: One of its proofs.
        nickname: Of our certificate in the database of keys; empty with psk.
        pin: Of the peer's certificate there; empty unless it is pinned.

    Raises:
        IkeError: Libreswan cannot do what is asked for, or a value cannot stand in its file.
    """
    lines = _common(conn, proof)
    if proof.auth is not Auth.PSK:
        lines |= {"leftcert": nickname, "leftsendcert": "always"}
        if proof.chain_der:
            lines["sendca"] = "issuer"
    if pin:
        lines["rightcert"] = pin
    pair, udp = conn.pair, str(UDP)
    ends = {
        OUT: (conn.reqid_out, f"{udp}/0", f"{udp}/{pair.out_port}"),
        IN: (conn.reqid_in, f"{udp}/{pair.in_port}", f"{udp}/0"),
    }
    found = []
    for child, (reqid, local, remote) in ends.items():
        if not 0 < reqid <= REQID_MAX:
            raise IkeError(f"{conn.name}: Libreswan takes reqids up to {REQID_MAX}, not {reqid}")
        own = {"reqid": str(reqid), "leftprotoport": local, "rightprotoport": remote}
        name = child_name(conn.name, proof.auth, child)
        found.append(_section(conn.name, name, lines | own))
    return tuple(found)


def _common(conn: ConnConfig, proof: Proof) -> dict[str, str]:
    profile = profile_made(conn)
    if profile is None:
        raise IkeError(f"{conn.name}: Libreswan cannot do what this profile proposes")
    if proof.auth is Auth.CA and proof.revocation is not Revocation.RELAXED:
        raise IkeError(
            f"Libreswan cannot demand proof that a certificate is not revoked"
            f" ({proof.revocation.value}) for single connections"
        )
    tuning, wanted = conn.tuning, ALGORITHMS[profile]
    window = REPLAY_WINDOW if tuning.replay_window is None else tuning.replay_window
    ends = (f"@{conn.local_id}", f"@{conn.remote_id}")
    if proof.plain:
        ends = (str(conn.pair.local), str(conn.pair.remote))
    return {
        "left": str(conn.pair.local),
        "right": str(conn.pair.remote),
        "leftid": ends[0],
        "rightid": ends[1],
        "authby": _authby(proof),
        "type": "transport",
        "ike": wanted.ike,
        "esp": wanted.esp,
        "replay-window": str(window),
        # RFC 4303 section 3.3.3: no extended sequence numbers without the replay check.
        "esn": "either" if window else "no",
        "encapsulation": "yes" if tuning.force_encapsulation else "no",
        "mobike": "no",
        # Only the designated initiator rekeys, or makes again what is gone: both ends at the same
        # time make SAs that carry nothing (libreswan#1903).
        "rekey": "yes" if initiates(conn.local_id, conn.remote_id) else "no",
        "salifetime": f"{tuning.esp_lifetime_s or ESP_LIFETIME_S}s",
        "ikelifetime": f"{tuning.ike_lifetime_s or IKE_LIFETIME_S}s",
        "rekeymargin": f"{_margin_s(tuning.esp_lifetime_s, tuning.ike_lifetime_s)}s",
        "rekeyfuzz": "0%",
        "dpddelay": f"{tuning.dpd_delay_s or DPD_DELAY_S}s",
        "retransmit-timeout": f"{tuning.dpd_timeout_s or RETRANSMIT_S}s",
        "leftupdown": "%disabled",
        "auto": "add",
    }


def _authby(proof: Proof) -> str:
    """Name how both ends sign: with keys of the same kind, for a connection has one method."""
    if proof.auth is Auth.PSK:
        return "secret"
    return signs_with(x509.load_der_x509_certificate(proof.certificate_der).public_key())


def signs_with(key: object) -> str:
    """Name the method of a public key.

    Raises:
        IkeError: Libreswan has none for it.
    """
    match key:
        case ec.EllipticCurvePublicKey():
            return "ecdsa"
        case rsa.RSAPublicKey():
            # PSS alone, which is rsa-sha2, is not what strongSwan signs with unless it is told to.
            return "rsasig"
        case _:
            raise IkeError(ONLY)


def _margin_s(esp_s: int | None, ike_s: int | None) -> int:
    """The last eleventh of the shorter of the two lifetimes, as strongSwan is told."""
    return max(1, min(esp_s or ESP_LIFETIME_S, ike_s or IKE_LIFETIME_S) // 11)


def _section(conn: ConnName, name: str, lines: Mapping[str, str]) -> Section:
    _checked("conn", name)
    body = "".join(f"\t{key}={_checked(key, value)}\n" for key, value in lines.items())
    digest = sha256(body.encode()).hexdigest()[:32]
    aliases = f"{EVERY} {pair_alias(conn)} ovn-d-{digest}"
    text = f'conn {name}\n{body}\tconnalias="{aliases}"\n'
    return Section(name, digest, text)


def _checked(key: str, value: str) -> str:
    """Refuse what would not stay on its line, or start a comment or a quotation."""
    if not _VALUE.match(value):
        raise IkeError(f"{key}: {value[:80]!r} cannot be written into a file of Libreswan")
    return value


def batch(found: Iterable[Section]) -> str:
    """Write the file for ``addconn --autoall``."""
    return "config setup\n\n" + "\n".join(one.text for one in found)
