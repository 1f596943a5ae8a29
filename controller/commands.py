# SPDX-License-Identifier: Apache-2.0
"""Shell: the appctl commands, including the stock names; none shows a secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from ovn_ipsec.control import Offer
from ovn_ipsec.errors import EdgeError
from ovn_ipsec.model.observation import Known
from ovn_ipsec.service import Service

from . import report, stock
from .chassis import Chassis
from .daemon import Controller
from .plan.ports.tunnels import TunnelPort
from .plan.tally import counts_by_name
from .ports import ovsdb
from .xfrm.values import XfrmState

SECONDS_MAX = 10
"""Digits of a Unix time, until the year 2286."""
NAMELESS = "this chassis has no name or southbound yet: set external_ids system-id and ovn-remote"
OFFERS = (
    Offer("status", "[json]", 0, 1, "Say what the controller waits for or does, and its problems."),
    Offer(
        "peers/show", "[json]", 0, 1, "Show every pair of this chassis; so does ovn-ipsec peers."
    ),
    Offer(
        "tunnels/show",
        "",
        0,
        0,
        "Show the pairs that are to be encrypted, in the layout of ovs-monitor-ipsec.",
    ),
    Offer(
        "ipsec/status",
        "",
        0,
        0,
        "Show the SAs by tunnel port, keyed as ovs-monitor-ipsec keys them, as JSON.",
    ),
    Offer("is-ready", "", 0, 0, "Print true or false: whether systemd was told READY."),
    Offer("guard/show", "", 0, 0, "Show what the guard denies and what it has counted, as JSON."),
    Offer(
        "evidence/show",
        "[seconds]",
        0,
        1,
        "Show what this chassis can prove of its encryption, as JSON; with a Unix time, what"
        " reaches beyond it. So does ovn-ipsec evidence.",
    ),
    Offer("xfrm/policies", "", 0, 0, "Show the IPsec policies in the kernel, one in a line."),
    Offer("xfrm/state", "", 0, 0, "Show the SAs in the kernel, one in a line, without keys."),
    Offer("refresh", "", 0, 0, "Decide anew about every pair, and look at the kernel at once."),
    Offer(
        "credentials/renew", "", 0, 0, "Ask for a new certificate at once, where enrolment is used."
    ),
)


def register(service: Service, controller: Controller) -> None:
    """Register all commands."""
    commands = _Commands(controller)
    runs: dict[str, Callable[[list[str]], str]] = {
        "status": commands.status,
        "peers/show": commands.peers,
        "tunnels/show": commands.tunnels,
        "ipsec/status": commands.connections,
        "is-ready": lambda _: str(controller.ready).lower(),
        "guard/show": commands.guard,
        "evidence/show": commands.evidence,
        "xfrm/policies": commands.policies,
        "xfrm/state": commands.states,
        "refresh": commands.refresh,
        "credentials/renew": commands.renew,
    }
    for offer in OFFERS:
        service.command(*offer.shape, runs[offer.name])


class _Commands:
    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def _now(self) -> float:
        return self._controller.outside.clock.monotonic()

    def peers(self, argv: list[str]) -> str:
        agent = self._controller.agent
        paths = self._controller.mtu.seen.paths
        rows = report.peers(agent, self._now(), paths) if agent is not None else []
        return report.as_json(rows) if argv == ["json"] else report.peers_text(rows)

    def tunnels(self, _argv: list[str]) -> str:
        controller = self._controller
        if controller.agent is None:
            return stock.NONE
        here = controller.here
        held = stock.kernel(*controller.kernel.dump())
        files = None if here is None else here.files
        return stock.tunnels(controller.agent, self._ports(), files, held)

    def connections(self, _argv: list[str]) -> str:
        agent = self._controller.agent
        return "{}" if agent is None else stock.connections(agent, self._ports())

    def _ports(self) -> tuple[TunnelPort, ...]:
        """Tunnel ports; none while they cannot be read: then pairs go by the connection's name."""
        controller = self._controller
        if controller.here is None:
            return ()
        seen = ovsdb.observe(controller.vswitch, controller.here.bridge)
        return seen.value.ports if isinstance(seen, Known) else ()

    def status(self, argv: list[str]) -> str:
        controller = self._controller
        agent, chassis = controller.agent, controller.chassis
        applied = controller.applied
        found: dict[str, object] = {
            "doing": controller.doing,
            "chassis": agent.this_chassis if agent is not None else None,
            "generation": applied.generation,
            "phase": applied.phase.value,
            "wanted_generation": agent.policy.generation if agent is not None else None,
            "wanted_phase": agent.policy.phase.value if agent is not None else None,
            "pairs": counts_by_name(agent.tally.states) if agent is not None else {},
            "held_because": "" if chassis is None else chassis.held_because,
            "southbound_connected": controller.connected,
            **_credentials(chassis),
            "esp": controller.kernel.esp,
            "guard_layers": controller.guard.available,
            "mtu": None if (room := controller.mtu.seen.room) is None else asdict(room),
            "tunnel_ports": "own" if controller.ports.owns else "adopt",
            "ovn_controller_unknown": controller.ports.doubt,
            "problems": controller.problems(),
        }
        if argv == ["json"]:
            return report.as_json(found)
        return report.status_text(found)

    def guard(self, _argv: list[str]) -> str:
        guard = self._controller.guard.keeper
        return report.as_json(report.guard_object(guard.wanted, guard.counters(), guard.problems()))

    def evidence(self, argv: list[str]) -> str:
        controller = self._controller
        since = None
        if argv:
            if not (argv[0].isascii() and argv[0].isdigit() and len(argv[0]) <= SECONDS_MAX):
                raise EdgeError("expected a Unix time in whole seconds")
            since = int(argv[0])
        try:
            states: tuple[XfrmState, ...] | None = controller.kernel.dump()[1]
        except EdgeError:
            states = None
        return report.as_json(controller.evidence.document(states, since))

    def policies(self, _argv: list[str]) -> str:
        policies, _ = self._controller.kernel.dump()
        lines = []
        for policy in policies:
            how = [f"esp spi {t.spi:#010x} reqid {t.reqid}" for t in policy.templates]
            selector = policy.selector
            lines.append(
                f"{policy.direction.name.lower()} {selector.src} {selector.dst}"
                f" proto {selector.proto} sport {selector.sport} dport {selector.dport}"
                f" priority {policy.priority} {policy.action.name.lower()} {' '.join(how)}"
            )
        return "\n".join(line.rstrip() for line in lines)

    def states(self, _argv: list[str]) -> str:
        _, states = self._controller.kernel.dump()
        return "\n".join(
            f"{s.src} {s.dst} proto {s.proto} spi {s.spi:#010x} reqid {s.reqid}" for s in states
        )

    def renew(self, _argv: list[str]) -> str:
        if self._controller.chassis is None:
            raise EdgeError(NAMELESS)
        self._controller.chassis.trust.keeper.renew()
        return ""

    def refresh(self, _argv: list[str]) -> str:
        controller = self._controller
        if controller.agent is None:
            raise EdgeError(NAMELESS)
        controller.agent.touch_all()
        controller.kernel.hurry(self._now())
        controller.mtu.hurry(self._now())
        return ""


def _credentials(chassis: Chassis | None) -> dict[str, object]:
    if chassis is None:
        return {"ike_daemon": None, "ike_kind": None, "certificate": None, "auths": []}
    credentials, ike = chassis.trust.keys.credentials, chassis.ike
    own = credentials.ca or credentials.pinned
    return {
        "ike_daemon": ike.version if ike.ready else None,
        "ike_kind": ike.backend.kind,
        "certificate": own.subject if own is not None else None,
        "auths": sorted(chassis.trust.auths),
    }
