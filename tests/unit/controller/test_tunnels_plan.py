# SPDX-License-Identifier: Apache-2.0
"""Which ports are wanted, what is done to those that are there, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.plan.ports import tunnels
from controller.plan.ports.delegated import PinPaths, delegated_ports
from controller.plan.ports.tunnels import (
    Mark,
    PortPlan,
    PortSettings,
    Repair,
    SeenPorts,
    TunnelPort,
    WantedPort,
    marks,
    plan_ports,
    wanted_ports,
)
from controller.plan.ports.values import parse_id
from ovn_ipsec.model.chassis import ChassisName, EncapType, Pair
from ovn_ipsec.model.status import PairState

CLEAR = PortSettings(ipsec=False)
IPSEC = PortSettings(ipsec=True)
MESH = PortSettings(ipsec=True, several=frozenset({EncapType.GENEVE}))


def pair(
    peer: str = "hv2", remote: str = "10.0.0.2", local: str = "10.0.0.1", port: int = 6081
) -> Pair:
    """A geneve pair."""
    return Pair(
        peer=ChassisName(peer),
        type=EncapType.GENEVE,
        local=ip_address(local),
        remote=ip_address(remote),
        out_port=port,
        in_port=6081,
    )


def want(*pairs: Pair, settings: PortSettings = IPSEC) -> tuple[WantedPort, ...]:
    """The wanted ports of pairs whose encaps do not speak of checksums."""
    return wanted_ports([(some, None) for some in pairs], settings)


def seen(*ports: TunnelPort, used: frozenset[str] = frozenset()) -> SeenPorts:
    """Observed ports."""
    names = used | {port.name for port in ports}
    return SeenPorts(bridge="br-int", ports=ports, used_names=names)


def port_of(wanted: WantedPort, name: str = "ovn-hv2-0", mark: str | None = None) -> TunnelPort:
    """A port that is what is wanted."""
    return TunnelPort(
        row=f"row of {name}",
        name=name,
        chassis_id=wanted.chassis_id,
        type=wanted.type,
        options=wanted.options,
        mark=mark,
    )


def after(plan: PortPlan, before: SeenPorts) -> SeenPorts:
    """What is there when the plan has been applied."""
    gone = {port.row for port in plan.delete} | {repair.port.row for repair in plan.repair}
    ports = [port for port in before.ports if port.row not in gone]
    ports += [replace(r.port, type=r.wanted.type, options=r.options) for r in plan.repair]
    ports += [port_of(new.wanted, new.name) for new in plan.create]
    return seen(*sorted(ports, key=lambda port: port.name))


def test_the_least_port_has_remote_and_key() -> None:
    """Without ipsec and without settings nothing else is in the options."""
    (wanted,) = want(pair(), settings=CLEAR)
    assert "hv2@10.0.0.2" == wanted.chassis_id
    assert (("key", "flow"), ("remote_ip", "10.0.0.2")) == wanted.options
    assert EncapType.GENEVE == wanted.type


@pytest.mark.parametrize(("csum", "text"), [(True, "true"), (False, "false")])
def test_everything_that_is_set_is_in_the_options(*, csum: bool, text: str) -> None:
    """Every option of ovn-controller, sorted."""
    settings = PortSettings(
        ipsec=True,
        sb_options={"ipsec_encapsulation": "TRUE", "ipsec_forceencaps": "true", "ipsec_x": "true"},
        tos="inherit",
        df_default="false",
    )
    (wanted,) = wanted_ports([(pair(port=7081), csum)], settings)
    expected = {
        "csum": text,
        "df_default": "false",
        "dst_port": "7081",
        "ipsec_encapsulation": "yes",
        "ipsec_forceencaps": "yes",
        "key": "flow",
        "local_ip": "10.0.0.1",
        "remote_ip": "10.0.0.2",
        "remote_name": "hv2",
        "tos": "inherit",
    }
    assert tuple(sorted(expected.items())) == wanted.options


@pytest.mark.parametrize("text", ["yes", "1", "false", ""])
def test_a_switch_is_on_by_true_only(text: str) -> None:
    """As smap_get_bool reads it."""
    settings = PortSettings(ipsec=True, sb_options={"ipsec_forceencaps": text})
    (expected,), (actual,) = want(pair(), settings=IPSEC), want(pair(), settings=settings)
    assert expected.options == actual.options


def test_switches_do_nothing_without_ipsec() -> None:
    """ovn-controller looks at them only with SB ipsec."""
    settings = PortSettings(ipsec=False, sb_options={"ipsec_forceencaps": "true"}, tos="")
    assert want(pair(), settings=CLEAR) == want(pair(), settings=settings)


@pytest.mark.parametrize("settings", [CLEAR, IPSEC])
def test_for_the_stock_daemon_a_port_names_its_peer_only_to_have_it_encrypted(
    settings: PortSettings,
) -> None:
    """By the state of its pair alone, whatever the switch of the southbound says already."""
    states = list(PairState)
    pairs = [pair(f"hv{number}", f"10.0.0.{number}") for number in range(2, 2 + len(states))]
    wanted = delegated_ports(
        [(one, None, state) for one, state in zip(pairs, states, strict=True)], settings
    )
    assert [one.pair for one in wanted] == pairs
    named = {
        states[number] for number, one in enumerate(wanted) if "remote_name" in dict(one.options)
    }
    assert named == set(PairState) - {PairState.CLEAR, PairState.QUARANTINED}
    assert all(
        ("local_ip" in dict(one.options)) is ("remote_name" in dict(one.options)) for one in wanted
    )


@pytest.mark.parametrize(
    ("state", "in_use", "named"),
    [
        (PairState.PENDING, "", "new"),
        (PairState.BLOCKED, "", "new"),
        (PairState.LINGERING, "old", "new"),
        (PairState.BLOCKED, "old", "new"),
        (PairState.ENCRYPTED, "", "new"),
        (PairState.ENCRYPTED, "old", "old"),
        (PairState.ENCRYPTED, "new", "new"),
        (PairState.ENCRYPTED, "older", "new"),
        (PairState.CLEAR, "new", None),
        (PairState.QUARANTINED, "new", None),
    ],
)
def test_a_port_names_the_certificate_that_its_pair_is_encrypted_with(
    state: PairState, in_use: str, named: str | None
) -> None:
    """As long as it is accepted; else the newest, instead of the name of the chassis."""
    pins = PinPaths(of_peer={ChassisName("hv2"): ["new", "old"]}, in_use={in_use})
    wanted = delegated_ports([(pair(), True, state)], IPSEC, pins)
    (options,) = (dict(one.options) for one in wanted)
    assert options.get("remote_cert") == named
    assert "remote_name" not in options
    assert ("local_ip" in options) is (named is not None)


def test_a_port_to_a_peer_without_a_certificate_names_nobody() -> None:
    """An authority's signature is not what is asked for."""
    pins = PinPaths(of_peer={}, in_use=frozenset())
    wanted = delegated_ports([(pair(), None, PairState.BLOCKED)], IPSEC, pins)
    assert wanted == want(pair(), settings=CLEAR)


