# SPDX-License-Identifier: Apache-2.0
"""Connection configurations to vici messages, and vici messages to what was seen.

Pure. Input: ConnConfig, and sections as vici decodes them. Output: sections to send, and the types
of plan.connection.

Source: strongSwan 5.9.8 src/libcharon/plugins/vici: README.md, vici_config.c, vici_query.c.
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256

from ovn_ipsec.errors import IkeError
from ovn_ipsec.model.chassis import IpAddress
from ovn_ipsec.model.policy import Auth, Tuning

from ..plan.connection import (
    IN,
    OUT,
    ChildSa,
    ConnConfig,
    ConnName,
    IkeSa,
    gone,
    parse_spelled,
    spelled,
)
from ..plan.credentials.credential import Credential
from ..plan.credentials.proof import Proof, SharedKey
from .sections import Section, Seen, listed, number, section, text, words

UDP = 17
"""Numeric, for `udp` needs /etc/protocols."""
DPD_DELAY_S = 30
REPLAY_WINDOW = 1024
ESP_LIFETIME_S = 3960
IKE_LIFETIME_S = 15_840
REASON_MAX, REASONS_MAX = 200, 3

PROBE = "ovn-probe"
"""Name of a connection that is loaded to try a credential; ``conn_name`` never makes it."""
OCSP_PREFIX = "ovn-ocsp-"
FETCHERS = frozenset({"curl", "soup"})
"""Plugins that can get what stands behind an http URI."""

REASON = re.compile(
    rb"notify error|AUTHENTICATION_FAILED|NO_PROPOSAL_CHOSEN|TS_UNACCEPTABLE"
    rb"|unacceptable|inacceptable|MAC mismatched|switching to peer config"
    rb"|no trusted |no private key|no shared key|no issuer certificate|is not trusted"
    rb"|validation failed|verification failed|constraint check failed|certificate invalid"
    rb"|certificate (has been|was) revoked|does not match|no acceptable|no proposal|no alternative"
    rb"|giving up after|not responding|unable to install|failed to establish|error writing"
    rb"|parsed INFORMATIONAL request \d+ \[ N\(AUTH_FAILED\)"
)
"""Picks the log lines that say why an attempt failed, out of some twenty for each attempt."""
_REFUSED = "parsed INFORMATIONAL"
"""So begins all that the daemon says where an initiator takes what the responder has shown for
nobody's: by then the responder holds both for authenticated (RFC 7296 section 2.21.2)."""
REFUSED = "the peer refused our authentication: AUTHENTICATION_FAILED"
"""How that is said instead."""
OTHER_WAY = "switching to peer config"
"""What was said before was about a way of authentication that the peer has not chosen."""
OTHER_KEY = "looking for another key"
"""The end of a line that is no reason yet."""


def connection(conn: ConnConfig, proof: Proof) -> Section:
    """Format a connection for load-conn, as far as one way of authentication goes.

    Args:
        conn: the connection.
        proof: one of its proofs.

    Returns:
        One section, named as the connection and the way.
    """
    pair, tuning = conn.pair, conn.tuning
    local, remote = _host(pair.local), _host(pair.remote)
    lifetime = tuning.ike_lifetime_s or IKE_LIFETIME_S
    rekey = _rekey_s(lifetime)
    child = _child(conn.esp_proposals, tuning)
    body: Section = {
        "version": "2",
        "local_addrs": [str(pair.local)],
        "remote_addrs": [str(pair.remote)],
        "proposals": list(conn.ike_proposals),
        "encap": "yes" if tuning.force_encapsulation else "no",
        "mobike": "no",
        # Libreswan, when it initiates, asks for none (ikev2_certreq.c, "no CA DN known to send").
        "send_cert": "always",
        "unique": "never",
        "keyingtries": "0",
        "dpd_delay": str(tuning.dpd_delay_s or DPD_DELAY_S),
        "rekey_time": str(rekey),
        "over_time": str(lifetime - rekey),
        **_rounds(conn, proof),
        "children": {
            OUT: {
                **child,
                "reqid": str(conn.reqid_out),
                "local_ts": [f"{local}[{UDP}]"],
                "remote_ts": [f"{remote}[{UDP}/{pair.out_port}]"],
            },
            IN: {
                **child,
                "reqid": str(conn.reqid_in),
                "local_ts": [f"{local}[{UDP}/{pair.in_port}]"],
                "remote_ts": [f"{remote}[{UDP}]"],
            },
        },
    }
    if tuning.dpd_timeout_s is not None:
        body["dpd_timeout"] = str(tuning.dpd_timeout_s)
    return {spelled(conn.name, proof.auth): body}


