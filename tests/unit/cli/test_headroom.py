# SPDX-License-Identifier: Apache-2.0
"""How large packets may be in a cluster, and who is given a larger MTU."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from policy_world import chassis, cluster, hosts, published, report

from ovn_ipsec.cli import judge as judgement
from ovn_ipsec.cli import mtu
from ovn_ipsec.cli.explanation import explain
from ovn_ipsec.cli.finding import CLUSTER, Level
from ovn_ipsec.cli.headroom import (
    INTERFACES,
    NO_MTU,
    SEE_INTERFACES,
    SHOWN,
    WHAT_TO_SET,
    Headroom,
    findings,
    headroom,
    treatment_by,
    trusted,
)
from ovn_ipsec.cli.settings import Exit, Settings
from ovn_ipsec.cli.view import RawSouthbound, Southbound, parse_southbound
from ovn_ipsec.clock import utc_now
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import EncryptionPolicy, Mode, Phase, Profile, Tuning
from ovn_ipsec.model.status import Room
from ovn_ipsec.schema.encap import RawChassis
from ovn_ipsec.schema.network_mtu import RawNetworks, RawRow, parse_networks

ID = "8f3ec596-41e0-43f2-a4b7-7befbab52e40"


def dhcp(mtu: str, cidr: str = "10.0.0.0/24") -> RawRow:
    return RawRow(uuid=ID, name=cidr, values={"mtu": mtu}, external_ids={}, advertised={})


def rooms(*underlays: int | None, inner: int = 9999, larger: int = 0) -> dict[str, dict[str, str]]:
    """What hv1, hv2, ... report; None: nothing of it."""
    return {
        f"hv{n}": report(
            room=None if mtu is None else Room(underlay=mtu, inner=inner, larger=larger)
        )
        for n, mtu in enumerate(underlays, start=1)
    }


def southbound(
    privates: dict[str, dict[str, str]],
    rows: Iterable[RawChassis] | None = None,
    **policy,
) -> Southbound:
    made = hosts(len(privates)) if rows is None else tuple(rows)
    raw = RawSouthbound(external_ids=published(**policy), chassis=made, privates=privates)
    return parse_southbound(raw)


def seen(sb: Southbound, *networks: RawRow, asked: EncryptionPolicy | None = None) -> Headroom:
    in_udp = sb.policy is not None and sb.policy.tuning.force_encapsulation
    read = parse_networks(RawNetworks(dhcp=networks))
    treat = treatment_by(sb.policy, asked)
    return headroom(sb.chassis.values(), treat, *read, in_udp=in_udp)


def test_pairs_that_are_alike_are_one_line():
    """Of a thousand chassis as well; the pair is named that stands for all."""
    found = seen(southbound(rooms(*[1500] * 100)))
    (line,) = found.lines
    assert (line.pairs, line.example) == (4950, "hv1 10.0.0.1 - hv10 10.0.0.10")
    assert (line.underlay, line.clear, line.encrypted, line.left) == (1500, 1442, 1408, 1408)
    assert line.takes == 34
    assert (found.limit and found.limit.left, found.fits) == (1408, True)


def test_the_smaller_underlay_of_both_ends_counts():
    """And the narrowest pairs come first."""
    found = seen(southbound(rooms(9000, 9000, 1500)))
    assert [(line.underlay, line.pairs) for line in found.lines] == [(1500, 2), (9000, 1)]
    assert found.limit is not None
    assert found.limit.because == (
        "between hv1 10.0.0.1 - hv3 10.0.0.3 (1500 on the underlay, of which ESP with profile"
        " default takes 34)"
    )


def test_an_end_that_reports_nothing_is_taken_as_the_other():
    """Only where neither does, nothing is known."""
    found = seen(southbound(rooms(1500, None, None)))
    assert [(line.underlay, line.left) for line in found.lines] == [(1500, 1408), (None, None)]
    nothing = seen(southbound(rooms(None, None)))
    assert (nothing.limit, nothing.fits) == (None, None)
    assert [(line.clear, line.encrypted, line.takes) for line in nothing.lines] == [(None, None, 0)]


def test_what_a_controller_has_found_counts_where_it_is_less():
    """It knows of routers on the way and of NAT."""
    found = seen(southbound(rooms(1500, 1500, inner=1400)))
    assert found.limit is not None
    assert found.limit.left == 1400
    assert found.limit.because.startswith("at hv1 (")


@pytest.mark.parametrize(
    ("policy", "left", "words"),
    [
        ({"profile": Profile.AES256_SHA256}, 1400, "ESP with profile aes256-sha256 takes 42"),
        ({"tuning": Tuning(force_encapsulation=True)}, 1400, "ESP in UDP with profile default"),
        ({"default": Mode.OFF}, 1442, "1500 on the underlay, in clear"),
        ({"phase": Phase.OFF}, 1442, "in clear"),
        ({"phase": Phase.PREPARE}, 1408, "takes 34"),
    ],
)
def test_what_is_left_follows_the_policy_in_force(policy, left, words):
    """Whatever the northbound would like; the classes are those of the rows."""
    found = seen(southbound(rooms(1500, 1500), **policy))
    assert found.limit is not None
    assert (found.limit.left, words in found.limit.because) == (left, True)


def test_before_encryption_is_on_it_is_what_will_be_left():
    """That is when it has to be known."""
    sb = southbound(rooms(1500, 1500), phase=Phase.OFF)
    asked = EncryptionPolicy(enabled=False, profile=Profile.AES256_SHA256)
    found = seen(sb, dhcp("1442"), asked=asked)
    assert (found.limit and found.limit.left, found.fits) == (1400, False)


def test_vxlan_and_ipv6_are_lines_of_their_own():
    """Each with its own overhead."""
    rows = [chassis(f"hv{n}", f"fd00::{n}") for n in (1, 2)]
    rows += [chassis(f"hv{n}", f"10.0.0.{n}", types=("vxlan",)) for n in (3, 4)]
    found = seen(southbound(rooms(1500, 1500, 1500, 1500), rows))
    assert [(line.type, line.version, line.left) for line in found.lines] == [
        ("geneve", 6, 1388),
        ("vxlan", 4, 1416),
    ]


def test_a_larger_mtu_is_a_warning_with_its_cause():
    """Of the networks the largest first; of chassis with interfaces each."""
    sb = southbound(rooms(1500, 1500, larger=2))
    found = seen(sb, dhcp("1408"), dhcp("1409", "10.1.0.0/24"), dhcp("1442"), dhcp("x"))
    told = list(findings(found))
    assert {one.level for one in told} == {Level.WARNING}
    assert [(one.subject, one.next_step, one.kind) for one in told] == [
        (CLUSTER, WHAT_TO_SET, ""),
        (CLUSTER, WHAT_TO_SET, ""),
        (CLUSTER, NO_MTU, ""),
        ("hv1", SEE_INTERFACES, INTERFACES),
        ("hv2", SEE_INTERFACES, INTERFACES),
    ]
    assert told[0].problem.startswith(
        "DHCP_Options 10.0.0.0/24 options:mtu is 1442, but 1408 is left between hv1 10.0.0.1 -"
        " hv2 10.0.0.2 (1500 on the underlay, of which ESP with profile default takes 34)"
    )
    assert told[3].problem.startswith("2 interfaces of workloads with an MTU above 9999")
    assert found.fits is False


def test_many_networks_are_told_in_part():
    """A cluster has thousands."""
    many = [dhcp("1500", f"10.0.{n}.0/24") for n in range(SHOWN + 5)]
    told = list(findings(seen(southbound(rooms(1500, 1500)), *many)))
    assert len(told) == SHOWN + 1
    assert told[-1].problem == "5 more MTUs too large"


def test_status_warns_and_stays_well():
    """It will be a problem for whoever sends large packets; the pairs are up."""
    raw = RawSouthbound(external_ids=published(), chassis=hosts(2), privates=rooms(1500, 1500))
    nb = {"ovn-ipsec-state": "enforced", "ovn-ipsec-generation": "7"}
    networks = RawNetworks(dhcp=(dhcp("1442"),))
    status = judgement.judge(nb, True, raw, utc_now(), networks)
    (finding,) = status.findings
    assert (Exit.WELL, CLUSTER, WHAT_TO_SET) == (status.exit, finding.subject, finding.next_step)
    off = RawSouthbound(external_ids={}, chassis=hosts(2), privates=rooms(1500, 1500))
    assert judgement.judge({}, False, off, utc_now(), networks).findings == ()


def test_explain_says_what_a_pair_leaves():
    """By the rows, or as the controller here says; warnings degrade nothing."""
    privates = rooms(1500, 1500)
    made = cluster(*hosts(2), sb=published(), privates=privates)
    networks = RawNetworks(dhcp=(dhcp("1442"),))
    found = explain(made, "hv1", "hv2", {}, networks)
    (line,) = found.pairs
    assert line.left == 1408
    assert line.left_because == "1500 on the underlay, of which ESP with profile default takes 34"
    assert WHAT_TO_SET in [one.next_step for one in found.findings]
    live = {("hv1", "10.0.0.2", "10.0.0.1"): {"inner_mtu": 1400, "path_mtu": 1492}}
    (line,) = explain(made, "hv1", "hv2", live).pairs
    assert (line.left, line.left_because) == (
        1400,
        "says the controller of hv2, of 1492 on the path",
    )
    unknown = cluster(*hosts(2), sb=published(), privates=rooms(None, None))
    (line,) = explain(unknown, "hv1", "hv2", {}).pairs
    assert (line.left, "neither" in line.left_because) == (None, True)


# --- the command ---------------------------------------------------------------------------------


def test_what_to_set_is_printed_with_its_commands(capsys):
    """As text and as JSON; the exit status says whether there is anything."""
    found = seen(southbound(rooms(1500, 1500, larger=1)), dhcp("1442"), dhcp("x"))
    mtu._show(found)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1408 is left to workloads, between hv1 10.0.0.1 - hv2 10.0.0.2")
    assert f"    ovn-nbctl set DHCP_Options {ID} options:mtu=1408" in lines
    assert "hv1: 1 interface of workloads with an MTU above 9999" in lines
    told = mtu.as_json(found)
    assert (told["left"], told["exit"]) == (1408, 1)
    assert told["too_large"][0]["command"] == f"ovn-nbctl set DHCP_Options {ID} options:mtu=1408"
    assert told["pairs"][0]["in_clear"] == 1442
    assert told["interfaces"][0] == {"chassis": "hv1", "number": 1, "left": 9999}
    assert len(told["errors"]) == 1


def test_where_nothing_is_known_it_says_how_it_would_be(capsys):
    """Exit status 2."""
    found = seen(southbound(rooms(None, None)), dhcp("1442"))
    mtu._show(found)
    assert mtu.NOT_KNOWN in capsys.readouterr().out
    assert (mtu.as_json(found)["left"], mtu.judged(found)) == (None, Exit.CANNOT_TELL)
    assert mtu.judged(seen(southbound(rooms(1500, 1500)))) is Exit.WELL


def test_a_command_that_finds_no_database_says_so(capsys):
    """Before anything else."""
    settings = Settings(ovnnb_db="unix:/nonexistent", ovnsb_db="unix:/nonexistent")
    with pytest.raises(SystemExit) as ended:
        mtu.command.callback.__wrapped__(settings)
    assert ended.value.code == Exit.CANNOT_TELL
    assert "northbound" in capsys.readouterr().err


@pytest.mark.parametrize("room", [Room(underlay=1500, inner=0), Room(underlay=68, inner=9999)])
def test_what_one_chassis_says_of_too_little_is_its_own_matter(room):
    """Nobody is told to make the MTU of all others next to nothing; who says so is named."""
    reports = rooms(1500, 1500, 1500) | {"hv3": report(room=room)}
    found = seen(southbound(reports), dhcp("1400"))
    assert (found.limit and found.limit.left, found.larger, found.fits) == (1408, (), False)
    assert found.narrow == (("hv3", room.inner),)
    (finding,) = findings(found)
    assert (finding.subject, finding.level) == ("hv3", Level.WARNING)
    assert f"{room.inner} is left" in finding.problem
    assert mtu.as_json(found)["narrow"] == [{"chassis": "hv3", "left": room.inner}]


def test_a_chassis_in_quarantine_has_no_say():
    """Nobody has a tunnel to it that carries anything."""
    reports = rooms(1500, 1500) | {"hv3": report(room=Room(underlay=700, inner=600))}
    barred = southbound(reports, quarantine=frozenset({ChassisName("hv3")}))
    assert [view.name for view in trusted(barred)] == ["hv1", "hv2"]
    found = headroom(trusted(barred), treatment_by(barred.policy))
    assert found.limit is not None
    assert found.limit.left == 1408
    assert len(trusted(southbound(reports))) == 3
