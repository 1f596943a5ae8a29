# SPDX-License-Identifier: Apache-2.0
"""Pure: how large packets of workloads may be in a cluster, and who is given a larger MTU.

Input: the chassis with what their controllers report of the underlay, how pairs are treated, and
the MTUs in the northbound. Output: one line for pairs that are alike, the smallest of what is left,
and what exceeds it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..errors import InputError
from ..model.chassis import EncapType
from ..model.mtu import BY_PROFILE, Wrapping, inner_mtu
from ..model.policy import ClusterPolicy, EncryptionPolicy, Mode, Phase, Treatment
from ..model.status import Room
from ..policy.across import End, face_of, treatment_between
from ..schema.encap import EncapIntent
from ..schema.network_mtu import NetworkMtu
from ..schema.report import printable
from .finding import CLUSTER, Finding, Level
from .pairs import Ends, end_of, kinds
from .view import ChassisView, Southbound
from .wording import plural

SHOWN = 10
"""Networks that are told one by one where other things are told too."""
WHAT_TO_SET = "see what to set: ovn-ipsec mtu"
SEE_INTERFACES = "on the chassis: ovn-ipsec doctor names them; what to set: ovn-ipsec mtu"
NARROW = "reports of an underlay that leaves less than any host takes"
INTERFACES = "interfaces of workloads with a larger MTU than what the tunnels leave"
LEAST = 576
"""What every host takes in one piece (RFC 791). A chassis that reports less is not what the others
are to follow: it has lost its underlay, or does not tell the truth."""
SEE_UNDERLAY = "on the chassis: ovn-ipsec doctor; ip link show; ip route get PEER"
NO_MTU = "correct the number: a workload that is given it may ignore it"


class Treat(NamedTuple):
    """How pairs are treated."""

    pair: Callable[[Ends], Treatment]
    face: Callable[[ChassisView, EncapIntent], Hashable]
    """Encaps that have the same face are treated alike."""


class _Face(NamedTuple):
    """What matters of an encap here."""

    underlay: int | None
    treated: Hashable


@dataclass(frozen=True, slots=True, kw_only=True)
class MtuLine:
    """Pairs that leave the same."""

    type: EncapType
    version: int
    """Of IP in the underlay."""
    treatment: Treatment
    in_udp: bool
    """Whether ESP is to be in UDP whatever is on the way."""
    underlay: int | None
    """The smaller MTU of both ends; None: neither reports one."""
    pairs: int
    example: str
    """One of them."""

    @property
    def clear(self) -> int | None:
        """What is left without ESP; None: not known."""
        wrapping = Wrapping(type=self.type, version=self.version)
        return None if self.underlay is None else inner_mtu(self.underlay, wrapping)

    @property
    def encrypted(self) -> int | None:
        """What is left with ESP, whether or not it is wanted; None: not known."""
        esp = BY_PROFILE[self.treatment.profile]
        wrapping = Wrapping(type=self.type, version=self.version, esp=esp, in_udp=self.in_udp)
        return None if self.underlay is None else inner_mtu(self.underlay, wrapping)

    @property
    def left(self) -> int | None:
        """What is left as the pairs are to be treated; None: not known."""
        return self.clear if self.treatment.mode is Mode.OFF else self.encrypted

    @property
    def takes(self) -> int:
        """What ESP takes, in bytes; 0 where it is not wanted or nothing is known."""
        return (self.clear or 0) - (self.left or 0)

    def words(self) -> str:
        """Why so much is left."""
        said = f"{self.underlay} on the underlay"
        if self.treatment.mode is Mode.OFF:
            return f"{said}, in clear"
        udp = " in UDP" if self.in_udp else ""
        return f"{said}, of which ESP{udp} with profile {self.treatment.profile} takes {self.takes}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The smallest of what is left."""

    left: int
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """A cluster, as far as MTUs go."""

    lines: tuple[MtuLine, ...]
    """The narrowest first, unknown ones last."""
    limit: Limit | None
    """None: nothing is known of any pair."""
    larger: tuple[NetworkMtu, ...]
    """What is more than the limit."""
    errors: tuple[InputError, ...]
    """MTUs that are none."""
    interfaces: tuple[tuple[str, int, int], ...]
    """Chassis with interfaces that are larger than what its own pairs leave: their number, and
    what is left."""
    narrow: tuple[tuple[str, int], ...] = ()
    """Chassis that report less than LEAST, and what they report; they count for nothing else."""

    @property
    def fits(self) -> bool | None:
        """Whether nothing is too large; None: nobody can tell."""
        if self.larger or self.interfaces or self.narrow:
            return False
        return None if self.limit is None else True


def treatment_by(policy: ClusterPolicy | None, asked: EncryptionPolicy | None = None) -> Treat:
    """How pairs are treated, or would be as soon as encryption is switched on.

    Args:
        policy: What the southbound has.
        asked: What the northbound asks for; it counts while nothing is in force.
    """
    if policy is not None and policy.phase not in (Phase.OFF, Phase.RELAX):
        return Treat(
            lambda ends: treatment_between(policy, *map(end_of, ends)),
            lambda view, intent: face_of(policy, End(view.chassis, intent)),
        )
    wanted = Treatment(mode=Mode.OFF)
    if asked is not None:
        wanted = Treatment(mode=asked.mode, profile=asked.profile)
    return Treat(lambda _ends: wanted, lambda _view, _intent: None)


