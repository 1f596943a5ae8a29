# SPDX-License-Identifier: Apache-2.0
"""Pure: from what a controller reports of its chassis to what is healthy there, part by part.

Input: its answers to ``status json``, ``guard/show`` and ``peers/show json``. Output: Checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...model.ike import NAMES, Ike
from ...schema.report import printable
from ..settings import Exit

Answer = Mapping[str, Any]

NAMED_PAIRS = 3
"""Pairs that are not up and are told one by one; the rest is counted."""
CLOSED = ("establish", "enforce")
"""Phases in which the guard has to be in force."""
IKE, GUARD = "IKE daemon: ", "guard "
"""How problems of these parts begin (controller.daemon.Controller.problems)."""

SEE_LOG = "read the log of ovn-ipsec-controller"
NAME_IT = "set external_ids:system-id in Open_vSwitch, as for ovn-controller"
CONNECT = "compare external_ids:ovn-remote and `ovs-vsctl get-ssl` with what ovn-controller uses"
FOLLOW = f"wait a moment; if it does not change, {SEE_LOG}"
START_PLUTO = "systemctl start ipsec, or journalctl -u ipsec -n 50 (docs/howto/libreswan.md)"
START_STOCK = "systemctl enable --now openvswitch-ipsec (docs/howto/delegate.md)"
START_IKE = "start strongSwan with charon-systemd and the plugin vici (docs/howto/install.md)"
STARTS = {NAMES[Ike.LIBRESWAN]: START_PLUTO, NAMES[Ike.DELEGATE]: START_STOCK}
CLOSE = f"{SEE_LOG}: it names the layer that the kernel refuses"
LAYERS = (
    "load the modules nf_tables and nft_xfrm, or boot a kernel with CONFIG_XFRM: without either"
    " layer nothing keeps clear text from leaving"
)
ESP = (
    "modprobe esp4, and esp6 for IPv6; see what blocks them: grep -r 'esp[46]' /etc/modprobe.d"
    " /lib/modprobe.d"
)
HELD = (
    "fix the cause that it names: until then closed pairs stay closed, and on this host only"
    " ovn-ipsec-controller --flush opens them"
)
NEXT = (
    (
        "pins are no more trustworthy",
        "use ssl: for the southbound, and set role=ovn-controller on its Connection row",
    ),
    (
        "ovs-monitor-ipsec goes on",
        "stop the chassis in quarantine: nothing ends its SAs here (docs/howto/delegate.md)",
    ),
    ("ovs-monitor-ipsec", "mask it and kill it, but do not stop it (docs/howto/migrate.md)"),
    (
        "no certificate: set",
        "set the paths of the files, or have a certificate signed (docs/howto/authentication.md)",
    ),
    (
        "no secret: set",
        "copy the secret file to this host and set its path (docs/howto/authentication.md)",
    ),
    (
        "expire",
        "replace the certificate with a new one; it is picked up without losing a packet",
    ),
    ("ESP", ESP),
)
"""What to do about a problem, by words in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One part of a chassis."""

    part: str
    is_well: bool | None
    """None: nobody can tell."""
    said: str
    next_step: str = ""
    """Empty where all is well."""


def verdict(checks: Iterable[Check]) -> Exit:
    """Judge a chassis by all of its checks: what is bad counts before what nobody can tell."""
    found = {check.is_well for check in checks}
    if False in found:
        return Exit.DEGRADED
    return Exit.CANNOT_TELL if None in found else Exit.WELL


def examine(status: Answer, guard: Answer, peers: Sequence[Answer]) -> tuple[Check, ...]:
    """Look at every part of a chassis that its controller speaks of.

    Args:
        status: Answer to ``status json``; what a controller of another version does not say is
            not judged.
        guard: Answer to ``guard/show``.
        peers: Answer to ``peers/show json``.

    Returns:
        What is asked of every chassis, in the order in which one thing needs the other, and behind
        it each problem that belongs to none of these.
    """
    problems = [printable(str(one), 400) for one in status.get("problems") or ()]
    phase = str(status.get("wanted_phase"))
    ways = " ".join(map(str, status.get("auths") or ()))
    name, daemon = status.get("chassis"), status.get("ike_daemon")
    kernel = [*_esp(status), *_layers(status)]
    rest = [*_held(status), *(_other(one) for one in problems if not one.startswith((IKE, GUARD)))]
    if name is None:
        nameless = Check(part="name", is_well=False, said="none", next_step=NAME_IT)
        return (nameless, *kernel, *rest)
    ike, kind = _first(problems, IKE), printable(str(status.get("ike_kind") or "strongSwan"), 40)
    start = STARTS.get(kind, START_IKE)
    return (
        Check(part="name", is_well=True, said=printable(str(name), 253)),
        _check(
            "southbound", status.get("southbound_connected"), "connected", "not connected", CONNECT
        ),
        _policy(status, phase),
        _check("IKE daemon", daemon and not ike, f"{kind} {daemon}", ike or "none", start),
        _check("credentials", ways or phase == "off", ways or "none needed", "none", SEE_LOG),
        *kernel,
        _guard(guard, phase, _first(problems, GUARD)),
        _pairs(str(name), peers),
        *rest,
    )


def _esp(status: Answer) -> Iterator[Check]:
    if "esp" not in status:
        return
    match status["esp"]:
        case True:
            yield Check(part="ESP", is_well=True, said="supported by the kernel")
        case False:
            said = "not supported by the kernel, so no SA can be installed"
            yield Check(part="ESP", is_well=False, said=said, next_step=ESP)
        case _:
            said = "the kernel does not say whether it supports it"
            yield Check(part="ESP", is_well=None, said=said, next_step=SEE_LOG)


def _layers(status: Answer) -> Iterator[Check]:
    layers = status.get("guard_layers")
    if not isinstance(layers, Mapping) or not layers:
        return
    there = [str(name) for name, able in sorted(layers.items()) if able is True]
    lacking = [str(name) for name, able in sorted(layers.items()) if able is False]
    unclear = [str(name) for name in sorted(layers) if layers[name] not in (True, False)]
    said = "; ".join(
        f"{what} {' '.join(names)}"
        for what, names in (("", there), ("missing:", lacking), ("unknown:", unclear))
        if names
    ).strip()
    is_well = True if there else None if unclear else False
    step = "" if is_well else LAYERS if is_well is False else SEE_LOG
    yield Check(part="guard layers", is_well=is_well, said=printable(said, 200), next_step=step)


def _held(status: Answer) -> Iterator[Check]:
    if why := status.get("held_because"):
        said = printable(f"an older state is kept: {why}", 400)
        yield Check(part="held", is_well=False, said=said, next_step=HELD)


def _check(part: str, is_well: object, good: str, bad: str, step: str) -> Check:
    if is_well:
        return Check(part=part, is_well=True, said=good)
    return Check(part=part, is_well=False, said=bad, next_step=step)


def _first(problems: Iterable[str], start: str) -> str:
    return next((one.removeprefix(start) for one in problems if one.startswith(start)), "")


def _policy(status: Answer, phase: str) -> Check:
    applied = (status.get("generation"), status.get("phase"))
    wanted = (status.get("wanted_generation"), status.get("wanted_phase"))
    here = f"generation {applied[0]}, {applied[1]}"
    behind = f"{here}; the southbound asks for generation {wanted[0]}, {phase}"
    return _check("policy", applied == wanted, here, behind, FOLLOW)


def _guard(guard: Answer, phase: str, problem: str) -> Check:
    if problem:
        return Check(part="guard", is_well=False, said=problem, next_step=CLOSE)
    in_force = bool(guard.get("in_force"))
    said = "in force" if in_force else "not in force"
    if in_force and guard.get("may_be_clear"):
        said += f"; {guard['may_be_clear']} directions may be clear"
    return _check("guard", in_force or phase not in CLOSED, said, said, CLOSE)


def _pairs(name: str, peers: Sequence[Answer]) -> Check:
    down = [one for one in peers if one.get("state") in ("pending", "blocked")]
    if not down:
        return Check(part="pairs", is_well=True, said=f"{len(peers)}, none missing")
    told = [
        printable(f"{one.get('peer')} {one.get('state')} {one.get('last_error') or ''}", 200)
        for one in down[:NAMED_PAIRS]
    ]
    more = f" and {len(down) - NAMED_PAIRS} more" if len(down) > NAMED_PAIRS else ""
    peer = printable(str(down[0].get("peer")), 253)
    return Check(
        part="pairs",
        is_well=False,
        said=f"{len(down)} of {len(peers)} not up: {', '.join(map(str.strip, told))}{more}",
        next_step=f"ovn-ipsec explain {name} {peer}",
    )


def _other(problem: str) -> Check:
    step = next((step for words, step in NEXT if words in problem), SEE_LOG)
    return Check(part="problem", is_well=False, said=problem, next_step=step)
