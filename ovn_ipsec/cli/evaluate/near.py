# SPDX-License-Identifier: Apache-2.0
"""Shell: the near end: it makes the network, measures, and takes everything away again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ... import __version__
from ...clock import monotonic, utc_now
from ...errors import EdgeError
from ...ovsdb.commands import Commands
from ...ovsdb.schemas import NORTHBOUND_WORKLOADS
from .. import database
from ..local import ask_peers, own_socket
from ..settings import Settings
from ..watching import pause
from . import far, host, network, port, rule, traffic
from .answers import UNKNOWN, PairSeen, both, pair_seen
from .far import Far
from .network import Network
from .summary import WORDS
from .undo import undoing
from .values import AS_IT_IS, Facts, Findings, Run, Series, Traffic

IDLE_S = 3.0
"""What a run without traffic takes at most."""
TAKEN_BY_ESP = 160
"""Bytes between the underlay's MTU and that of our ports: more than any suite takes, with Geneve's
options, NAT-T and IPv6, so that every profile is measured with packets of the same size."""
TURNED_S = 300.0
"""How long a pair may take to follow a rule."""
LOOK_S = 1.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to measure."""

    network: Network
    profiles: tuple[str, ...]
    """Empty: the pair as it is."""
    seconds: int
    repeat: int
    rate_mbps: int
    mtu: int | None
    wait_s: float

    @property
    def takes_s(self) -> float:
        """About how long it takes."""
        run = 3 * (self.seconds + 1) + min(self.seconds, IDLE_S)
        return max(1, len(self.profiles)) * self.repeat * run


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """This chassis, as the local database describes it."""

    name: str
    address: str
    """Its first encap address."""
    bridge: str


def own_end(settings: Settings) -> End:
    """Look who this is.

    Raises:
        EdgeError: No chassis, or Open vSwitch does not answer.
    """
    with port.local_database(settings) as vswitch:
        name, address, bridge = port.own_names(vswitch)
    return End(name=name, address=address, bridge=bridge)


def own_pair(peer: str) -> PairSeen:
    """What the controller of this host says of the pair; UNKNOWN where none answers."""
    try:
        return pair_seen(ask_peers(own_socket()), peer)
    except EdgeError:
        return UNKNOWN


def make_workload(settings: Settings, end: End, place: network.Place, mtu: int | None) -> int:
    """Make the workload of this end.

    Returns:
        Its MTU.

    Raises:
        EdgeError: Open vSwitch or the kernel refuses.
    """
    chosen = mtu or host.device_of(end.address)[1] - TAKEN_BY_ESP
    with port.local_database(settings) as vswitch:
        port.make(vswitch, end.bridge, place, chosen)
    return chosen


def clear_host(settings: Settings, say: Say) -> None:
    """Take away what a killed evaluation has left on this host, and name it.

    Raises:
        EdgeError: Open vSwitch does not answer.
    """
    with port.local_database(settings) as vswitch:
        found = port.left_behind(vswitch)
    if found:
        say(f"an earlier evaluation has left {' and '.join(found)}: deleted")
        port.remove(settings)


def evaluate(settings: Settings, order: Order, end: End, say: Say) -> Findings:
    """Measure from here to the other chassis.

    Args:
        settings: Where the databases are.
        order: What.
        end: This chassis.
        say: Told what happens, for people.

    Raises:
        EdgeError: Something refuses or does not answer; what was made is away again.
    """
    traffic.expect_programs()
    began = utc_now()
    with port.lock(), undoing() as undo:
        with _northbound(settings) as nb:
            _clear(settings, nb, order.network, say)
            clear_host(settings, say)
            undo.callback(_remove_network, settings, order.network)
            network.make(nb, order.network)
            undo.callback(port.remove, settings)
            mtu = make_workload(settings, end, order.network.near, order.mtu)
            _wait_up(nb, order, say)
        temporary = rule.TemporaryRule(
            settings, order.network, lambda key: _note(settings, order.network, key)
        )
        undo.callback(temporary.remove)
        with far.connected(order.network.far.ip, order.wait_s) as other, _ended(other):
            series = tuple(
                _measure(order, other, profile, temporary, say)
                for profile in order.profiles or (AS_IT_IS,)
            )
            ends = _facts(end), other.facts()
    return Findings(
        release=__version__,
        began=began.isoformat(timespec="seconds"),
        near=ends[0],
        far=ends[1],
        inner_mtu=mtu,
        seconds=order.seconds,
        rate_mbps=order.rate_mbps,
        series=series,
    )