def test_local_ip_can_be_asked_for() -> None:
    """external_ids:ovn-set-local-ip, without ipsec."""
    (wanted,) = want(pair(), settings=PortSettings(ipsec=False, set_local_ip=True))
    assert "10.0.0.1" == dict(wanted.options)["local_ip"]
    assert "remote_name" not in dict(wanted.options)


def test_several_local_encaps_make_the_id_long() -> None:
    """Else two ports would have one id, and one another's options."""
    two = want(pair(), pair(local="10.1.0.1"), settings=MESH)
    assert ["hv2@10.0.0.2%10.0.0.1", "hv2@10.0.0.2%10.1.0.1"] == [w.chassis_id for w in two]
    assert ["10.0.0.1", "10.1.0.1"] == [dict(w.options)["local_ip"] for w in two]


def test_names_count_in_hex_from_the_first_free() -> None:
    """By the first six characters of the chassis, past every name that is in use."""
    pairs = [pair(f"hypervisor{number:03}", f"10.0.1.{number}") for number in range(12)]
    plan = plan_ports(want(*pairs), seen(used=frozenset({"ovn-hyperv-1", "ovn-hyperv-a"})))
    expected = [f"ovn-hyperv-{number}" for number in "023456789bcd"]
    assert expected == [new.name for new in plan.create]


def test_an_indexed_chassis_has_shorter_names() -> None:
    """Where several chassis share a host: other_config:ovn-chassis-idx-<name>."""
    plan = plan_ports(want(pair("hypervisor")), seen(), index="0")
    assert ["ovn0-hyper-0"] == [new.name for new in plan.create]


