# SPDX-License-Identifier: Apache-2.0
"""Pure: the lines of the journal: what happened, as values, and as one JSON object in a line.

Times are whole seconds since the epoch, UTC. Names of pairs are those of their connections.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TypeAlias

from .codec import decode, encode
from .values import Certified, HostEvidence, PairEvidence, Reading, Sums

JOURNAL = "evidence.jsonl"
"""Name of the journal, in the state directory of the controller."""
LINE_MAX = 1 << 16
"""Bytes of a line that is read; the longest that is written is a tenth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A controller began to observe."""

    at: int
    boot: str
    """Identifies the boot of the machine; empty: not known."""
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """A controller still observes."""

    at: int
    stopped: bool = False
    """It ended in an orderly way, so nothing that it saw is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A pair is in another state, or is seen for the first time by a new controller."""

    at: int
    pair: str
    peer: str
    type: str
    local: str
    remote: str
    state: str
    """Of PairState; or ``gone``: the pair is no longer there."""
    mode: str
    closed: bool
    """Whether clear text of this pair is denied."""
    held_since: int | None = None
    """When the older of the SAs in use was installed, of the direction whose SAs are younger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """How a pair is encrypted and authenticated, since some moment."""

    at: int
    pair: str
    auth: str
    ike: str
    """Cipher suite of the IKE_SA, as strongSwan spells it; likewise for esp."""
    esp: str
    esn: bool
    identity: str
    """That the peer has proved."""
    certificate: Certified | None = None
    """Of the peer; None: not known, or there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summed:
    """What the SAs of a pair have carried by now."""

    at: int
    pair: str
    sums: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What the layers of the guard have counted by now; a layer that is missing was not read."""

    at: int
    layers: tuple[Reading, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy is obeyed, or everything that it demands is in force on this chassis."""

    at: int
    generation: int
    phase: str
    applied: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """This chassis has another certificate."""

    at: int
    chassis: str
    certificate: Certified | None = None


Event: TypeAlias = (
    Start | Alive | State | Proof | Summed | Counted | Policy | Own | HostEvidence | PairEvidence
)
"""The last two are what a rewritten journal begins with: what earlier lines came to."""

_KINDS: dict[str, type[Event]] = {
    "start": Start,
    "alive": Alive,
    "state": State,
    "proof": Proof,
    "sums": Summed,
    "guard": Counted,
    "policy": Policy,
    "own": Own,
    "host": HostEvidence,
    "pair": PairEvidence,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def line(event: Event) -> str:
    """Write an event as one line of ASCII with its newline."""
    body = {"is": _NAMES[type(event)], **encode(event)}
    return json.dumps(body, separators=(",", ":")) + "\n"


def parse(text: str) -> Event:
    """Read a line.

    Raises:
        ValueError: It is no event of this version.
    """
    if len(text) > LINE_MAX:
        raise ValueError(f"longer than {LINE_MAX} bytes")
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("no object")  # noqa: TRY004 - one error for all
    kind = _KINDS.get(str(found.pop("is", "")))
    if kind is None:
        raise ValueError("no kind of event")
    return decode(kind, found)