def probe(credential: Credential) -> Section:
    """Format a connection that only shows whether the daemon takes a credential.

    It parses each certificate there and refuses what it would not use (``load-conn: invalid value
    for: certs``). The addresses are of RFC 5737, and no peer has the identity.
    """
    remote: Section = {"auth": "pubkey", "id": f"fqdn:{PROBE}.invalid"}
    vouching = "cacerts" if credential.ca_der else "certs"
    remote[vouching] = list(credential.ca_der or (credential.certificate_der,))
    certs = [credential.certificate_der, *credential.chain_der]
    return {
        PROBE: {
            "version": "2",
            "local_addrs": ["192.0.2.1"],
            "remote_addrs": ["192.0.2.2"],
            "local": {"auth": "pubkey", "id": f"fqdn:{PROBE}.invalid", "certs": certs},
            "remote": remote,
        }
    }


def _rounds(conn: ConnConfig, proof: Proof) -> Section:
    """Both authentication rounds: each names its identity, and what vouches for it."""
    how = "psk" if proof.auth is Auth.PSK else "pubkey"
    ends = (f"fqdn:{conn.local_id}", f"fqdn:{conn.remote_id}")
    if proof.plain:
        ends = (str(conn.pair.local), str(conn.pair.remote))
    local: Section = {"auth": how, "id": ends[0]}
    remote: Section = {"auth": how, "id": ends[1]}
    # The daemon takes an IKE_SA of an equal configuration, whatever secret it came from. This says
    # nothing to the peer, and sets configurations apart that it would take for one.
    apart = [*(key.id for key in proof.keys[:1]), *([str(conn.epoch)] if conn.epoch else [])]
    if apart:
        local["eap_id"] = "+".join(apart)
    if proof.auth is not Auth.PSK:
        local["certs"] = [proof.certificate_der, *proof.chain_der]
        remote["cacerts" if proof.auth is Auth.CA else "certs"] = list(proof.trusted_der)
    if proof.auth is Auth.CA:
        remote["revocation"] = proof.revocation.value
    return {"local": local, "remote": remote}


def shared_key(key: SharedKey) -> Section:
    """Format a key for load-shared: of the peer alone, so that it is found for no other."""
    return {
        "id": key.id,
        "type": "ike",
        "data": key.value.reveal(),
        "owners": [key.owner],
    }


def ocsp(authorities: Iterable[bytes], uri: str) -> dict[str, Section]:
    """Format whom to ask about the certificates of authorities (DER), for load-authority.

    Returns:
        By their names, each of which is another when something in it is; empty without a URI.
    """
    return {
        f"{OCSP_PREFIX}{sha256(uri.encode() + der).hexdigest()[:16]}": {
            "cacert": der,
            "ocsp_uris": [uri],
        }
        for der in (authorities if uri else ())
    }


def _child(proposals: Iterable[str], tuning: Tuning) -> Section:
    lifetime = tuning.esp_lifetime_s or ESP_LIFETIME_S
    window = REPLAY_WINDOW if tuning.replay_window is None else tuning.replay_window
    return {
        "mode": "transport",
        "start_action": "none",
        "dpd_action": "clear",
        "close_action": "none",
        "esp_proposals": [_without_esn(text) if window == 0 else text for text in proposals],
        "rekey_time": str(_rekey_s(lifetime)),
        "life_time": str(lifetime),
        "replay_window": str(window),
    }


