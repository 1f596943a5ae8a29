# SPDX-License-Identifier: Apache-2.0
"""northd_ext.bounds: what one chassis writes is bounded work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from northd_ext.bounds.bucket import Bucket
from northd_ext.bounds.damping import BURST, EVERY_S, Damping
from northd_ext.bounds.encaps import ENCAPS_MAX, PORTS_MAX, choose
from northd_ext.bounds.refusals import Refusals
from northd_ext.observe.views import ChassisFacts, EncapFacts, SbView
from northd_ext.policy.evaluation import EncapChange
from northd_ext.policy.settling import SETTLE_S, Settling
from ovn_ipsec.errors import InputError
from ovn_ipsec.model.policy import ClassName, Mode
from ovn_ipsec.model.status import Digest, Phase


def test_bucket_gives_a_few_at_once_and_then_one_at_a_time() -> None:
    """It fills up again, and not over its brim."""
    bucket = Bucket(3, 10.0)
    assert bucket.is_full(0.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.ready_at() == 110.0
    assert [bucket.take(when) for when in (109.9, 110.0, 110.1, 120.0)] == [
        False,
        True,
        False,
        True,
    ]
    assert not bucket.is_full(149.0)
    assert bucket.is_full(150.0)
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


# --- encaps ----------------------------------------------------------------------------------


@dataclass
class Row:
    """A row of Encap."""

    type: str
    ip: str
    options: Mapping[str, str] = field(default_factory=dict)


def test_first_encaps_count_and_the_others_are_one_refusal() -> None:
    """However many there are, in whatever order they come."""
    rows = [Row("geneve", f"10.0.{n // 256}.{n % 256}") for n in range(4000)]
    kept, error = choose("hv1", rows)
    again, _ = choose("hv1", rows[::-1])
    assert kept == again == sorted(rows, key=lambda row: row.ip)[:ENCAPS_MAX]
    assert error is not None
    assert (error.table, error.row, error.text) == ("Chassis", "hv1", "4000")
    assert choose("hv1", rows[:ENCAPS_MAX])[1] is None


@pytest.mark.parametrize(
    ("port", "good"),
    [
        ("6081", True),
        ("1024", True),
        ("65535", True),
        ("500", False),
        ("1023", False),
        ("4500", False),
        ("65536", False),
        ("x", False),
    ],
)
def test_port_that_no_guard_may_close_is_refused(port: str, good: bool) -> None:
    """IKE's ports and those of the system are nobody's tunnels; the other encaps count."""
    rows = [Row("geneve", "10.0.0.1", {"dst_port": port}), Row("geneve", "10.0.0.2")]
    kept, error = choose("hv1", rows)
    assert kept == (rows if good else rows[1:])
    assert (error is None) is good
    if error is not None:
        assert (error.row, error.key) == ("hv1/geneve/10.0.0.1", "options:dst_port")


def test_few_ports_count() -> None:
    """The first ones; a type that IPsec does not cover has none."""
    rows = [Row("geneve", f"10.0.0.{n}", {"dst_port": str(7000 + n % 6)}) for n in range(1, 9)]
    kept, error = choose("hv1", [*rows, Row("stt", "10.0.0.1", {"dst_port": "1"})])
    ports = {row.options["dst_port"] for row in kept if row.type == "geneve"}
    assert len(ports) == PORTS_MAX
    assert [row.ip for row in kept] == [
        *("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.7", "10.0.0.8"),
        "10.0.0.1",
    ]
    assert error is not None
    assert (error.row, error.reason) == ("hv1/geneve/10.0.0.5", "more than 4 ports")


# --- refusals --------------------------------------------------------------------------------


def refused(row: str, text: str, table: str = "Encap") -> InputError:
    """Something of a chassis, or of the operator."""
    return InputError(table=table, row=row, key="k", text=text, reason="r")


def test_what_is_refused_is_said_once_and_again_when_it_comes_back() -> None:
    """The operator's errors all at once, however many."""
    refusals = Refusals()
    errors = [refused(".", str(n), "NB_Global") for n in range(9)]
    assert [said.error for said in refusals.due(errors, 0.0)] == errors
    assert refusals.due(errors, 0.1) == []
    assert refusals.due([], 0.2) == []
    assert [said.error for said in refusals.due(errors, 0.3)] == errors
    assert refusals.deadline() is None


def test_one_chassis_has_few_lines_whatever_it_writes() -> None:
    """In an hour of new junk every second: a few, then one a minute, and others are not put off."""
    refusals = Refusals()
    lines = []
    for second in range(3600):
        junk = [refused(f"hv1/geneve/10.0.0.{n}", f"{second}-{n}") for n in range(16)]
        lines += refusals.due(
            [*junk, refused("hv1", str(second), "Chassis_Private")], float(second)
        )
    assert len(lines) == 3 + 59
    assert {line.more for line in lines} == {16}
    honest = refused("hv2", "x", "Chassis_Private")
    (line,) = refusals.due([honest, *junk], 3599.5)
    assert (line.error, line.more) == (honest, 0)


