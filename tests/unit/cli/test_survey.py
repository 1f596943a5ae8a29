# SPDX-License-Identifier: Apache-2.0
"""That doctor looks at each part of a machine on its own: what one lacks hides no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ovn_ipsec.cli.doctor import survey
from ovn_ipsec.cli.doctor.hostcheck import LOOK, Host
from ovn_ipsec.cli.doctor.survey import Places
from ovn_ipsec.cli.doctor.unitcheck import CONTROLLER, STARTER, STOCK
from ovn_ipsec.cli.machine.values import (
    Credentials,
    Daemon,
    DaemonFiles,
    KeptGuard,
    Modules,
    Pluto,
    Unit,
)
from ovn_ipsec.errors import EdgeError, IkeError, NftError, XfrmError
from ovn_ipsec.model.ike import Ike, IkesHere
from ovn_ipsec.schema.open_vswitch import parse_local

PLACES = Places(vici="unix:///x", state_dir=Path("/state"))
HOST = Host(local=parse_local({}, {}, "hv1"))
LOOKS = {
    "units": "units.units",
    "vici": "charon.look",
    "UDP ports": "ports.holders",
    "modules": "kernel.modules",
    "boot guard": "boot_guard.kept_guard",
    "guard, nftables": "nft.guarded_ports",
    "guard, XFRM": "xfrm.policies",
    "certificate": "credentials.read",
    "clock": "kernel.clock_is_set",
}
HIDES = {
    "units": {"controller unit", "guard unit", "strongSwan unit", STARTER, STOCK},
    "vici": {"plugins", "settings"},
    "UDP ports": {"UDP port 500", "UDP port 4500"},
    "boot guard": {"guard, nftables", "guard, XFRM"},
}
"""Parts that one look is for."""
SEEN: dict[str, object] = {
    "units": {CONTROLLER: Unit(name=CONTROLLER)},
    "vici": Daemon(version="5.9.8"),
    "UDP ports": (),
    "modules": Modules(release="6.1"),
    "boot guard": KeptGuard(path="/x", ports=frozenset({6081})),
    "guard, nftables": None,
    "guard, XFRM": [],
    "certificate": Credentials(),
    "clock": True,
}


def answering(answer: object) -> Callable[..., object]:
    def look(*_words: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return look


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of which everything can be seen."""
    for part, name in LOOKS.items():
        monkeypatch.setattr(*pair(name, answering(SEEN[part])))
    monkeypatch.setattr(survey.charon, "files", DaemonFiles)


def pair(name: str, function: object) -> tuple:
    module, attribute = name.split(".")
    return getattr(survey, module), attribute, function


def parts(host: Host = HOST, *, runs: bool = True) -> dict[str, bool | None]:
    return {c.part: c.is_well for c in survey.survey(host, "hv1", PLACES, runs=runs)}


def test_every_part_of_a_machine_is_looked_at():
    """Nothing is unknown where everything was seen."""
    assert None not in parts().values()
    assert set(LOOKS) - {"units", "UDP ports"} < set(parts())
    assert {"controller unit", "strongSwan unit", "UDP port 500", "plugins", "settings"} < set(
        parts()
    )


@pytest.mark.parametrize("part", LOOKS)
@pytest.mark.parametrize(
    "error",
    [
        EdgeError("gone"),
        IkeError("gone"),
        NftError("gone"),
        XfrmError("gone"),
        PermissionError(13, "Permission denied", "/x"),
        ValueError("odd"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_be_seen_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, part: str, error: Exception
):
    """It is unknown, with the reason and a next step; all else is as it was."""
    before = parts()
    monkeypatch.setattr(*pair(LOOKS[part], answering(error)))
    checks = survey.survey(HOST, "hv1", PLACES, runs=True)
    (unseen,) = [check for check in checks if check.is_well is None]
    assert (part, LOOK) == (unseen.part, unseen.next_step)
    assert any(word in unseen.said for word in ("gone", "/x: Permission denied", "odd"))
    after = {check.part for check in checks}
    assert set(before) - after <= {part} | HIDES.get(part, set())


def test_without_the_local_database_no_file_is_missed():
    """Nobody knows which they would be."""
    assert "certificate" not in parts(replace(HOST, local=None))


@pytest.mark.parametrize(
    ("named", "configured", "expected"),
    [
        ("unix:///flag", "unix:///row", "unix:///flag"),
        (None, "unix:///row", "unix:///row"),
        (None, None, "unix:///run/charon.vici"),
    ],
)
def test_charon_is_asked_where_the_controller_asks_it(
    named: str | None, configured: str | None, expected: str
):
    """By the flag, then by Open_vSwitch, then where strongSwan has its socket."""
    config = {"ovn-ipsec-vici": configured} if configured else {}
    here = parse_local({}, config, "hv1")
    assert expected == survey.vici_of(Places(vici=named), here)
    assert (named or "unix:///run/charon.vici") == survey.vici_of(Places(vici=named), None)


FOUND = Pluto(version="4.10", included=("/etc/ipsec.d/*",))


def set_to(ike: str) -> Host:
    return replace(HOST, local=parse_local({}, {"ovn-ipsec-ike": ike}, "hv1"))


def test_where_libreswan_is_used_it_is_looked_at_and_strongswan_is_not(
    monkeypatch: pytest.MonkeyPatch,
):
    """One that cannot be seen hides no other."""
    monkeypatch.setattr(survey.charon, "look", answering(AssertionError("nobody asked")))
    monkeypatch.setattr(survey.pluto, "look", answering(FOUND))
    found = parts(set_to("libreswan"))
    assert {"Libreswan unit", "pluto", "secrets", "UDP port 500"} < found.keys()
    assert not {"vici", "plugins", "settings"} & found.keys()
    monkeypatch.setattr(survey.pluto, "look", answering(EdgeError("hangs")))
    found = parts(set_to("libreswan"))
    assert found["pluto"] is None
    assert "secrets" not in found


def test_where_the_stock_daemon_makes_the_sas_no_ike_daemon_is_asked(
    monkeypatch: pytest.MonkeyPatch,
):
    """Which one it drives is its own matter."""
    monkeypatch.setattr(survey.charon, "look", answering(AssertionError("nobody asked")))
    monkeypatch.setattr(survey.pluto, "look", answering(AssertionError("nobody asked")))
    found = parts(set_to("delegate"))
    assert {"stock unit", "UDP port 500", "certificate"} < found.keys()
    assert not {"vici", "pluto", "strongSwan unit", "openvswitch-ipsec"} & found.keys()


def test_two_daemons_that_run_are_told(monkeypatch: pytest.MonkeyPatch):
    """As the controller does."""
    for running in ({Ike.STRONGSWAN}, {Ike.STRONGSWAN, Ike.LIBRESWAN}):
        here = IkesHere(running=frozenset(running))
        monkeypatch.setattr(survey.ikes, "look", lambda _vici, here=here: here)
        assert parts(set_to("auto")).get("IKE daemons") is (None if len(running) == 1 else False)