def test_a_chassis_without_free_names_gets_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ovn-controller; here after two."""
    monkeypatch.setattr(tunnels, "NAMES_PER_CHASSIS", 2)
    some = want(*(pair(remote=f"10.0.0.{last}") for last in (2, 3, 4)))
    plan = plan_ports(some, seen())
    assert ["ovn-hv2-0", "ovn-hv2-1"] == [new.name for new in plan.create]


def test_what_is_right_is_left_alone() -> None:
    """Whatever its name."""
    (wanted,) = want(pair())
    assert plan_ports([wanted], seen(port_of(wanted, "mytun0"))).is_empty


def test_other_options_or_type_are_repaired() -> None:
    """In place, so that the OpenFlow port stays."""
    (old,) = want(pair(), settings=CLEAR)
    (new,) = want(pair())
    for port in (port_of(old), replace(port_of(new), type="vxlan")):
        plan = plan_ports([new], seen(port))
        assert [(port, new)] == [(r.port, r.wanted) for r in plan.repair]
        assert not plan.is_empty
        assert () == plan.create + plan.delete


def test_a_true_local_ip_needs_no_repair() -> None:
    """Newer ovn-controllers always write it; a false one is repaired."""
    (old,) = want(pair(), settings=CLEAR)
    (newer,) = want(pair(), settings=PortSettings(ipsec=False, set_local_ip=True))
    assert plan_ports([old], seen(port_of(newer))).is_empty
    (false,) = want(pair(local="10.1.0.1"), settings=PortSettings(ipsec=False, set_local_ip=True))
    assert 1 == len(plan_ports([old], seen(port_of(false))).repair)


def repair_of(port: TunnelPort, wanted: WantedPort) -> Repair | None:
    """The one repair that a port needs, if any; nothing else may be planned."""
    plan = plan_ports([wanted], seen(port))
    assert () == plan.create + plan.delete
    return plan.repair[0] if plan.repair else None


EVERYTHING = PortSettings(
    ipsec=True, sb_options={"ipsec_encapsulation": "true"}, tos="40", df_default="true"
)


@pytest.mark.parametrize(
    "spelling",
    [
        {"remote_ip": "FD00:0:0:0::0002"},
        {"local_ip": "fd00:0::1"},
        {"dst_port": "6081"},
        {"dst_port": "06081"},
        {"tos": "0x28"},
        {"tos": "050"},
        {"df_default": None},
        {"df_default": "TRUE"},
        {"ipsec_replay-window": "100"},
    ],
    ids=str,
)
def test_a_port_is_compared_by_value(spelling: dict[str, str | None]) -> None:
    """Long addresses, defaults written out or left out, numbers in other bases."""
    sb_options = {"ipsec_encapsulation": "true", "ipsec_replay-window": "100", "x": "1"}
    settings = replace(EVERYTHING, sb_options=sb_options)
    (wanted,) = want(pair(remote="fd00::2", local="fd00::1"), settings=settings)
    options = {**dict(wanted.options), **spelling}
    spelled = tuple(sorted((key, text) for key, text in options.items() if text is not None))
    assert spelled != wanted.options
    assert repair_of(replace(port_of(wanted), options=spelled), wanted) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"remote_ip": "10.0.0.3"},
        {"remote_ip": "flow"},
        {"local_ip": "10.0.0.9"},
        {"dst_port": "6082"},
        {"dst_port": "junk"},
        {"tos": "0"},
        {"tos": "inherit"},
        {"tos": "09"},
        {"tos": "28h"},
        {"tos": "4f"},
        {"df_default": "false"},
        {"csum": "false"},
        {"csum": "TRUE"},
        {"csum": None},
        {"key": "5"},
        {"in_key": "5"},
        {"psk": "secret"},
        {"ipsec_replay-window": "99"},
        {"ipsec_encapsulation": "no"},
        {"remote_name": None},
    ],
    ids=str,
)
def test_what_has_another_value_is_repaired(wrong: dict[str, str | None]) -> None:
    """Whatever Open vSwitch would do otherwise with it, and what ovn-controller never writes."""
    sb_options = {"ipsec_encapsulation": "true", "ipsec_replay-window": "100"}
    settings = replace(EVERYTHING, sb_options=sb_options)
    (wanted,) = wanted_ports([(pair(), True)], settings)
    options = {**dict(wanted.options), **wrong}
    there = tuple(sorted((key, text) for key, text in options.items() if text is not None))
    repair = repair_of(replace(port_of(wanted), options=there), wanted)
    assert repair is not None
    assert wanted.options == repair.options
    foreign = wrong.keys() - dict(wanted.options).keys() - {"dst_port", "local_ip"}
    assert foreign <= {*repair.dropped}


def test_a_repair_changes_what_is_wrong_and_nothing_else() -> None:
    """Spelling, and what another release writes, stay, so that its return costs no port."""
    settings = replace(EVERYTHING, sb_options={"ipsec_x": "1", "ipsec_forceencaps": "yes"})
    (wanted,) = want(pair(remote="fd00::2", local="fd00::1"), settings=settings)
    options = {
        **dict(wanted.options),
        "remote_ip": "fd00:0::2",
        "ipsec_x": "1",
        "ipsec_forceencaps": "yes",
        "tos": "0x10",
        "psk": "secret",
        "egress_pkt_mark": "7",
    }
    long_id = "hv2@fd00:0::2%fd00::1"
    port = replace(port_of(wanted), chassis_id=long_id, options=tuple(sorted(options.items())))
    repair = repair_of(port, wanted)
    assert repair is not None
    right = {**options, "tos": "40"}
    del right["psk"], right["egress_pkt_mark"]
    assert tuple(sorted(right.items())) == repair.options
    assert ("egress_pkt_mark", "psk") == repair.dropped
    assert "secret" not in str(repair.dropped)


def test_a_repair_of_an_older_releases_port_leaves_what_that_would_write() -> None:
    """Its local_ip goes with ipsec, for what it does not write makes it replace the port."""
    (old,), (new,) = want(pair()), want(pair(), settings=CLEAR)
    repair = repair_of(port_of(old), new)
    assert repair is not None
    assert new.options == repair.options


def test_an_id_is_compared_by_value() -> None:
    """An address that the southbound has in its long form stands so in the id."""
    (wanted,) = want(pair(remote="fd00::2", local="fd00::1"))
    for chassis_id in ("hv2@fd00:0:0::2", "hv2@FD00::2%fd00:0::1"):
        port = replace(port_of(wanted), chassis_id=chassis_id)
        assert plan_ports([wanted], seen(port)).is_empty
        assert "hv2" == port.peer
        states = {pair(remote="fd00::2", local="fd00::1"): PairState.ENCRYPTED}
        assert [PairState.ENCRYPTED] == [mark.state for mark in marks(seen(port), states)]


@pytest.mark.parametrize(
    ("chassis_id", "expected"),
    [
        ("hv2@10.0.0.2", ("hv2", "10.0.0.2", "")),
        ("hv2@fd00:0::2%fd00:0::1", ("hv2", "fd00::2", "fd00::1")),
        ("junk", ("junk", "", "")),
        ("a@b%c", ("a", "b", "c")),
    ],
)
def test_an_id_is_taken_apart(chassis_id: str, expected: tuple[str, str, str]) -> None:
    """What is no address stays as it is."""
    assert expected == parse_id(chassis_id)


def test_either_form_of_the_id_is_recognised() -> None:
    """A port of another release of ovn-controller is adopted with the id that it has."""
    (short,) = want(pair())
    (long,) = want(pair(), settings=MESH)
    assert plan_ports([short], seen(port_of(long))).is_empty
    assert plan_ports([long], seen(port_of(short))).is_empty


def test_a_short_id_goes_to_the_pair_that_its_options_name() -> None:
    """The other pair gets a port of its own."""
    (short,) = want(pair(local="10.1.0.1"))
    mesh = want(pair(), pair(local="10.1.0.1"), settings=MESH)
    plan = plan_ports(mesh, seen(port_of(short)))
    assert ["hv2@10.0.0.2%10.0.0.1"] == [new.wanted.chassis_id for new in plan.create]
    assert () == plan.repair + plan.delete


def test_what_nobody_wants_is_deleted() -> None:
    """Gone peers, gone addresses, the second port of one id, the long id of another address."""
    (wanted,) = want(pair())
    (other,) = want(pair("hv3", "10.0.0.3"))
    (stale,) = want(pair(local="10.9.0.1"), settings=MESH)
    ports = [
        port_of(wanted, "a"),
        port_of(wanted, "b"),
        port_of(other, "c"),
        port_of(stale, "d"),
    ]
    plan = plan_ports([wanted], seen(*ports))
    assert ["b", "c", "d"] == [port.name for port in plan.delete]
    assert () == plan.create + plan.repair


def test_the_right_one_of_two_is_kept() -> None:
    """Although the wrong one sorts first."""
    (wrong,), (right,) = want(pair(), settings=CLEAR), want(pair())
    plan = plan_ports([right], seen(port_of(wrong, "a"), port_of(right, "b")))
    assert ["a"] == [port.name for port in plan.delete]


def test_the_flow_based_port_is_never_deleted() -> None:
    """It carries everybody's traffic."""
    flow = replace(port_of(want(pair())[0]), chassis_id="flow")
    assert plan_ports([], seen(flow)).is_empty


