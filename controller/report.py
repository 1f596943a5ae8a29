# SPDX-License-Identifier: Apache-2.0
"""Pure: what this chassis reports of itself: its digest, and the answers to appctl."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ovn_ipsec import __version__
from ovn_ipsec.errors import InputError, IPsecError
from ovn_ipsec.model.policy import ClusterPolicy, Phase, Profile
from ovn_ipsec.model.status import Digest
from ovn_ipsec.model.text import plural

from .plan.agent import Agent
from .plan.connection import ConnName, established
from .plan.guard import GuardCounters, GuardState
from .plan.mtu import Ends, ends_of, inner_of
from .plan.pair.facts import NOTHING_SEEN, initiates
from .plan.pair.record import PairRecord

FAULT_MAX = 300
"""Maximum length of the text about a failure, in characters."""


def digest(
    agent: Agent,
    applied: ClusterPolicy,
    *,
    daemon: str,
    problems: Iterable[str],
    expires: datetime | None,
) -> Digest:
    """Summarise this chassis.

    Args:
        agent: Its pairs.
        applied: The policy that every pair follows.
        daemon: The IKE daemon and its version, for people.
        problems: What is wrong, most important first; empty texts are skipped.
        expires: When the certificate expires.
    """
    return Digest(
        generation=applied.generation,
        phase=applied.phase,
        counts=agent.pair_counts(),
        across=agent.pair_counts(across=True),
        agent=f"ovn-ipsec-controller {__version__} {daemon}".strip(),
        problem="; ".join(problem for problem in problems if problem),
        expires=expires,
        profiles=frozenset({Profile.DEFAULT}) if agent.able is None else agent.able,
    )


def awaited(said: Digest) -> int | None:
    """The generation for which every pair of this zone is up in `establish`; None if they are not.

    The gate there waits for nothing else of a chassis, so this is reported at once, and only once
    for a generation.
    """
    up = said.phase is Phase.ESTABLISH and said.within.all_up
    return said.generation if up else None


def fault(error: Exception) -> str:
    """What went wrong, in one bounded line, without the values that it went wrong with."""
    if isinstance(error, IPsecError):
        return error.diagnostics()[:FAULT_MAX]
    return f"internal error {type(error).__name__} (see the log)"


def undecided_problems(undecided: Mapping[ConnName, str]) -> list[str]:
    """Name the pairs that could not be decided: at most one, and the number of the others."""
    if not undecided:
        return []
    name = min(undecided)
    more = f" and {len(undecided) - 1} more" if len(undecided) > 1 else ""
    return [f"pair {name}{more} cannot be decided: {undecided[name]}"]


def profile_problem(agent: Agent) -> str:
    """Name the profiles that pairs should have and the IKE daemon cannot do; empty: none."""
    lacking = [
        f"{profile} ({plural(agent.tally.profiles[profile], 'pair')})"
        for profile in Profile
        if agent.able is not None
        and profile not in agent.able
        and agent.tally.profiles[profile] > 0
    ]
    return f"the IKE daemon cannot do profile {', '.join(lacking)}" if lacking else ""


def delegate_problem(agent: Agent, *, owns: bool) -> str:
    """Say for how many pairs a quarantine does not hold; empty: for none.

    ovs-monitor-ipsec goes by the tunnel ports, and ovn-controller marks all of them, or none.

    Args:
        agent: Whose pairs they are.
        owns: Whether the ports are ours: then only what is to be encrypted is marked.
    """
    barred = agent.pair_counts().quarantined
    if owns or not barred or not agent.abilities.delegated:
        return ""
    return (
        f"ovs-monitor-ipsec goes on encrypting {plural(barred, 'pair')} in quarantine, because"
        " ovn-controller has the tunnel ports (docs/howto/delegate.md)"
    )


def refusal_summary(refusals: Iterable[InputError], limit: int = 3) -> str:
    """The first refusals in words, and the number of the others."""
    found = list(refusals)
    words = "; ".join(error.diagnostics() for error in found[:limit])
    rest = len(found) - limit
    return f"{words}; and {plural(rest, 'more refusal')}" if rest > 0 else words


def peers(agent: Agent, now: float, paths: Mapping[Ends, int]) -> list[dict[str, Any]]:
    """One object for each pair, sorted by peer and addresses.

    Args:
        agent: Whose pairs they are.
        now: Monotonic seconds.
        paths: MTUs of paths, as far as they are known.
    """
    records = sorted(agent.records.values(), key=lambda r: (r.pair.peer, str(r.name)))
    return [_peer(agent, record, now) | _mtus(agent, record, paths) for record in records]


def _peer(agent: Agent, record: PairRecord, now: float) -> dict[str, Any]:
    seen = agent.seen.get(record.name, NOTHING_SEEN)
    pair, intent = record.pair, agent.intent(record.name)
    labels = intent.labels if intent is not None else ()
    return {
        "peer": pair.peer,
        "type": pair.type.value,
        "local": str(pair.local),
        "remote": str(pair.remote),
        "out_port": pair.out_port,
        "in_port": pair.in_port,
        "mode": record.mode.value,
        "profile": record.profile.value,
        "classes": [label.class_name or "" for label in labels],
        "state": record.state.value,
        "since_s": round(max(0.0, now - record.since), 1),
        "initiator": initiates(agent.this_chassis, pair.peer),
        "ike": sum(established(sa) for sa in seen.sas),
        "esp": len(list(seen.children())),
        "spis": sorted(f"{child.spi_in:08x}" for child in seen.children()),
        "traps": len(seen.traps),
        "orphaned": seen.orphaned,
        "auth": next((sa.auth.value for sa in seen.sas if established(sa)), ""),
        "suite": next((child.suite for child in seen.children()), ""),
        "last_error": record.error,
    }


def _mtus(agent: Agent, record: PairRecord, paths: Mapping[Ends, int]) -> dict[str, Any]:
    """How large packets may be; None: not known."""
    path = paths.get(ends_of(record))
    return {"path_mtu": path, "inner_mtu": inner_of(agent, record, paths)}


_ABLE = {True: "yes", False: "no", None: "not known"}


def status_text(found: Mapping[str, Any]) -> str:
    """The answer to `status` for people: a name and a value in each line.

    Args:
        found: What `status json` says.
    """
    pairs = [f"{number} {state}" for state, number in found["pairs"].items()]
    layers = [f"{name} {_ABLE[able]}" for name, able in found["guard_layers"].items()]
    daemon = found["ike_daemon"]
    lines = {
        "Status": found["doing"],
        "Chassis": found["chassis"],
        "Southbound": "connected" if found["southbound_connected"] else "not connected",
        "Wanted": _policy(found["wanted_phase"], found["wanted_generation"]),
        "Applied": _policy(found["phase"], found["generation"]),
        "Held because": found["held_because"],
        "Pairs": ", ".join(pairs),
        "IKE daemon": f"{found['ike_kind']} {daemon}" if daemon else "not reached",
        "Certificate": found["certificate"],
        "Authentication": " ".join(found["auths"]),
        "Kernel has ESP": _ABLE[found["esp"]],
        "Guard layers": ", ".join(layers),
        "MTU": room_text(found["mtu"]) or "not known",
        "Tunnel ports": found["tunnel_ports"],
        "ovn-controller": found["ovn_controller_unknown"],
    }
    optional = {"Held because", "ovn-controller"}
    said = [(key, text or "none") for key, text in lines.items() if text or key not in optional]
    said += [("Problem", problem) for problem in found["problems"]]
    return "\n".join(f"{key}: {text}" for key, text in said)


def room_text(room: Mapping[str, int] | None) -> str:
    """How large packets may be, in words; empty: not known.

    Args:
        room: A Room as an object.
    """
    if room is None:
        return ""
    text = f"{room['underlay']} on the underlay, {room['inner']} left to workloads"
    if room["larger"]:
        text += f", but {plural(room['larger'], 'interface')} with a larger MTU"
    return text


def _policy(phase: str | None, generation: int | None) -> str:
    return "" if phase is None else f"{phase} generation {generation}"


_COLUMNS = (
    "peer",
    "type",
    "remote",
    "local",
    "mode",
    "profile",
    "state",
    "ike",
    "esp",
    "since_s",
    "inner_mtu",
    "last_error",
)


def peers_text(rows: list[dict[str, Any]]) -> str:
    """The same as a table, with a line of totals."""
    lines = [[column.upper() for column in _COLUMNS]]
    lines.extend([_cell(row[column]) for column in _COLUMNS] for row in rows)
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    states = [row["state"] for row in rows]
    totals = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    return "\n".join([*table, f"{plural(len(rows), 'pair')}: {totals or 'none'}"])


def _cell(value: object) -> str:
    return "-" if value in (None, "") else str(value)


def guard_object(
    wanted: GuardState | None,
    counters: Mapping[str, GuardCounters | None],
    problems: Mapping[str, str],
) -> dict[str, Any]:
    """The guard as an object for JSON: what is in force, what it counted, what is wrong."""
    return {
        "in_force": wanted is not None,
        "ports": sorted(wanted.ports) if wanted else [],
        "local": sorted(map(str, wanted.local)) if wanted else [],
        "may_be_clear": len(wanted.may_clear) if wanted else 0,
        "counters": {name: _packets(found) for name, found in counters.items()},
        "problems": dict(problems),
    }


def _packets(found: GuardCounters | None) -> dict[str, int | None] | None:
    return {key: one for key, one in asdict(found).items() if key != "epoch"} if found else None


def as_json(value: object) -> str:
    """Format as JSON."""
    return json.dumps(value, indent=1)
