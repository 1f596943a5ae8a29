# SPDX-License-Identifier: Apache-2.0
"""Pure: the units of this host to what is well with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...model.ike import Ike
from ..machine.values import Unit
from .checkup import Check

CONTROLLER, GUARD = "ovn-ipsec-controller", "ovn-ipsec-guard"
STRONGSWAN, STARTER, STOCK = "strongswan", "strongswan-starter", "openvswitch-ipsec"
LIBRESWAN = "ipsec"
UNITS = (CONTROLLER, GUARD, STRONGSWAN, STARTER, LIBRESWAN, STOCK)
KILLED = "9"
"""SIGKILL."""
NOT_AT_BOOT = frozenset({"disabled", "masked", "masked-runtime", "bad"})

INSTALL = "install the package ovn-ipsec-host (docs/howto/install.md)"
INSTALL_IKE = "install charon-systemd and the plugin vici (docs/howto/install.md)"
INSTALL_STOCK = "install openvswitch-ipsec (docs/howto/delegate.md)"
INSTALL_PLUTO = "install libreswan (docs/howto/libreswan.md)"
DROP_IN = (
    "install strongswan.service.d/ovn-ipsec.conf (docs/howto/install.md), then systemctl"
    " daemon-reload; what /etc/systemd/system says goes before it"
)
MIGRATE = "mask it and kill it, but do not stop it (docs/howto/migrate.md)"


def examine_units(
    units: Mapping[str, Unit], *, runs: bool, daemon: bool, ike: Ike = Ike.STRONGSWAN
) -> tuple[Check, ...]:
    """Look at the units.

    Args:
        units: By name; empty where systemd does not run.
        runs: Whether a controller answers, so that it may have been started in another way.
        daemon: Whether the IKE daemon does.
        ike: Which one is used.

    Returns:
        A check for each unit that matters here.
    """
    if not units:
        said = "not applicable: systemd does not run here"
        return (Check(part="units", is_well=True, said=said),)
    found = {name: units.get(name, Unit(name=name)) for name in UNITS}
    return (
        _running("controller unit", found[CONTROLLER], otherwise=runs, install=INSTALL),
        _guard(found[GUARD]),
        *_daemon(found, ike, daemon),
    )


def _daemon(units: Mapping[str, Unit], ike: Ike, daemon: bool) -> Iterator[Check]:
    """The units of IKE daemons, and of what drives one beside the controller."""
    if ike is Ike.DELEGATE:
        # Which IKE daemon there is, and who starts it, is its own matter.
        yield _running("stock unit", units[STOCK], otherwise=daemon, install=INSTALL_STOCK)
        return
    yield from _libreswan(units, daemon) if ike is Ike.LIBRESWAN else _strongswan(units, daemon)
    yield _stock(units[STOCK])


def _strongswan(units: Mapping[str, Unit], daemon: bool) -> Iterator[Check]:
    unit = units[STRONGSWAN]
    yield _running("strongSwan unit", unit, otherwise=daemon, install=INSTALL_IKE)
    yield from _drop_in(unit)
    yield _starter(units[STARTER], STRONGSWAN)


def _libreswan(units: Mapping[str, Unit], daemon: bool) -> Iterator[Check]:
    """Libreswan is to run, and nothing that takes its ports."""
    yield _running("Libreswan unit", units[LIBRESWAN], otherwise=daemon, install=INSTALL_PLUTO)
    yield _starter(units[STRONGSWAN], LIBRESWAN)
    yield _starter(units[STARTER], LIBRESWAN)


def _running(part: str, unit: Unit, *, otherwise: bool, install: str) -> Check:
    """A unit that is to run, now and after each boot."""
    if unit.load == "not-found" and otherwise:
        return Check(part=part, is_well=True, said="not installed; it runs without")
    if unit.active == "active" and unit.starts not in NOT_AT_BOOT:
        return Check(part=part, is_well=True, said=f"{unit.active}, {unit.starts}")
    name, log = unit.name, f"journalctl -u {unit.name} -n 50"
    is_well: bool | None = False
    match unit:
        case Unit(load="not-found"):
            said, step = "not installed", install
        case Unit(load="masked"):
            said, step = "masked", f"systemctl unmask {name}; systemctl enable --now {name}"
        case Unit(active="failed"):
            said, step = f"failed: {unit.result or 'no reason given'}", log
        case Unit(active="activating", sub="auto-restart"):
            said, step = "ends as soon as it is started", log
        case Unit(active="activating" | "reloading"):
            is_well, said, step = None, "not started yet", log
        case Unit(active="active"):
            said, step = f"active, {unit.starts}: not started at boot", f"systemctl enable {name}"
        case _:
            said, step = f"{unit.active}, {unit.starts}", f"systemctl enable --now {name}"
    return Check(part=part, is_well=is_well, said=said, next_step=step)


def _guard(unit: Unit) -> Check:
    """It runs once, at boot, where a guard is kept; it need not have run in this life."""
    part, name = "guard unit", unit.name
    if unit.load == "not-found":
        return _bad(part, "not installed: nothing is denied at boot", INSTALL)
    if unit.active == "failed":
        said = f"failed: {unit.result or 'no reason given'}"
        return _bad(part, said, f"journalctl -b -u {name}")
    if unit.load == "masked" or unit.starts == "disabled":
        step = f"systemctl unmask {name}; systemctl enable {name}"
        return _bad(part, f"{unit.starts or unit.load}: nothing is denied at boot", step)
    return Check(part=part, is_well=True, said=f"{unit.active}, {unit.starts}")


def _drop_in(unit: Unit) -> Iterator[Check]:
    """What the distribution's unit does that would undo our work."""
    if unit.load != "loaded":
        return
    wrong = []
    if unit.start_post or unit.reload:
        wrong.append("it runs swanctl, which unloads connections that are in no file")
    if unit.kill_signal != KILLED:
        wrong.append("a stop takes SAs and policies out of the kernel")
    part = "strongSwan drop-in"
    if wrong:
        yield _bad(part, f"not in force: {'; '.join(wrong)}", DROP_IN)
    else:
        yield Check(part=part, is_well=True, said="in force")


def _starter(unit: Unit, ours: str) -> Check:
    """Another unit of an IKE daemon; only one of the two may run."""
    if unit.active in ("active", "activating"):
        step = MIGRATE if ours == STRONGSWAN else f"systemctl mask --now {unit.name}"
        return _bad(unit.name, f"runs, so the unit {ours} cannot", step)
    if unit.starts == "enabled":
        said = f"enabled: at boot it takes the ports of the unit {ours}"
        return _bad(unit.name, said, f"systemctl mask {unit.name}")
    return Check(part=unit.name, is_well=True, said=_idle(unit))


def _stock(unit: Unit) -> Check:
    """ovs-monitor-ipsec, which manages the same connections."""
    if unit.active in ("active", "activating"):
        return _bad(unit.name, "runs: it and the controller would own the same tunnels", MIGRATE)
    if unit.load == "loaded":
        said = f"{_idle(unit)}, not masked: when it is started it ends the controller"
        return _bad(unit.name, said, f"systemctl mask {unit.name}")
    return Check(part=unit.name, is_well=True, said=_idle(unit))


def _idle(unit: Unit) -> str:
    return "not installed" if unit.load == "not-found" else unit.starts or unit.load


def _bad(part: str, said: str, step: str) -> Check:
    return Check(part=part, is_well=False, said=said, next_step=step)
