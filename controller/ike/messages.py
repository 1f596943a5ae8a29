# SPDX-License-Identifier: Apache-2.0
"""Connection configurations to vici messages, and vici messages to what was seen.

Pure. Input: ConnConfig, and sections as vici decodes them: names to bytes, lists or sections.
Output: sections to send, and the types of plan.ike.

Source: strongSwan 5.9.8 src/libcharon/plugins/vici: README.md, vici_config.c, vici_query.c.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ovn_ipsec.errors import IkeError
from ovn_ipsec.model.chassis import IpAddress
from ovn_ipsec.model.policy import Tuning

from ..plan.ike import IN, OUT, ChildSa, ConnConfig, ConnName, IkeSa, gone, is_ours

Section: TypeAlias = dict[str, "str | bytes | list[str] | list[bytes] | Section"]
"""What goes out."""
Seen: TypeAlias = Mapping[str, object]
"""What comes in."""

UDP = 17
"""Numeric, for `udp` needs /etc/protocols."""
DPD_DELAY_S = 30
REPLAY_WINDOW = 1024
ESP_LIFETIME_S = 3960
IKE_LIFETIME_S = 15_840
REASON_MAX, REASONS_MAX = 200, 3

REASON = re.compile(
    rb"notify error|AUTHENTICATION_FAILED|NO_PROPOSAL_CHOSEN|TS_UNACCEPTABLE"
    rb"|unacceptable|inacceptable"
    rb"|no trusted |no private key|no shared key|no issuer certificate|is not trusted"
    rb"|validation failed|verification failed|constraint check failed|certificate invalid"
    rb"|certificate has been revoked|does not match|no acceptable|no proposal|no alternative"
    rb"|giving up after|not responding|unable to install|failed to establish|error writing"
)
"""Picks the log lines that say why an attempt failed, out of some twenty for each attempt."""


def connection(conn: ConnConfig) -> Section:
    """Format a connection for load-conn.

    Args:
        conn: the connection.

    Returns:
        One section, named as the connection.
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
        "unique": "never",
        "keyingtries": "0",
        "dpd_delay": str(tuning.dpd_delay_s or DPD_DELAY_S),
        "rekey_time": str(rekey),
        "over_time": str(lifetime - rekey),
        "local": {
            "auth": "pubkey",
            "id": f"fqdn:{conn.local_id}",
            "certs": [conn.certificate_der],
        },
        "remote": {
            "auth": "pubkey",
            "id": f"fqdn:{conn.remote_id}",
            "cacerts": list(conn.ca_der),
        },
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
    return {str(conn.name): body}


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


def parse_ike_sas(items: Iterable[Seen]) -> dict[ConnName, tuple[IkeSa, ...]]:
    """Parse what list-sas streams, leaving out what is not ours.

    Args:
        items: the list-sa events.

    Returns:
        The IKE_SAs by connection, sorted by id.

    Raises:
        IkeError: an SA of ours is not as it must be.
    """
    found: dict[ConnName, list[IkeSa]] = {}
    for item in items:
        for name, section in item.items():
            if is_ours(name) and isinstance(section, Mapping):
                conn = ConnName(name)
                found.setdefault(conn, []).append(_ike_sa(conn, section))
    return {conn: tuple(sorted(sas, key=lambda sa: sa.id)) for conn, sas in found.items()}


def _ike_sa(conn: ConnName, seen: Seen) -> IkeSa:
    initiator = text(seen, "initiator", "no") == "yes"
    spis = (number(seen, "initiator-spi", 16), number(seen, "responder-spi", 16, 0))
    parts = [_suite(seen, "encr-alg", "encr-keysize"), text(seen, "prf-alg", "")]
    parts += [text(seen, "dh-group", ""), text(seen, "ke1-alg", "")]
    return IkeSa(
        conn=conn,
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
        esn=text(seen, "esn", "0") == "1",
        udp_encap=text(seen, "encap", "no") == "yes",
        suite="/".join(part for part in parts if part),
    )


def _suite(seen: Seen, algorithm: str, size: str) -> str:
    name, bits = text(seen, algorithm, ""), text(seen, size, "")
    return f"{name}-{bits}" if bits else name