def headroom(
    chassis: Iterable[ChassisView],
    treat: Treat,
    networks: Iterable[NetworkMtu] = (),
    errors: Sequence[InputError] = (),
    *,
    in_udp: bool = False,
) -> Headroom:
    """Work out what is left, and what exceeds it.

    Args:
        chassis: All that count; see ``trusted``.
        treat: How a pair is treated.
        networks: The MTUs that the northbound gives to workloads.
        errors: Those that could not be read.
        in_udp: Whether UDP encapsulation is forced.
    """
    views = list(chassis)
    lines = _lines(views, treat, in_udp=in_udp)
    limit = _limit(lines, views)
    larger = (one for one in networks if limit is not None and one.mtu > limit.left)
    rooms = [(view.name, room) for view in views if (room := _reported(view)) is not None]
    return Headroom(
        lines=lines,
        limit=limit,
        larger=tuple(sorted(larger, key=lambda one: (-one.mtu, str(one)))),
        errors=tuple(errors),
        interfaces=tuple(
            (name, room.larger, room.inner)
            for name, room in rooms
            if room.larger and _is_sound(room)
        ),
        narrow=tuple((name, room.inner) for name, room in rooms if not _is_sound(room)),
    )


def trusted(sb: Southbound) -> list[ChassisView]:
    """The chassis whose word counts for others: not those in quarantine."""
    barred = frozenset[str]() if sb.policy is None else sb.policy.quarantine
    return [view for view in sb.chassis.values() if view.name not in barred]


def _reported(view: ChassisView) -> Room | None:
    return None if view.digest is None else view.digest.room


def _sound(view: ChassisView) -> Room | None:
    """What a chassis reports, if others may be asked to follow it."""
    room = _reported(view)
    return room if room is not None and _is_sound(room) else None


def _is_sound(room: Room) -> bool:
    return min(room.underlay, room.inner) >= LEAST


def _lines(views: Iterable[ChassisView], treat: Treat, *, in_udp: bool) -> tuple[MtuLine, ...]:
    found: dict[tuple[object, ...], MtuLine] = {}

    def face(view: ChassisView, intent: EncapIntent) -> _Face:
        return _Face(_underlay(view), treat.face(view, intent))

    for kind in kinds(views, face):
        ends = next(kind.examples(1))
        line = line_of(ends, treat.pair, in_udp=in_udp)
        key = (line.type, line.version, line.treatment, line.underlay)
        before = found.get(key)
        pairs = kind.count + (0 if before is None else before.pairs)
        found[key] = replace(line if before is None else before, pairs=pairs)
    return tuple(sorted(found.values(), key=_rank))


def _rank(line: MtuLine) -> tuple[object, ...]:
    left = line.left
    return (left is None, left or 0, line.type, line.version, line.treatment.profile)


def _underlay(view: ChassisView) -> int | None:
    room = _sound(view)
    return None if room is None else room.underlay


def line_of(ends: Ends, treat: Callable[[Ends], Treatment], *, in_udp: bool) -> MtuLine:
    """What one pair leaves, by what both chassis report of the underlay."""
    one, other = ends
    known = [mtu for mtu in (_underlay(one.view), _underlay(other.view)) if mtu is not None]
    return MtuLine(
        type=one.encap.encap.type,
        version=one.encap.encap.ip.version,
        treatment=treat(ends),
        in_udp=in_udp,
        underlay=min(known, default=None),
        pairs=1,
        example=f"{one} - {other}",
    )


def _limit(lines: Iterable[MtuLine], views: Iterable[ChassisView]) -> Limit | None:
    """The smallest: by the suites and the underlay, or what a controller has found."""
    found = [
        Limit(left=left, because=f"between {line.example} ({line.words()})")
        for line in lines
        if (left := line.left) is not None
    ]
    computed = min((one.left for one in found), default=None)
    for view in views:
        room = _sound(view)
        if room is not None and (computed is None or room.inner < computed):
            why = "a path of it is narrower, or ESP is in UDP there"
            found.append(Limit(left=room.inner, because=f"at {view.name} ({why})"))
    return min(found, key=lambda one: one.left, default=None)


def findings(found: Headroom) -> Iterator[Finding]:
    """Warnings of what is too large, and of what is no MTU."""
    if found.limit is not None:
        for one in found.larger[:SHOWN]:
            yield _warning(CLUSTER, too_large(one, found.limit), WHAT_TO_SET)
    if (rest := len(found.larger) - SHOWN) > 0:
        yield _warning(CLUSTER, f"{plural(rest, 'more MTU')} too large", WHAT_TO_SET)
    for error in found.errors[:SHOWN]:
        yield _warning(CLUSTER, printable(str(error), 400), NO_MTU)
    for name, left in found.narrow:
        yield Finding(
            subject=name,
            problem=too_narrow(left),
            next_step=SEE_UNDERLAY,
            level=Level.WARNING,
            kind=NARROW,
        )
    for name, number, left in found.interfaces:
        text = f"{plural(number, 'interface')} of workloads with an MTU above {left}"
        yield Finding(
            subject=name,
            problem=f"{text}, which is what the tunnels leave",
            next_step=SEE_INTERFACES,
            level=Level.WARNING,
            kind=INTERFACES,
        )


def too_large(one: NetworkMtu, limit: Limit) -> str:
    """Say that an MTU is too large, and why."""
    return f"{one} is {one.mtu}, but {limit.left} is left {limit.because}"


def too_narrow(left: int) -> str:
    """Say that a report is not followed, and why."""
    return f"reports that {left} is left to workloads; below {LEAST} no other chassis follows it"


def _warning(subject: str, problem: str, next_step: str) -> Finding:
    return Finding(
        subject=subject,
        problem=printable(problem, 400),
        next_step=next_step,
        level=Level.WARNING,
    )
