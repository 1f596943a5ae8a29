# SPDX-License-Identifier: Apache-2.0
"""What ``whack`` shows, parsed.

Pure. Input: its output. Output: states, connections, algorithms, reasons of failure.

A line that begins like one of ours and goes on otherwise is an error, not something to skip: then
nothing is known of its connection.

Source: Libreswan 4.10 programs/pluto/state.c, show_state and show_established_child_details;
connections.c, show_one_connection; log.c and rcv_whack.c for the numbers in front.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ovn_ipsec.errors import IkeError

from ...plan.connection import ConnName
from .conf import parse_child_name, parse_digest

GENERATION = "4."
"""Of Libreswan, whose words are known here; 5.x has others."""

_STATE = re.compile(
    r'000 #(\d+): "([^"]*)"(?:\[\d+\] \S+)?:\d+(?:\(tcp\))? STATE_(\w+) \((?:[^()]|\([^()]*\))*\);'
    r"(.*)\Z"
)
_DETAIL = re.compile(
    r'000 #(\d+): "([^"]*)"(?:\[\d+\] \S+)?(?: used \d+s ago;)?'
    r" esp\.([0-9a-f]+)@\S+ esp\.([0-9a-f]+)@\S+ Traffic:(?: ESPin=(\d+)([A-Z]*B))?"
)
_PENDING = re.compile(r"000 #\d+: pending ")
_PARENT = re.compile(r" IKE SA #(\d+);")
_NUMBERED = re.compile(r"000 #\d+:")
_NAME = re.compile(r'000 #\d+: "([^"]*)"')
_ALIASES = re.compile(r'000 "([^"]*)":\s+aliases: (.*)\Z')
_CONNECTION = re.compile(r'000 "([^"]*)": ')
_VERSION = re.compile(r"\bpluto_version=(\S+?),")
_ESP = re.compile(r"000 algorithm ESP encrypt: name=(\w+),")
_IKE = re.compile(r"000 algorithm IKE encrypt: .*\bv2name=(\w+),")
_PRF = re.compile(r"000 algorithm IKE PRF: name=(\w+),")
_DH = re.compile(r"000 algorithm IKE DH Key Exchange: name=(\w+),")
_SAID = re.compile(r'(\d{3}) "([^"]*)"(?:\[\d+\] \S+)?(?: #(\d+))?: (.*)\Z')
_REASON = re.compile(
    r"reject|failed|fail:|fatal|no (?:matching|certificate|private|suitable)|mismatch|invalid"
    r"|NO_PROPOSAL_CHOSEN|TS_UNACCEPTABLE|AUTHENTICATION_FAILED|cannot|unable|timeout|expired"
    r"|revoked|maximum IKEv2"
)
_NO_REASON = re.compile(r"encountered fatal error in state|deleting |state transition ")
"""These follow a reason, and say nothing more."""
_STARTED = re.compile(r"initiating (?:IKEv2 connection|Child SA)")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One state object of pluto: an IKE_SA or a CHILD_SA."""

    serial: int
    name: str
    """Of its connection, as pluto knows it."""
    kind: str
    """Such as V2_ESTABLISHED_IKE_SA."""
    parent: int = 0
    """Of a CHILD_SA that is up: its IKE_SA."""
    spi_out: int = 0
    spi_in: int = 0
    heard: bool = False
    """Whether anything was received over it."""

    @property
    def is_child(self) -> bool:
        """Whether it is a CHILD_SA, or is to become one."""
        return "CHILD" in self.kind

    @property
    def is_up(self) -> bool:
        """Whether it is established."""
        return self.kind in ("V2_ESTABLISHED_IKE_SA", "V2_ESTABLISHED_CHILD_SA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The states of our connections."""

    states: tuple[State, ...] = ()
    unreadable: Mapping[ConnName, str] = field(default_factory=dict)
    """Connections with a line that could not be read, which is the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a pluto is and holds."""

    version: str
    algorithms: frozenset[str]
    """As in conf.Algorithms.needs."""
    loaded: Mapping[str, str]
    """Our connections by pluto's names, and the digest of each; empty if it says none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One line that pluto says while something is done."""

    code: int
    name: str
    """Of the connection; empty if it is about none."""
    serial: int
    """Of the state, or 0."""
    words: str

    @property
    def is_reason(self) -> bool:
        """Whether it tells why something failed."""
        return bool(_REASON.search(self.words)) and not _NO_REASON.match(self.words)

    @property
    def begins(self) -> bool:
        """Whether it tells that this end begins to make the state."""
        return bool(self.serial and _STARTED.match(self.words))


def parse_states(text: str) -> Shown:
    """Parse ``whack --showstates``.

    Raises:
        IkeError: A line is of none of the known forms, and does not say of which connection.
    """
    states: dict[int, State] = {}
    unreadable: dict[ConnName, str] = {}
    for line in _lines(text):
        if _PENDING.match(line):
            continue
        named = _NAME.match(line)
        if named is None:
            if _NUMBERED.match(line):
                raise IkeError(f"pluto shows a state that is not understood: {line[:200]!r}")
            continue
        known = parse_child_name(named[1])
        if known is None:
            continue
        if not _take(states, line):
            unreadable[known[0]] = f"pluto shows a state that is not understood: {line[:200]!r}"
    return Shown(states=tuple(states[n] for n in sorted(states)), unreadable=unreadable)


def _take(states: dict[int, State], line: str) -> bool:
    found = _STATE.match(line)
    if found is not None:
        serial, name, kind, rest = int(found[1]), found[2], found[3], found[4]
        parent = _PARENT.search(rest)
        number = int(parent[1]) if parent else 0
        states[serial] = State(serial=serial, name=name, kind=kind, parent=number)
        return True
    detail = _DETAIL.match(line)
    if detail is None or int(detail[1]) not in states:
        return False
    states[int(detail[1])] = replace(
        states[int(detail[1])],
        spi_out=int(detail[3], 16),
        spi_in=int(detail[4], 16),
        heard=detail[5] is not None and int(detail[5]) > 0,
    )
    return True


def parse_status(text: str) -> Status:
    """Parse ``whack --status``.

    Raises:
        IkeError: It does not say its version, or what it shows is not known here.
    """
    version = _VERSION.search(text)
    if version is None:
        raise IkeError("pluto does not say its version")
    if not version[1].startswith(GENERATION):
        raise IkeError(f"Libreswan {version[1][:40]} is not supported: {GENERATION}x is")
    loaded: dict[str, str] = {}
    algorithms: set[str] = set()
    for line in _lines(text):
        aliases = _ALIASES.match(line)
        named = _CONNECTION.match(line)
        if aliases is not None and parse_child_name(aliases[1]):
            loaded[aliases[1]] = parse_digest(aliases[2].split())
        elif named is not None and parse_child_name(named[1]):
            loaded.setdefault(named[1], "")
        algorithms.update(_algorithms(line))
    return Status(version=version[1], algorithms=frozenset(algorithms), loaded=loaded)


def _algorithms(line: str) -> Iterator[str]:
    for kind, form in (("ESP", _ESP), ("IKE", _IKE), ("PRF", _PRF), ("DH", _DH)):
        match = form.match(line)
        if match is not None:
            yield f"{kind} {match[1]}"


def parse_said(line: str) -> Said | None:
    """Parse one line that pluto says; None for one of another form."""
    match = _SAID.match(line.strip())
    if match is None:
        return None
    return Said(code=int(match[1]), name=match[2], serial=int(match[3] or 0), words=match[4])


def parse_all_said(text: str) -> Iterable[Said]:
    """Parse all lines that pluto says, leaving out those of another form."""
    return [said for line in _lines(text) if (said := parse_said(line)) is not None]


def _lines(text: str) -> list[str]:
    return text.split("\n")