def parse_conns(seen: Seen) -> frozenset[ConnName]:
    """Parse the answer to get-conns, leaving out what is not ours."""
    names = map(words, listed(seen, "conns"))
    return frozenset(ConnName(name) for name in names if is_ours(name))


def parse_keys(seen: Seen) -> frozenset[str]:
    """Parse the answer to get-keys."""
    return frozenset(map(words, listed(seen, "keys")))


def parse_algorithms(seen: Seen) -> frozenset[str]:
    """Parse the answer to get-algorithms: the names of all, whatever they are for."""
    return frozenset(name for kind in seen for name in section(seen, kind))


def parse_traps(items: Iterable[Seen]) -> frozenset[tuple[ConnName, str]]:
    """Parse what list-policies streams, leaving out what is not ours.

    Returns:
        Connection and child of each trap.
    """
    found = set()
    for item in items:
        for policy in item.values():
            if isinstance(policy, Mapping):
                ike = words(policy.get("ike", b""))
                if is_ours(ike):
                    found.add((ConnName(ike), text(policy, "child")))
    return frozenset(found)


def touched(event: Seen) -> frozenset[ConnName]:
    """Name the connections of ours that an updown or rekey event is about."""
    return frozenset(
        ConnName(name)
        for name, value in event.items()
        if isinstance(value, Mapping) and is_ours(name)
    )


def reason(event: Seen) -> tuple[ConnName, str] | None:
    """Parse a log event.

    Returns:
        Connection and text, when it says why an attempt of a connection of ours failed.
    """
    name, message = words(event.get("ikesa-name", b"")), event.get("msg", b"")
    if not is_ours(name) or not isinstance(message, bytes) or not REASON.search(message):
        return None
    return ConnName(name), words(message).strip()[:REASON_MAX]


def joined(reasons: Iterable[tuple[ConnName, str]]) -> tuple[tuple[ConnName, str], ...]:
    """Join the reasons of each connection.

    The daemon tells the cause first ("no issuer certificate found") and the outcome behind it.

    Returns:
        One text for each connection, of its last distinct reasons; sorted by name.
    """
    last: dict[ConnName, dict[str, None]] = {}
    for conn, words_ in reasons:
        mine = last.setdefault(conn, {})
        mine.pop(words_, None)
        mine[words_] = None
    return tuple((conn, "; ".join([*last[conn]][-REASONS_MAX:])) for conn in sorted(last))


def words(value: object) -> str:
    """Decode text that a peer may have had a hand in: junk becomes a question mark."""
    if not isinstance(value, bytes):
        return ""
    plain = value.decode("utf-8", errors="replace")
    return "".join(char if char.isprintable() and char != "\ufffd" else "?" for char in plain)


def text(seen: Seen, key: str, default: str | None = None) -> str:
    """Decode a value of the daemon's own, strictly.

    Raises:
        IkeError: it is not there and has no default, or is not ASCII.
    """
    value = seen.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, bytes) or not value.isascii():
        raise IkeError(f"the IKE daemon sent {key}={value!r:.80}, expected ASCII text")
    return value.decode("ascii")


def number(seen: Seen, key: str, base: int = 10, default: int | None = None) -> int:
    """Parse a number.

    Raises:
        IkeError: it is not there and has no default, or is not a number.
    """
    if key not in seen and default is not None:
        return default
    digits = text(seen, key)
    try:
        return int(digits, base)
    except ValueError:
        raise IkeError(f"the IKE daemon sent {key}={digits:.80}, expected a number") from None


def section(seen: Seen, key: str) -> Seen:
    """Give a section inside another; one that is not there is empty.

    Raises:
        IkeError: it is a value.
    """
    value = seen.get(key, {})
    if not isinstance(value, Mapping):
        raise IkeError(f"the IKE daemon sent {key}={value!r:.80}, expected a section")
    return value


def listed(seen: Seen, key: str) -> list[object]:
    """Give a list; one that is not there is empty.

    Raises:
        IkeError: it is something else.
    """
    value = seen.get(key, [])
    if not isinstance(value, list):
        raise IkeError(f"the IKE daemon sent {key}={value!r:.80}, expected a list")
    return value
