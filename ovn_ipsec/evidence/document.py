# SPDX-License-Identifier: Apache-2.0
"""Pure: the ledger as one document for JSON: what is known, since when, and what is not known.

Times are ISO 8601 in UTC. What is not known is null, and a figure that may be too small says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .ledger import ENCRYPTED, GONE, Ledger
from .sums import at_or_before
from .values import (
    Certified,
    Counts,
    Epoch,
    Gap,
    HostEvidence,
    Method,
    OwnCertificate,
    PairEvidence,
    PolicySeen,
    Span,
)

FORMAT = "ovn-ipsec evidence 1"
CONTROLLER, JOURNAL = "controller", "journal"
NFT, XFRM = "nft", "xfrm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a document is asked for."""

    now: int
    since: int | None = None
    """Only what reaches beyond this time; None: everything."""
    running: bool
    """Whether a controller runs, and the ledger is its own."""
    version: str


def moment(at: int | None) -> str | None:
    """Write a time."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def document(ledger: Ledger, asked: Request) -> dict[str, Any]:
    """Write everything.

    Args:
        ledger: What is known.
        asked: When, of which time, and by whom.
    """
    host, since = ledger.host, asked.since
    gaps = _gaps(host, asked)
    pairs = sorted(ledger.pairs.values(), key=lambda p: (p.peer, p.local, p.remote, p.type))
    guard = {layer: _layer(host.epochs, layer, asked) for layer in (NFT, XFRM)}
    totals = _totals(guard)
    # Where no layer went on counting, nobody knows whether there was a guard.
    uncounted = (gap.end for gap in host.gaps if not _counting(gap, host.epochs))
    unsure = max(uncounted, default=None)
    return {
        "format": FORMAT,
        "made_at": moment(asked.now),
        "made_by": f"ovn-ipsec {asked.version}",
        "source": CONTROLLER if asked.running else JOURNAL,
        "chassis": host.chassis or None,
        "since": moment(since),
        "observed": {
            "from": moment(host.begun_at),
            "to": moment(asked.now if asked.running else host.alive_at),
            "gaps": [_gap(gap, host.epochs) for gap in gaps],
            "older_gaps_not_kept": host.gaps_dropped,
            "unreadable_lines": host.unreadable,
        },
        "policies": [_policy(one) for one in _policies(host.policies, since)],
        "older_policies_not_kept": host.policies_dropped,
        "certificates": [_own(one) for one in _latest(host.own, since)],
        "guard": {**guard, **totals},
        "pairs": [_pair(one, gaps, unsure, asked) for one in pairs if _matters(one, since)],
        "pairs_not_kept": host.pairs_dropped,
    }


# --- the chassis -------------------------------------------------------------------------------


def _gaps(host: HostEvidence, asked: Request) -> list[Gap]:
    gaps = list(host.gaps)
    if not asked.running and host.alive_at is not None and host.alive_at < asked.now:
        gaps.append(Gap(begin=host.alive_at, end=asked.now, clean=host.stopped))
    return [gap for gap in gaps if asked.since is None or gap.end >= asked.since]


def _gap(gap: Gap, epochs: Iterable[Epoch]) -> dict[str, Any]:
    return {
        "from": moment(gap.begin),
        "to": moment(gap.end),
        "controller_ended": "orderly" if gap.clean else "not orderly",
        "rebooted": gap.rebooted,
        "counted_by": sorted(_counting(gap, epochs)),
    }


def _counting(gap: Gap, epochs: Iterable[Epoch]) -> set[str]:
    """The layers whose counters went on over a gap."""
    return {one.layer for one in epochs if _covers(one, gap)}


def _covers(epoch: Epoch, gap: Gap) -> bool:
    """Whether the same counters were read before and after a gap."""
    return epoch.tallies[0].at <= gap.begin and gap.end <= epoch.tallies[-1].at


def _policies(found: Sequence[PolicySeen], since: int | None) -> Sequence[PolicySeen]:
    """Those that were in force at some time that is asked about."""
    if since is None:
        return found
    first = max((n for n, one in enumerate(found) if one.obeyed_at <= since), default=0)
    return found[first:]


def _policy(one: PolicySeen) -> dict[str, Any]:
    return {
        "generation": one.generation,
        "phase": one.phase,
        "obeyed_at": moment(one.obeyed_at),
        "in_force_at": moment(one.applied_at),
    }


def _latest(found: Sequence[OwnCertificate], since: int | None) -> Sequence[OwnCertificate]:
    if since is None:
        return found
    first = max((n for n, one in enumerate(found) if one.at <= since), default=0)
    return found[first:]


def _own(one: OwnCertificate) -> dict[str, Any]:
    return {"in_use_from": moment(one.at), "certificate": _certificate(one.certificate)}


def _certificate(one: Certified | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "subject": one.subject,
        "issuer": one.issuer,
        "serial": one.serial,
        "sha256": one.sha256,
        "not_before": moment(one.not_before),
        "not_after": moment(one.not_after),
        "key": one.key,
    }


# --- the guard ---------------------------------------------------------------------------------

_FIELDS = ("out_denied", "out_clear", "in_denied", "in_clear")


def _layer(epochs: Iterable[Epoch], layer: str, asked: Request) -> dict[str, Any]:
    """What one layer has counted in the time that is asked about, and when nobody counted."""
    mine = [one for one in epochs if one.layer == layer]
    counted, lost = [], []
    for epoch in mine:
        last = epoch.tallies[-1]
        if asked.since is not None and last.at < asked.since:
            continue
        if epoch.after is not None and (asked.since is None or epoch.after >= asked.since):
            lost.append({"from": moment(epoch.after), "to": moment(epoch.tallies[0].at)})
        counted.append(_counted(epoch, asked.since))
    return {"counted": counted, "not_counted": lost, "packets": _added(counted)}


def _counted(epoch: Epoch, since: int | None) -> dict[str, Any]:
    first, last = epoch.tallies[0], epoch.tallies[-1]
    base, begin = first.counts, first.at
    if epoch.after is not None:
        base, begin = Counts(), epoch.after
    if since is not None and (point := at_or_before(epoch.tallies, since)) is not None:
        base, begin = point.counts, point.at
    packets = {name: _less(getattr(last.counts, name), getattr(base, name)) for name in _FIELDS}
    return {"from": moment(begin), "to": moment(last.at), "packets": packets}


def _less(value: int | None, base: int | None) -> int | None:
    return None if value is None else value - (base or 0)


def _added(counted: Sequence[Mapping[str, Any]]) -> dict[str, int | None]:
    return {name: _sum(one["packets"][name] for one in counted) for name in _FIELDS}


def _sum(values: Iterable[int | None]) -> int | None:
    """Of those that are known; None if none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _totals(guard: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Both layers together: each packet is denied by one of them, and nftables sees what passes."""
    packets = [guard[layer]["packets"] for layer in (NFT, XFRM)]
    doubt = any(guard[layer]["not_counted"] or not guard[layer]["counted"] for layer in (NFT, XFRM))
    return {
        "clear_passed": _sum(guard[NFT]["packets"][name] for name in ("out_clear", "in_clear")),
        "clear_denied": _sum(one[name] for one in packets for name in ("out_denied", "in_denied")),
        "at_least": doubt,
    }


# --- pairs -------------------------------------------------------------------------------------


def _matters(pair: PairEvidence, since: int | None) -> bool:
    return since is None or pair.state != GONE or pair.since >= since


def _pair(
    pair: PairEvidence, gaps: Iterable[Gap], unsure: int | None, asked: Request
) -> dict[str, Any]:
    """Say what is known of a pair.

    Args:
        pair: The pair.
        gaps: When nobody observed.
        unsure: Until when it is not known whether a guard stood; None: it always is.
        asked: What was asked for.
    """
    since = asked.since
    spans = [one for one in pair.spans if since is None or one.end is None or one.end >= since]
    methods = [m for n, m in enumerate(pair.methods) if _lasts(pair.methods, n, since)]
    known = asked.running and pair.unseen_since is None
    is_open = pair.state == ENCRYPTED and bool(spans) and spans[-1].end is None
    return {
        "peer": pair.peer,
        "type": pair.type,
        "local": pair.local,
        "remote": pair.remote,
        "first_seen": moment(pair.first),
        "state": pair.state,
        "state_is_current": known,
        "mode": pair.mode,
        "encrypted_since": moment(spans[-1].begin) if is_open else None,
        "encrypted": [_span(one) for one in spans],
        "older_spans_not_kept": pair.spans_dropped,
        "clear_denied_since": moment(_denied_since(pair, unsure)),
        "not_observed": [
            {
                "from": moment(gap.begin),
                "to": moment(gap.end),
                "same_sas_before_and_after": gap.begin in pair.held,
            }
            for gap in gaps
            if gap.end >= pair.first and (pair.state != GONE or gap.begin <= pair.since)
        ],
        "methods": [_method(one) for one in methods],
        "protected": _protected(pair, since),
    }


def _denied_since(pair: PairEvidence, unsure: int | None) -> int | None:
    closed = pair.closed_since
    return closed if closed is None or unsure is None else max(closed, unsure)


def _lasts(methods: Sequence[Method], number: int, since: int | None) -> bool:
    is_last = number + 1 == len(methods)
    return since is None or is_last or methods[number + 1].at >= since


def _span(one: Span) -> dict[str, Any]:
    return {"from": moment(one.begin), "to": moment(one.end), "end_was_seen": not one.lost}


def _method(one: Method) -> dict[str, Any]:
    return {
        "from": moment(one.at),
        "authentication": one.auth,
        "ike_suite": one.ike,
        "esp_suite": one.esp,
        "key_bits": key_bits(one.esp),
        "extended_sequence_numbers": one.esn,
        "peer_identity": one.identity,
        "peer_certificate": _certificate(one.certificate),
    }


def key_bits(suite: str) -> int | None:
    """The size of the encryption key that a suite such as ``AES_GCM_16-256`` names; None: none."""
    cipher = suite.partition("/")[0]
    if cipher.startswith("CHACHA20_POLY1305"):
        return 256
    bits = cipher.rpartition("-")[2]
    return int(bits) if bits.isascii() and bits.isdigit() else None


def _protected(pair: PairEvidence, since: int | None) -> dict[str, Any]:
    point = None if since is None else at_or_before(pair.points, since)
    base = (0,) * 6 if point is None else point.figures
    begin = pair.first if point is None else point.at
    values = [new - old for new, old in zip(pair.sums.figures, base, strict=True)]
    names = ("out_bytes", "out_packets", "in_bytes", "in_packets", "rekeys", "ike_rekeys")
    return {
        "counted_from": moment(begin),
        **dict(zip(names, values, strict=True)),
        "at_least": pair.sums.at_least,
    }