def test_a_mark_is_written_on_change_only() -> None:
    """New, changed, unchanged, and removed where there is no pair."""
    two = want(pair(), pair("hv3", "10.0.0.3"), pair("hv4", "10.0.0.4"), settings=CLEAR)
    ports = [
        port_of(two[0], "a"),
        port_of(two[1], "b", mark="pending"),
        port_of(two[2], "c", mark="clear"),
        port_of(two[0], "d", mark="encrypted"),
    ]
    states = {pair(): PairState.ENCRYPTED, pair("hv3", "10.0.0.3"): PairState.BLOCKED}
    expected = (
        Mark(row="row of a", name="a", state=PairState.ENCRYPTED),
        Mark(row="row of b", name="b", state=PairState.BLOCKED),
        Mark(row="row of c", name="c", state=None),
    )
    assert expected == marks(seen(*ports), states)


@pytest.mark.parametrize(
    ("local_ip", "expected"),
    [
        ("10.0.0.1", PairState.ENCRYPTED),
        ("10.1.0.1", PairState.PENDING),
        ("10.2.0.1", None),
        (None, PairState.PENDING),
    ],
)
def test_a_port_has_the_state_of_the_pair_it_names(
    local_ip: str | None, expected: PairState | None
) -> None:
    """And the least safe of all that it could carry when it names none."""
    base = port_of(want(pair(), settings=CLEAR)[0], mark="junk")
    extra = () if local_ip is None else (("local_ip", local_ip),)
    states = {pair(): PairState.ENCRYPTED, pair(local="10.1.0.1"): PairState.PENDING}
    by_options = seen(replace(base, options=base.options + extra))
    assert [expected] == [mark.state for mark in marks(by_options, states)]
    if local_ip is not None:
        by_id = seen(replace(base, chassis_id=f"hv2@10.0.0.2%{local_ip}"))
        assert [expected] == [mark.state for mark in marks(by_id, states)]