def _without_esn(proposal: str) -> str:
    # RFC 4303 section 3.3.3: no extended sequence numbers without the replay check.
    return "-".join(word for word in proposal.split("-") if word not in ("esn", "noesn"))


def _rekey_s(lifetime_s: int) -> int:
    return lifetime_s * 10 // 11


def _host(address: IpAddress) -> str:
    return f"{address}/{address.max_prefixlen}"


def parse_ike_sas(
    items: Iterable[Seen],
) -> tuple[dict[ConnName, tuple[IkeSa, ...]], dict[ConnName, str]]:
    """Parse what list-sas streams, leaving out what is not ours.

    Args:
        items: the list-sa events.

    Returns:
        The IKE_SAs by connection, sorted by id; and the connections with an SA that is not as it
        must be, each with the reason: of those nothing is known, and none is among the first.
    """
    found: dict[ConnName, list[IkeSa]] = {}
    unreadable: dict[ConnName, str] = {}
    for item in items:
        for name, value in item.items():
            known = parse_spelled(name)
            if known is None or not isinstance(value, Mapping):
                continue
            try:
                found.setdefault(known[0], []).append(_ike_sa(known, value))
            except IkeError as error:
                unreadable[known[0]] = error.diagnostics()
    whole = {
        conn: tuple(sorted(sas, key=lambda sa: sa.id))
        for conn, sas in found.items()
        if conn not in unreadable
    }
    return whole, unreadable


def _ike_sa(known: tuple[ConnName, Auth], seen: Seen) -> IkeSa:
    initiator = text(seen, "initiator", "no") == "yes"
    spis = (number(seen, "initiator-spi", 16), number(seen, "responder-spi", 16, 0))
    parts = [_suite(seen, "encr-alg", "encr-keysize"), text(seen, "prf-alg", "")]
    parts += [text(seen, "dh-group", ""), text(seen, "ke1-alg", "")]
    return IkeSa(
        conn=known[0],
        auth=known[1],
        id=number(seen, "uniqueid"),
        state=text(seen, "state"),
        initiator=initiator,
        initiator_spi=spis[0],
        children=_children(section(seen, "child-sas")),
        established_s=number(seen, "established", 10, 0),
        remote_id=words(seen.get("remote-id", b"")).removeprefix("%any"),
        local_spi=spis[0] if initiator else spis[1],
        remote_spi=spis[1] if initiator else spis[0],
        suite="/".join(part for part in parts if part),
    )


def _children(seen: Seen) -> tuple[ChildSa, ...]:
    found = [_child_sa(section(seen, key)) for key in seen]
    return tuple(sorted((child for child in found if not gone(child)), key=lambda sa: sa.id))


def _child_sa(seen: Seen) -> ChildSa:
    parts = [_suite(seen, "encr-alg", "encr-keysize"), _suite(seen, "integ-alg", "integ-keysize")]
    return ChildSa(
        name=text(seen, "name"),
        id=number(seen, "uniqueid"),
        state=text(seen, "state"),
        reqid=number(seen, "reqid", 10, 0),
        spi_in=number(seen, "spi-in", 16, 0),
        spi_out=number(seen, "spi-out", 16, 0),
        install_s=number(seen, "install-time", 10, 0),
        packets_in=number(seen, "packets-in", 10, 0),
        esn=text(seen, "esn", "0") == "1",
        udp_encap=text(seen, "encap", "no") == "yes",
        suite="/".join(part for part in parts if part),
    )


def _suite(seen: Seen, algorithm: str, size: str) -> str:
    name, bits = text(seen, algorithm, ""), text(seen, size, "")
    return f"{name}-{bits}" if bits else name


def parse_conns(seen: Seen) -> dict[ConnName, frozenset[Auth]]:
    """Parse the answer to get-conns, leaving out what is not ours.

    Returns:
        The ways for which each connection is loaded.
    """
    return _ways(map(words, listed(seen, "conns")))


