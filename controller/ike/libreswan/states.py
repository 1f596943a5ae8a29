# SPDX-License-Identifier: Apache-2.0
"""What ``whack`` shows, parsed.

Pure. Input: its output, and the Dialect that it is in. Output: states, connections, algorithms,
reasons of failure.

A line that begins like one of ours and goes on otherwise is an error, not something to skip: then
nothing is known of its connection.

Source: Libreswan programs/pluto/state.c (5.2: whack_showstates.c), show_state and
show_established_child_details; connections.c, show_one_connection.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ovn_ipsec.errors import IkeError

from ...plan.connection import ConnName
from .conf import parse_child_name, parse_digest
from .dialect import Dialect, begun_here, parse_version

_STATE = re.compile(
    r'#(\d+): "([^"]*)"(?:\[\d+\] \S+)?:\d+(?:\(tcp\))? (\w+) \((?:[^()]|\([^()]*\))*\);'
    r"(.*)\Z"
)
_DETAIL = re.compile(
    r'#(\d+): "([^"]*)"(?:\[\d+\] \S+)?(?: used \d+s ago;)?'
    r" esp\.([0-9a-f]+)@\S+ esp\.([0-9a-f]+)@\S+ Traffic:(?: ESPin=(\d+)([A-Z]*B))?"
)
_PENDING = re.compile(r"#\d+: pending ")
_PARENT = re.compile(r" IKE SA #(\d+);")
_NUMBERED = re.compile(r"#\d+:")
_NAME = re.compile(r'#\d+: "([^"]*)"')
_ALIASES = re.compile(r'"([^"]*)":\s+aliases: (.*)\Z')
_CONNECTION = re.compile(r'"([^"]*)": ')
_ESP = re.compile(r"algorithm ESP encrypt: name=(\w+),")
_IKE = re.compile(r"algorithm IKE encrypt: .*\bv2name=(\w+),")
_PRF = re.compile(r"algorithm IKE PRF: name=(\w+),")
_DH = re.compile(r"algorithm IKE DH Key Exchange: name=(\w+),")
_SAID = re.compile(r'"([^"]*)"(?:\[\d+\] \S+)?(?: #(\d+))?: (.*)\Z')
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
    """Such as ESTABLISHED_IKE_SA, or what it is called while it is made."""
    begun_here: bool | None = None
    """Whether this end makes it; None: that is not shown, as of one that is up."""
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
        return self.kind in ("ESTABLISHED_IKE_SA", "ESTABLISHED_CHILD_SA")


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
    dialect: Dialect
    algorithms: frozenset[str]
    """As in conf.Algorithms.needs."""
    loaded: Mapping[str, str]
    """Our connections by pluto's names, and the digest of each; empty if it says none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One line that pluto says while something is done."""

    name: str
    """Of its connection."""
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


def parse_states(text: str, dialect: Dialect) -> Shown:
    """Parse ``whack --showstates``.

    Raises:
        IkeError: A line is of none of the known forms, and does not say of which connection.
    """
    states: dict[int, State] = {}
    unreadable: dict[ConnName, str] = {}
    for line in _shown(text, dialect):
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
        if not _take(states, line, dialect):
            unreadable[known[0]] = f"pluto shows a state that is not understood: {line[:200]!r}"
    return Shown(states=tuple(states[n] for n in sorted(states)), unreadable=unreadable)


def _take(states: dict[int, State], line: str, dialect: Dialect) -> bool:
    found = _STATE.match(line)
    if found is not None and found[3].startswith(dialect.state):
        serial, kind = int(found[1]), found[3].removeprefix(dialect.state)
        parent = _PARENT.search(found[4])
        states[serial] = State(
            serial=serial,
            name=found[2],
            kind=kind,
            begun_here=begun_here(dialect, kind),
            parent=int(parent[1]) if parent else 0,
        )
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
    version, dialect = parse_version(text)
    loaded: dict[str, str] = {}
    algorithms: set[str] = set()
    for line in _shown(text, dialect):
        aliases = _ALIASES.match(line)
        named = _CONNECTION.match(line)
        if aliases is not None and parse_child_name(aliases[1]):
            loaded[aliases[1]] = parse_digest(aliases[2].split())
        elif named is not None and parse_child_name(named[1]):
            loaded.setdefault(named[1], "")
        algorithms.update(_algorithms(line, dialect))
    return Status(version=version, dialect=dialect, algorithms=frozenset(algorithms), loaded=loaded)


def _algorithms(line: str, dialect: Dialect) -> Iterator[str]:
    for kind, form in (("ESP", _ESP), ("IKE", _IKE), ("PRF", _PRF), ("DH", _DH)):
        match = form.match(line)
        if match is not None:
            name = match[1]
            yield f"{kind} {'AES_GCM_16' if kind == 'IKE' and name == dialect.aes_gcm else name}"


def parse_said(line: str, dialect: Dialect) -> Said | None:
    """Parse one line that pluto says; None for one of another form, or about no connection."""
    begins = re.match(dialect.said, line)
    match = None if begins is None else _SAID.match(line[begins.end() :].rstrip())
    if match is None:
        return None
    return Said(name=match[1], serial=int(match[2] or 0), words=match[3])


def _shown(text: str, dialect: Dialect) -> list[str]:
    """The lines that show something, without what all of them begin with."""
    mark = dialect.shown
    return [line.removeprefix(mark) for line in text.split("\n") if line.startswith(mark)]