def _facts(end: End) -> Facts:
    return host.facts(end.name, end.address)


@contextmanager
def _ended(other: Far) -> Iterator[None]:
    """Let the far end go when we are done, or have to end."""
    try:
        yield
    finally:
        with suppress(EdgeError):
            other.end()


@contextmanager
def _northbound(settings: Settings) -> Iterator[Commands]:
    with database.connected(settings, settings.ovnnb_db, NORTHBOUND_WORKLOADS) as nb:
        yield nb


def _clear(settings: Settings, nb: Commands, found: Network, say: Say) -> None:
    """Take away what a killed evaluation has left in NB, and name it."""
    if not network.find(nb, found):
        return
    key = network.noted_rule(nb, found)
    if key and rule.delete(settings, found, key):
        say(f"an earlier evaluation has left NB_Global options:{key}: deleted")
    network.remove(nb, found)
    say(f"an earlier evaluation has left the logical switch {found.name}: deleted")


def _remove_network(settings: Settings, found: Network) -> None:
    with _northbound(settings) as nb:
        network.remove(nb, found)


def _note(settings: Settings, found: Network, key: str | None) -> None:
    with _northbound(settings) as nb:
        network.note_rule(nb, found, key)


def _wait_up(nb: Commands, order: Order, say: Say) -> None:
    one, other = order.network.one, order.network.other

    def tell(missing: list[str]) -> None:
        if other in missing:
            say(f"waiting for {other}: run ovn-ipsec evaluate {one} {other} there, too")

    missing = network.wait_up(nb, order.network, order.wait_s, tell)
    if missing:
        raise EdgeError(
            f"ovn-controller has not bound the port on {' and '.join(missing)} "
            f"within {order.wait_s:.0f} s"
        )


def _measure(
    order: Order, other: Far, profile: str, temporary: rule.TemporaryRule, say: Say
) -> Series:
    peer = order.network.other
    if profile != AS_IT_IS:
        say(f"{profile}: waiting until the pair follows")
        temporary.put(profile)
        _wait_turned(profile, peer, other)
    before = own_pair(peer)
    runs: list[Run] = []
    for turn in range(1, order.repeat + 1):
        for kind in Traffic:
            seconds = min(order.seconds, IDLE_S) if kind is Traffic.IDLE else order.seconds
            run = traffic.measure(
                kind, order.network.far.ip, seconds, order.rate_mbps, other.sample
            )
            runs.append(run)
            say(f"{profile or 'as it is'}, {turn} of {order.repeat}: {_said(run)}")
    after = own_pair(peer)
    return Series(
        profile=profile,
        state=both(before.state, after.state),
        suite=both(before.suite, after.suite),
        runs=tuple(runs),
    )


def _said(run: Run) -> str:
    rtt = "no ping answered" if run.rtt_ms is None else f"ping {run.rtt_ms:.2f} ms"
    if run.carried is None:
        return f"{WORDS[run.traffic]}, {rtt}"
    packets = f", {run.carried.pps:.0f} packets/s" if run.carried.pps else ""
    return f"{WORDS[run.traffic]}, {run.carried.mbps:.1f} Mbit/s{packets}, {rtt}"


def _wait_turned(profile: str, peer: str, other: Far) -> None:
    """Wait until both controllers say that the pair does what is to be measured."""
    end = monotonic() + TURNED_S
    while True:
        seen = own_pair(peer), other.pair()
        if all(one.is_turned(profile) for one in seen):
            return
        if monotonic() > end:
            said = " and ".join(f"{one.state} {one.profile} {one.suite}".strip() for one in seen)
            raise EdgeError(f"the pair has not turned to {profile} in {TURNED_S:.0f} s: {said}")
        pause(LOOK_S)