def _ways(names: Iterable[str]) -> dict[ConnName, frozenset[Auth]]:
    found: dict[ConnName, frozenset[Auth]] = {}
    for known in map(parse_spelled, names):
        if known is not None:
            found[known[0]] = found.get(known[0], frozenset()) | {known[1]}
    return found


def parse_keys(seen: Seen) -> frozenset[str]:
    """Parse the answer to get-keys or get-shared."""
    return frozenset(map(words, listed(seen, "keys")))


def parse_ocsp(seen: Seen) -> frozenset[str]:
    """Parse the answer to get-authorities, leaving out what is not ours."""
    names = map(words, listed(seen, "authorities"))
    return frozenset(name for name in names if name.startswith(OCSP_PREFIX))


def parse_fetches(seen: Seen) -> bool:
    """Parse the answer to stats: whether it can fetch over http."""
    return not FETCHERS.isdisjoint(map(words, listed(seen, "plugins")))


def parse_algorithms(seen: Seen) -> frozenset[str]:
    """Parse the answer to get-algorithms: the names of all, whatever they are for."""
    return frozenset(name for kind in seen for name in section(seen, kind))


def parse_traps(items: Iterable[Seen]) -> dict[tuple[ConnName, str], frozenset[Auth]]:
    """Parse what list-policies streams, leaving out what is not ours.

    Returns:
        By connection and child, the ways for which there is a trap.
    """
    found: dict[tuple[ConnName, str], frozenset[Auth]] = {}
    for item in items:
        for policy in item.values():
            if isinstance(policy, Mapping):
                known = parse_spelled(words(policy.get("ike", b"")))
                if known is not None:
                    # One whose child cannot be read is none of ours: it only is installed again.
                    trap = (known[0], words(policy.get("child", b"")))
                    found[trap] = found.get(trap, frozenset()) | {known[1]}
    return found


def of_identity(identity: str) -> Section:
    """Ask list-certs for the certificates in the name of an identity."""
    return {"type": "X509", "subject": f"fqdn:{identity}"}


def parse_certificates(items: Iterable[Seen]) -> tuple[bytes, ...]:
    """Parse what list-certs streams.

    Returns:
        DER, each once, sorted.
    """
    found = (item.get("data") for item in items)
    return tuple(sorted({data for data in found if isinstance(data, bytes) and data}))


def touched(event: Seen) -> dict[ConnName, frozenset[Auth]]:
    """Name the connections of ours that an updown or rekey event is about, and their ways."""
    return _ways(name for name, value in event.items() if isinstance(value, Mapping))


def reason(event: Seen) -> tuple[ConnName, str] | None:
    """Parse a log event.

    Returns:
        Connection and text, when it says why an attempt of a connection of ours failed.
    """
    known, message = parse_spelled(words(event.get("ikesa-name", b""))), event.get("msg", b"")
    if known is None or not isinstance(message, bytes) or not REASON.search(message):
        return None
    found = words(message).strip()[:REASON_MAX]
    return known[0], REFUSED if found.startswith(_REFUSED) else found


def joined(reasons: Iterable[tuple[ConnName, str]]) -> tuple[tuple[ConnName, str], ...]:
    """Join the reasons of each connection.

    The daemon tells the cause first ("no issuer certificate found") and the outcome behind it.

    Returns:
        One text for each connection, of its last distinct reasons; sorted by name.
    """
    last: dict[ConnName, dict[str, None]] = {}
    for conn, words_ in reasons:
        if words_.startswith(OTHER_WAY):
            last.pop(conn, None)
            continue
        if words_.endswith(OTHER_KEY):
            continue
        mine = last.setdefault(conn, {})
        mine.pop(words_, None)
        mine[words_] = None
    return tuple((conn, "; ".join([*last[conn]][-REASONS_MAX:])) for conn in sorted(last))