def test_every_state_has_its_place_in_the_order() -> None:
    """Or a port that names no local address could not be marked."""
    assert set(PairState) == set(tunnels._LEAST_SAFE_FIRST)


ADDRESSES = st.sampled_from(["10.0.0.2", "10.0.0.3", "fd00::2"])
LOCALS = st.sampled_from(["10.0.0.1", "10.1.0.1"])
PAIRS = st.builds(pair, st.sampled_from(["hv2", "hv3"]), ADDRESSES, LOCALS)
PORTS = st.lists(
    st.builds(
        lambda some, settings, **more: replace(port_of(want(some, settings=settings)[0]), **more),
        PAIRS,
        st.sampled_from([CLEAR, IPSEC, MESH]),
        name=st.sampled_from(["ovn-hv2-0", "ovn-hv2-1", "ovn-hv3-0", "other"]),
        type=st.sampled_from(["geneve", "vxlan", ""]),
    ),
    unique_by=lambda port: port.name,
)


@given(pairs=st.sets(PAIRS), ports=PORTS, data=st.data())
def test_a_plan_is_complete_and_order_does_not_matter(
    pairs: set[Pair], ports: list[TunnelPort], data: st.DataObject
) -> None:
    """After it every pair has its one port and nothing is left to do."""
    settings = data.draw(st.sampled_from([IPSEC, MESH])) if len(pairs) < 2 else MESH  # noqa: PLR2004
    rows = [replace(port, row=f"row of {port.name}") for port in ports]
    wanted = want(*pairs, settings=settings)
    before = seen(*rows)
    plan = plan_ports(wanted, before)
    shuffled = data.draw(st.permutations(rows))

    then = after(plan, before)

    assert len(wanted) == len(then.ports)
    assert len(then.ports) == len({port.name for port in then.ports})
    assert plan_ports(wanted, then).is_empty
    assert plan == plan_ports(wanted, seen(*shuffled))
