# SPDX-License-Identifier: Apache-2.0
"""What systemd says of the units of a host, to what is well with them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ovn_ipsec.cli.doctor.checkup import Check
from ovn_ipsec.cli.doctor.unitcheck import (
    CONTROLLER,
    DROP_IN,
    GUARD,
    INSTALL,
    INSTALL_IKE,
    INSTALL_PLUTO,
    INSTALL_STOCK,
    LIBRESWAN,
    MIGRATE,
    STARTER,
    STOCK,
    STRONGSWAN,
    examine_units,
)
from ovn_ipsec.cli.machine.units import parse_units
from ovn_ipsec.cli.machine.values import Unit
from ovn_ipsec.model.ike import Ike


def up(name: str, **more: str) -> Unit:
    return replace(Unit(name=name, load="loaded", active="active", starts="enabled"), **more)


GOOD = {
    CONTROLLER: up(CONTROLLER),
    GUARD: up(GUARD, active="inactive"),
    STRONGSWAN: up(STRONGSWAN, kill_signal="9"),
}


def found(
    *units: Unit, runs: bool = True, daemon: bool = True, part: str = ""
) -> list[tuple[bool | None, str, str]]:
    checks = examine_units({**GOOD, **{u.name: u for u in units}}, runs=runs, daemon=daemon)
    return [
        (check.is_well, check.said, check.next_step)
        for check in checks
        if check.part == part or (not part and not check.is_well)
    ]


def test_a_host_as_the_packages_leave_it_is_well():
    """Also where the guard has nothing to do, and nothing of the stock daemons is there."""
    assert [] == found()
    assert [(True, "active, enabled", "")] == found(part="controller unit")
    assert [(True, "inactive, enabled", "")] == found(part="guard unit")
    assert [(True, "in force", "")] == found(part="strongSwan drop-in")
    assert [(True, "not installed", "")] == found(part=STOCK)


def test_without_systemd_units_are_not_applicable():
    """A container is no worse for it."""
    (check,) = examine_units({}, runs=False, daemon=False)
    said = "not applicable: systemd does not run here"
    assert Check(part="units", is_well=True, said=said) == check


@pytest.mark.parametrize(
    ("how", "is_well", "said", "step"),
    [
        ({"load": "masked", "active": "inactive"}, False, "masked", "systemctl unmask"),
        ({"active": "failed", "result": "exit-code"}, False, "failed: exit-code", "journalctl"),
        ({"active": "failed"}, False, "failed: no reason given", "journalctl"),
        ({"active": "activating", "sub": "auto-restart"}, False, "ends as soon", "journalctl"),
        ({"active": "activating", "sub": "start"}, None, "not started yet", "journalctl"),
        ({"starts": "disabled"}, False, "active, disabled: not started", "systemctl enable ovn"),
        ({"active": "inactive"}, False, "inactive, enabled", "systemctl enable --now ovn"),
    ],
)
def test_a_controller_that_does_not_run_for_good_is_not_well(
    how: dict[str, str], is_well: bool | None, said: str, step: str
):
    """Whether it answers now or not, what helps is one command."""
    ((verdict, text, help_),) = found(up(CONTROLLER, **how))
    assert is_well is verdict
    assert text.startswith(said)
    assert help_.startswith(step)


@pytest.mark.parametrize("runs", [True, False])
def test_a_unit_that_is_not_there_matters_where_nothing_runs(runs: bool):
    """A container started the programs otherwise."""
    none = (Unit(name=CONTROLLER), Unit(name=STRONGSWAN))
    missing = (
        [] if runs else [(False, "not installed", INSTALL), (False, "not installed", INSTALL_IKE)]
    )
    assert missing == found(*none, runs=runs, daemon=runs)


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        (Unit(name=GUARD), "not installed: nothing is denied at boot"),
        (up(GUARD, active="failed", result="timeout"), "failed: timeout"),
        (up(GUARD, active="failed"), "failed: no reason given"),
        (up(GUARD, starts="disabled"), "disabled: nothing is denied at boot"),
        (up(GUARD, load="masked", starts=""), "masked: nothing is denied at boot"),
    ],
)
def test_a_guard_that_will_not_stand_at_the_next_boot_is_not_well(unit: Unit, said: str):
    """It is needed before anybody can look."""
    ((verdict, text, step),) = found(unit)
    assert (False, said) == (verdict, text)
    assert step


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"start_post": "{ path=/usr/sbin/swanctl }", "kill_signal": "9"}, "it runs swanctl"),
        ({"reload": "{ path=/usr/sbin/swanctl }", "kill_signal": "9"}, "it runs swanctl"),
        ({"kill_signal": "15"}, "a stop takes SAs and policies out of the kernel"),
    ],
)
def test_a_strongswan_unit_without_the_drop_in_is_not_well(how: dict[str, str], said: str):
    """It would unload our connections, or open what is closed."""
    ((verdict, text, step),) = found(up(STRONGSWAN, **how))
    assert (False, DROP_IN) == (verdict, step)
    assert text.startswith(f"not in force: {said}")


@pytest.mark.parametrize(
    ("unit", "step"),
    [
        (up(STOCK), MIGRATE),
        (up(STOCK, active="inactive", starts="disabled"), f"systemctl mask {STOCK}"),
        (up(STARTER), MIGRATE),
        (up(STARTER, active="inactive"), f"systemctl mask {STARTER}"),
    ],
)
def test_a_stock_daemon_that_runs_or_may_is_not_well(unit: Unit, step: str):
    """One that is masked or cannot come back is."""
    ((verdict, _, help_),) = found(unit)
    assert (False, step) == (verdict, help_)


@pytest.mark.parametrize(
    "unit",
    [
        up(STOCK, load="masked", active="inactive", starts="masked"),
        up(STARTER, active="inactive", starts="disabled"),
    ],
)
def test_a_stock_daemon_that_cannot_come_back_is_well(unit: Unit):
    """It says how."""
    assert [(True, unit.starts, "")] == found(unit, part=unit.name)


def test_what_systemctl_prints_is_read():
    """A block for each unit, which may have several names; what it leaves out has its default."""
    text = (
        "Names=strongswan-swanctl.service strongswan.service\nLoadState=loaded\n"
        "ActiveState=active\nSubState=running\nUnitFileState=enabled\nKillSignal=9\n"
        "ExecReload={ path=/usr/sbin/swanctl ; argv[]=swanctl --reload ; x=y }\n\n"
        "Names=openvswitch-ipsec.service\nLoadState=not-found\nActiveState=inactive\n"
    )
    seen = dict(parse_units(text))
    assert {"strongswan", "strongswan-swanctl", "openvswitch-ipsec"} == set(seen)
    assert seen["strongswan"].reload.startswith("{ path=/usr/sbin/swanctl ;")
    assert Unit(name="openvswitch-ipsec") == seen["openvswitch-ipsec"]


def test_where_libreswan_is_used_it_has_to_run_and_strongswan_not_to():
    """Each of the two takes the ports of the other."""
    units = {
        CONTROLLER: up(CONTROLLER),
        GUARD: up(GUARD, active="inactive"),
        LIBRESWAN: up(LIBRESWAN),
    }

    def judged(*more: Unit) -> dict[str, tuple[str, str]]:
        seen = {**units, **{unit.name: unit for unit in more}}
        checks = examine_units(seen, runs=True, daemon=False, ike=Ike.LIBRESWAN)
        return {check.part: (check.said, check.next_step) for check in checks if not check.is_well}

    assert judged() == {}
    assert judged(Unit(name=LIBRESWAN)) == {"Libreswan unit": ("not installed", INSTALL_PLUTO)}
    assert judged(up(STRONGSWAN)) == {
        STRONGSWAN: ("runs, so the unit ipsec cannot", f"systemctl mask --now {STRONGSWAN}")
    }
    assert judged(up(STARTER, active="inactive")) == {
        STARTER: (
            "enabled: at boot it takes the ports of the unit ipsec",
            f"systemctl mask {STARTER}",
        )
    }


def test_where_the_stock_daemon_makes_the_sas_it_has_to_run():
    """And what it starts is its own matter."""
    units = {
        CONTROLLER: up(CONTROLLER),
        GUARD: up(GUARD, active="inactive"),
        STRONGSWAN: up(STRONGSWAN, active="failed"),
        STOCK: up(STOCK),
    }

    def judged(stock: Unit) -> dict[str, tuple[str, str]]:
        seen = {**units, STOCK: stock}
        checks = examine_units(seen, runs=True, daemon=False, ike=Ike.DELEGATE)
        return {check.part: (check.said, check.next_step) for check in checks if not check.is_well}

    assert judged(up(STOCK)) == {}
    assert judged(Unit(name=STOCK)) == {"stock unit": ("not installed", INSTALL_STOCK)}
    step = f"systemctl enable --now {STOCK}"
    assert judged(up(STOCK, active="inactive")) == {"stock unit": ("inactive, enabled", step)}