def test_what_had_to_wait_is_said_when_its_time_comes() -> None:
    """Nothing is lost that still stands."""
    refusals = Refusals()
    found = [refused("hv1", str(n)) for n in range(4)]
    for n in range(1, 4):
        assert len(refusals.due(found[:n], 0.0)) == 1
    assert refusals.due(found, 1.0) == []
    assert refusals.deadline() == 60.0
    (line,) = refusals.due(found, 60.0)
    assert line.error == found[3]
    assert refusals.deadline() is None


# --- damping ---------------------------------------------------------------------------------


def hv(number: int, zone: str = "a", *ips: int, **more: object) -> ChassisFacts:
    """A chassis in a zone, with encaps."""
    encaps = tuple(
        EncapFacts(row=UUID(int=n), label=f"hv{number}/{n}", type="geneve", text=None)
        for n in ips or (1,)
    )
    facts = ChassisFacts(name=f"hv{number}", zones=frozenset({zone}), encaps=encaps)
    return replace(facts, **more)  # type: ignore[arg-type]


def by_name(*chassis: ChassisFacts) -> dict[str, ChassisFacts]:
    """As the southbound has them."""
    return {one.name: one for one in chassis}


def test_chassis_that_moves_about_moves_a_few_times_and_then_seldom() -> None:
    """In an hour of another zone every 0.2 s; what it was meanwhile is what it last counted as."""
    damping, moves, before = Damping(), 0, "a"
    damping.update(by_name(hv(1), hv(2)), 0.0)
    for tick in range(1, 5 * 3600):
        shown = damping.update(by_name(hv(1, "ab"[tick % 2]), hv(2)), tick / 5)
        (zone,) = shown["hv1"].zones
        moves += zone != before
        before = zone
    assert moves <= BURST + 3600 / EVERY_S
    assert moves > 3600 / EVERY_S / 2


def test_chassis_that_comes_and_goes_is_damped_too() -> None:
    """A restart of ovn-controller is a few changes, and counts at once."""
    damping = Damping()
    shown = damping.update(by_name(hv(1), hv(2)), 0.0)
    for second in range(BURST // 2):
        assert "hv1" not in damping.update(by_name(hv(2)), float(second))
        assert "hv1" in damping.update(by_name(hv(1), hv(2)), float(second))
    assert "hv1" in damping.update(by_name(hv(2)), 4.0)
    assert damping.deadline() == EVERY_S
    assert "hv1" in damping.update(by_name(hv(2)), EVERY_S - 0.1)
    assert "hv1" not in damping.update(by_name(hv(2)), EVERY_S)
    assert damping.deadline() is None
    assert "hv1" not in damping.update(by_name(hv(1), hv(2)), EVERY_S + 1.0)
    assert set(shown) == {"hv2"}


def test_what_a_chassis_reports_is_never_put_off() -> None:
    """Nor what stands in its rows, nor which rows they are."""
    damping = Damping()
    damping.update(by_name(hv(1)), 0.0)
    for n in range(BURST):
        damping.update(by_name(hv(1, str(n))), 1.0)
    digest = Digest(generation=1, phase=Phase.OFF, agent="a")
    error = refused("hv1", "x")
    now = hv(1, "new", 1, 2, digest=digest, encap_error=error)
    shown = damping.update(by_name(now), 2.0)["hv1"]
    assert shown.zones == {str(BURST - 1)}
    assert (shown.digest, shown.encap_error) == (digest, error)
    assert shown.encaps == now.encaps[:1]
    shown = damping.update(by_name(replace(now, digest=None, digest_error=error)), 3.0)["hv1"]
    assert (shown.digest, shown.digest_error) == (None, error)
    assert damping.update(by_name(now), 100.0)["hv1"] is now


@given(st.lists(st.sampled_from(["", "a", "b"]), max_size=30))
def test_in_the_end_all_is_as_the_rows_say(zones: list[str]) -> None:
    """Whatever was put off comes to count, once the chassis holds still."""
    damping = Damping()
    rows = by_name(hv(2))
    for n, zone in enumerate(zones):
        rows = by_name(hv(2), *([hv(1, zone)] if zone else []))
        damping.update(rows, float(n))
    shown = damping.update(rows, 10_000.0)
    assert dict(shown) == rows
    assert damping.update(rows, 10_001.0)["hv2"] is rows["hv2"]


# --- settling --------------------------------------------------------------------------------


def test_encaps_that_are_gone_for_good_are_forgotten() -> None:
    """A chassis that makes ever new ones costs no memory."""
    settling = Settling()
    sb = SbView(chassis=by_name(hv(1, "a", 1)))
    settling.written_classes(sb)
    for n in range(10_000):
        name = ClassName("c")
        change = EncapChange(row=UUID(int=n), label=f"x/{n}", mode=Mode.REQUIRE, class_name=name)
        settling.due([change], float(n))
        settling.stated([change])
        assert len(settling.written_classes(sb)) <= 1_003
        assert len(settling._troubles) <= 2
    settling.due([], 10_000.0)
    assert settling._troubles == {}
    assert SETTLE_S < 10.0
