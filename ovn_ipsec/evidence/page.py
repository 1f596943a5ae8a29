# SPDX-License-Identifier: Apache-2.0
"""Pure: the document as a page that a person can read, print and file: Markdown, in plain ASCII.

Texts of others, such as names and the subjects of certificates, are in code spans: nothing in them
is taken for markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ovn_ipsec.model.text import plural

_UNKNOWN = "not known"
TEXT_MAX = 200

Part = Mapping[str, Any]


def page(found: Part) -> str:
    """Write a document as a page; it ends with a newline."""
    parts = (_head, _observed, _guard, _pairs, _policies, _certificates, _meaning)
    return "\n".join(line for part in parts for line in [*part(found), ""])


def _head(found: Part) -> Iterator[str]:
    yield f"# Evidence of encryption: chassis {_code(found['chassis'])}"
    yield ""
    yield f"- Made at {_time(found['made_at'])} by {_code(found['made_by'])}."
    if found["source"] == "controller":
        yield "- Told by the controller, which was running."
    else:
        yield "- Read from the journal on disk: no controller answered."
    if found["since"]:
        yield f"- Limited to what reaches beyond {_time(found['since'])}."
    if problem := found.get("problem"):
        yield f"- **Problem:** {_code(problem)}"


def _observed(found: Part) -> Iterator[str]:
    seen = found["observed"]
    yield "## What was observed"
    yield ""
    yield f"From {_time(seen['from'])} to {_time(seen['to'])}."
    if seen["unreadable_lines"]:
        lines = plural(seen["unreadable_lines"], "line")
        yield f"**{lines} of the journal could not be read**: every figure here is a lower bound."
    if seen["older_gaps_not_kept"]:
        yield f"{plural(seen['older_gaps_not_kept'], 'older gap')} are no longer listed."
    if not seen["gaps"]:
        yield "A controller ran all the time."
        return
    yield "No controller ran, and nothing but counters of the kernel was kept:"
    yield ""
    for gap in seen["gaps"]:
        yield f"- {_gap(gap)}"


def _gap(gap: Part) -> str:
    how = "after an orderly end" if gap["controller_ended"] == "orderly" else "not ended orderly"
    boot = ", with a boot of the machine" if gap["rebooted"] else ""
    layers = " and ".join(gap["counted_by"])
    counted = f"the counters of {layers} went on and cover it" if layers else "nothing counted"
    return f"from {_time(gap['from'])} to {_time(gap['to'])} ({how}{boot}); {counted}"


def _guard(found: Part) -> Iterator[str]:
    guard = found["guard"]
    least = "at least " if guard["at_least"] else ""
    yield "## Clear packets, all pairs together"
    yield ""
    yield f"- Passed in clear: {_number(guard['clear_passed'], least)}."
    yield f"- Denied: {_number(guard['clear_denied'], least)}."
    yield ""
    yield "| layer | counted from | to | out, denied | in, denied | out, passed | in, passed |"
    yield "|---|---|---|---|---|---|---|"
    for layer in ("nft", "xfrm"):
        for one in guard[layer]["counted"]:
            names = ("out_denied", "in_denied", "out_clear", "in_clear")
            cells = [_number(one["packets"][name]) for name in names]
            times = [_time(one["from"]), _time(one["to"])]
            yield f"| {' | '.join([layer, *times, *cells])} |"
    for layer in ("nft", "xfrm"):
        for one in guard[layer]["not_counted"]:
            yield ""
            yield (
                f"The counters of {layer} began anew between {_time(one['from'])} and"
                f" {_time(one['to'])}: what the old ones counted last is not known."
            )


def _pairs(found: Part) -> Iterator[str]:
    yield f"## Pairs: {len(found['pairs'])}"
    if found["pairs_not_kept"]:
        yield ""
        yield f"{plural(found['pairs_not_kept'], 'pair')} that are gone are no longer listed."
    for pair in found["pairs"]:
        yield ""
        yield from _pair(pair, found["guard"])


def _pair(pair: Part, guard: Part) -> Iterator[str]:
    ends = f"{_code(pair['local'])} to {_code(pair['remote'])}"
    yield f"### {_code(pair['peer'])}: {pair['type']}, {ends}"
    yield ""
    when = "" if pair["state_is_current"] else ", when it was last seen"
    yield f"- State: **{pair['state']}**{when}; policy: {pair['mode']}."
    yield f"- Encrypted since: {_time(pair['encrypted_since'], 'it is not')}."
    yield from _spans(pair)
    yield f"- Clear text denied since: {_time(pair['clear_denied_since'], 'it is not')}."
    most = guard["clear_passed"]
    if most is not None:
        least = " that were counted" if guard["at_least"] else ""
        passed = f"at most {most} packets" if most else "no packets"
        yield f"- Passed in clear: {passed}{least}."
    yield from _carried(pair["protected"])
    for method in pair["methods"]:
        yield from _method(method)
    for gap in pair["not_observed"]:
        same = "the same SAs were there before and after"
        other = "nothing shows what it was meanwhile"
        what = same if gap["same_sas_before_and_after"] else other
        yield f"- Not observed from {_time(gap['from'])} to {_time(gap['to'])}: {what}."


def _spans(pair: Part) -> Iterator[str]:
    if pair["older_spans_not_kept"]:
        yield f"- {plural(pair['older_spans_not_kept'], 'older time')} are no longer listed."
    for span in pair["encrypted"]:
        if span["to"]:
            seen = "" if span["end_was_seen"] else ", when it was last seen to be"
            yield f"- Was encrypted from {_time(span['from'])} to {_time(span['to'])}{seen}."


def _carried(sums: Part) -> Iterator[str]:
    least = "at least " if sums["at_least"] else ""
    yield (
        f"- Protected since {_time(sums['counted_from'])}: {least}"
        f"{sums['out_bytes']} bytes in {sums['out_packets']} packets sent,"
        f" {sums['in_bytes']} bytes in {sums['in_packets']} packets received."
    )
    yield f"- Rekeys seen: {sums['rekeys']} of CHILD_SAs, {sums['ike_rekeys']} of the IKE_SA."


def _method(one: Part) -> Iterator[str]:
    bits = one["key_bits"]
    key = f", key of {bits} bits" if bits else ""
    esn = ", extended sequence numbers" if one["extended_sequence_numbers"] else ""
    yield f"- From {_time(one['from'])}: ESP {_code(one['esp_suite'])}{key}{esn};"
    yield f"  IKE {_code(one['ike_suite'])}; authentication {_code(one['authentication'])},"
    yield f"  the peer proved to be {_code(one['peer_identity'])}."
    if one["peer_certificate"]:
        yield f"  Its certificate: {_certificate(one['peer_certificate'])}."
    elif one["authentication"] != "psk":
        yield "  Its certificate is not known here; the IKE daemon has verified it."


def _policies(found: Part) -> Iterator[str]:
    yield "## Policies obeyed"
    yield ""
    if found["older_policies_not_kept"]:
        yield f"{plural(found['older_policies_not_kept'], 'older one')} are no longer listed."
        yield ""
    yield "| generation | phase | obeyed at | in force here at |"
    yield "|---|---|---|---|"
    for one in found["policies"]:
        times = f"{_time(one['obeyed_at'])} | {_time(one['in_force_at'], 'not seen')}"
        yield f"| {one['generation']} | {one['phase']} | {times} |"


def _certificates(found: Part) -> Iterator[str]:
    yield "## Certificate of this chassis"
    yield ""
    if not found["certificates"]:
        yield "None was seen."
    for one in found["certificates"]:
        what = _certificate(one["certificate"]) if one["certificate"] else "none"
        yield f"- From {_time(one['in_use_from'])}: {what}"


def _certificate(one: Part) -> str:
    dates = f"valid from {_time(one['not_before'])} to {_time(one['not_after'])}"
    names = f"{_code(one['subject'])}, issued by {_code(one['issuer'])}"
    return f"{names}, serial {one['serial']}, SHA-256 {one['sha256']}, {one['key']}, {dates}"


def _meaning(_found: Part) -> Iterator[str]:
    yield "## How to read this"
    yield ""
    yield from (
        "- Times are UTC. What was not observed is not claimed: a gap is listed as one.",
        "- Bytes and packets are those of the kernel's SAs, counted inside ESP from the UDP header"
        ' of the tunnel on; "at least" means that an SA ended without its last count being seen.',
        "- The guard counts for the whole host, so what passed in clear is an upper bound for each"
        " pair; a packet is denied by one layer, and counted by that one.",
        "- The layer xfrm counts what every block policy of the network namespace has denied, and"
        " what passes only nft counts.",
        "- A document says what this chassis has seen. It is worth what its administrators are.",
    )


def _time(text: str | None, without: str = _UNKNOWN) -> str:
    return text or without


def _number(value: int | None, least: str = "") -> str:
    return _UNKNOWN if value is None else f"{least}{value}"


def _code(text: str | None) -> str:
    """A text of somebody else, which cannot end its own span."""
    if not text:
        return _UNKNOWN
    kept = "".join(one if " " <= one <= "~" and one != "`" else "?" for one in text[:TEXT_MAX])
    return f"`{kept}`"
