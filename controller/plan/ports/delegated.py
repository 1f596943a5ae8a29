# SPDX-License-Identifier: Apache-2.0
"""Pure: the ports by which a stock ovs-monitor-ipsec encrypts pairs. Output: wanted ports.

A port has a connection of the IKE daemon if it says with whom: the name of a chassis whose
certificate an authority has signed, or a file with the one certificate that is accepted.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ovn_ipsec.model.chassis import ChassisName, Pair
from ovn_ipsec.model.status import PairState

from .tunnels import ENCRYPTS, PortSettings, WantedPort, wanted_ports
from .values import in_order

REMOTE_NAME, REMOTE_CERT = "remote_name", "remote_cert"
"""Interface.options of ovs-monitor-ipsec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinPaths:
    """The files with the certificates that peers pin."""

    of_peer: Mapping[ChassisName, Sequence[str]]
    """By chassis, the newest first; who has published none may be missing."""
    in_use: Container[str]
    """Those that ports name now."""

    def choose(self, pair: Pair, state: PairState) -> str:
        """Choose what the port of a pair names; empty: no certificate is good.

        A port can name one only, and a change ends its SAs. So what a pair is encrypted with stays
        as long as it is accepted: its owner may not use the newer one yet. One that does has ended
        its SAs, too.
        """
        paths = self.of_peer.get(pair.peer, ())
        held = [path for path in paths if path in self.in_use]
        newest = paths[0] if paths else ""
        return held[0] if held and state is PairState.ENCRYPTED else newest


def delegated_ports(
    pairs: Iterable[tuple[Pair, bool | None, PairState]],
    settings: PortSettings,
    pins: PinPaths | None = None,
) -> tuple[WantedPort, ...]:
    """List the ports by which ovs-monitor-ipsec encrypts the pairs that are to be, and no others.

    Args:
        pairs: Each pair, with csum of the remote encap, and its state.
        settings: What else the options hold; its ``ipsec`` does not matter.
        pins: The certificates that are accepted; None: those of an authority.

    Returns:
        As from wanted_ports.
    """
    pairs = tuple(pairs)
    states = {pair: state for pair, _, state in pairs}
    both = [(pair, csum) for pair, csum, _ in pairs]
    plain = wanted_ports(both, replace(settings, ipsec=False))
    marked = wanted_ports(both, replace(settings, ipsec=True))
    found: list[WantedPort] = []
    for without, named in zip(plain, marked, strict=True):
        state = states[named.pair]
        path = "" if pins is None else pins.choose(named.pair, state)
        if state not in ENCRYPTS or (pins is not None and not path):
            found.append(without)
        else:
            found.append(_pinned(named, path) if path else named)
    return tuple(found)


def _pinned(port: WantedPort, path: str) -> WantedPort:
    """Let a port name a certificate instead of a chassis."""
    options = dict(port.options)
    del options[REMOTE_NAME]
    return replace(port, options=in_order({**options, REMOTE_CERT: path}))
