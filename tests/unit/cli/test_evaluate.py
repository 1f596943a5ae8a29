# SPDX-License-Identifier: Apache-2.0
"""What `ovn-ipsec evaluate` reads, sums up, passes between both ends, shows and draws."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.cli.evaluate import answers, picture, readings, summary
from ovn_ipsec.cli.evaluate.answers import UNKNOWN, PairSeen, pair_seen
from ovn_ipsec.cli.evaluate.traffic import answered, echo
from ovn_ipsec.cli.evaluate.values import (
    NONE,
    Busy,
    Carried,
    Facts,
    Findings,
    Run,
    Sample,
    Series,
    Spread,
    Traffic,
    busy,
    spread,
)
from ovn_ipsec.errors import EdgeError

STAT = "cpu  100 20 30 400 5 6 7 8 0 0\ncpu0 100 20 30 400 5 6 7 8 0 0\n"
CRYPTO = """\
name         : rfc4106(gcm(aes))
driver       : rfc4106-gcm-generic
priority     : 100

name         : rfc4106(gcm(aes))
driver       : rfc4106-gcm-aesni
priority     : 400

name         : authenc(hmac(sha256),cbc(aes))
driver       : authenc(hmac(sha256-generic),cbc(aes-generic))
priority     : 1000

name         : sha256
driver       : sha256-generic
priority     : much
"""
QUIET = Busy(user=0.1, system=0.2, softirq=0.3, stolen=0.0)
HARD = Busy(user=0.2, system=1.0, softirq=0.8, stolen=0.1)
SAMPLE = Sample(at_s=1.0, user_s=2.0, system_s=3.0, softirq_s=4.0, stolen_s=5.0)
A = Facts(
    chassis="a",
    kernel="6.1.0",
    boot="1",
    processor="a fast one",
    processors=2,
    device="eth0",
    mtu=1500,
    offloads=("rx-gro", "tx-checksum-ipv4"),
    drivers={"aes-gcm": "rfc4106-gcm-aesni"},
)
B = replace(A, chassis="b", boot="2", offloads=(), drivers={})


def a_run(traffic: Traffic, mbps: float = 0.0, **more: float) -> Run:
    carried = Carried(mbps=mbps, **more) if traffic is not Traffic.IDLE else None  # type: ignore[arg-type]
    return Run(
        traffic=traffic,
        seconds=4.0,
        carried=carried,
        rtts_ms=(1.0, 2.0, 3.0),
        unanswered=0,
        near=QUIET,
        far=HARD,
    )


def a_series(profile: str, scale: float = 1.0) -> Series:
    runs = [a_run(Traffic.IDLE)]
    for factor in (1.0, 2.0, 1.5):
        runs.append(a_run(Traffic.ONE, 100 * scale * factor))
        runs.append(a_run(Traffic.FOUR, 200 * scale * factor))
        runs.append(a_run(Traffic.SMALL, 5 * scale, pps=1000 * scale * factor, lost=0.25))
    return Series(profile=profile, state="encrypted", suite="AES_GCM_16-256", runs=tuple(runs))


FINDINGS = Findings(
    release="1",
    began="2026-01-01T00:00:00+00:00",
    near=A,
    far=B,
    inner_mtu=1340,
    seconds=4,
    rate_mbps=0,
    series=(a_series(NONE, 3.0), a_series("default"), a_series("")),
)
ONE_KERNEL = replace(FINDINGS, far=replace(B, boot=A.boot))


def test_a_stream_is_asked_for_by_its_share_of_the_limit():
    """iperf3's limit is that of each stream."""
    words = readings.client_words(Traffic.FOUR, "192.0.2.1", 5, 100)
    assert words[:7] == ["iperf3", "-c", "192.0.2.1", "-p", "5201", "-t", "5"]
    assert words[-4:] == ["-P", "4", "-b", "25000000"]
    words = readings.client_words(Traffic.SMALL, "192.0.2.1", 5, 0)
    assert words[-5:] == ["-u", "-l", "64", "-b", "0"]
    assert readings.server_words("192.0.2.1")[:4] == ["iperf3", "-s", "-B", "192.0.2.1"]


def test_what_a_tcp_client_says():
    end = {"sum_received": {"bits_per_second": 2.5e6}, "sum_sent": {"retransmits": 3}}
    found = readings.read_iperf(json.dumps({"end": end}), Traffic.ONE)
    assert found == Carried(mbps=2.5, retransmits=3)


def test_what_a_udp_client_says():
    """What arrived counts, not what was sent."""
    text = json.dumps({"end": {"sum": {"packets": 1000, "lost_packets": 200, "seconds": 2.0}}})
    found = readings.read_iperf(text, Traffic.SMALL)
    assert found == Carried(mbps=400 * 64 * 8 / 1e6, pps=400.0, lost=0.2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "did not answer with JSON"),
        ("[" * 100_000, "did not answer with JSON"),
        ("[]", "no number at end.sum_received.bits_per_second"),
        ('{"error": "refused\\u001b[2J"}', "iperf3: refused?[2J"),
        ('{"end": {"sum_received": {"bits_per_second": true}}}', "no number"),
        ('{"end": {"sum_received": {"bits_per_second": NaN}}}', "out of range"),
        ('{"end": {"sum_received": {"bits_per_second": -1}}}', "out of range"),
        ('{"end": {"sum_received": {"bits_per_second": 1}}}', "no number at end.sum_sent"),
    ],
)
def test_what_no_iperf3_says_is_refused(text: str, told: str):
    with pytest.raises(EdgeError) as refused:
        readings.read_iperf(text, Traffic.ONE)
    assert told in refused.value.diagnostics()


@pytest.mark.parametrize(("sent", "lost", "time_s"), [(0, 0, 1), (1, 2, 1), (1, 0, 0)])
def test_figures_of_packets_that_cannot_be_are_refused(sent: int, lost: int, time_s: int):
    end = {"sum": {"packets": sent, "lost_packets": lost, "seconds": time_s}}
    with pytest.raises(EdgeError, match="iperf3 says"):
        readings.read_iperf(json.dumps({"end": end}), Traffic.SMALL)


def test_times_of_processors_are_read_and_compared():
    """In seconds, nice with user and interrupts with softirq."""
    before = readings.read_stat(STAT, 10.0, 100)
    expected = Sample(at_s=10.0, user_s=1.2, system_s=0.3, softirq_s=0.13, stolen_s=0.08)
    assert before == expected
    after = replace(before, at_s=12.0, user_s=2.2, system_s=4.3, stolen_s=0.0)
    found = busy(before, after)
    assert (found.user, found.system) == (pytest.approx(0.5), pytest.approx(2.0))
    assert (found.softirq, found.stolen) == (0.0, 0.0)
    assert found.total == pytest.approx(2.5)
    with pytest.raises(ValueError, match="0 s lie between"):
        busy(before, before)


@pytest.mark.parametrize(
    "text", ["", "cpu 1 2 3\n", "intr 1 2 3 4 5 6 7 8\n", "cpu 1 2 3 4 5 6 7 x"]
)
def test_a_stat_that_is_none_is_refused(text: str):
    with pytest.raises(EdgeError, match="/proc/stat"):
        readings.read_stat(text, 0.0, 100)


def test_the_processor_is_named():
    text = "processor\t: 0\nmodel name\t: fast\x1b one\n\nprocessor\t: 1\nmodel name\t: fast\n"
    assert readings.read_cpuinfo(text) == ("fast? one", 2)
    assert readings.read_cpuinfo("") == ("", 1)


def test_the_driver_with_the_highest_priority_is_named():
    assert readings.read_crypto(CRYPTO) == {
        "aes-gcm": "rfc4106-gcm-aesni",
        "aes-cbc with hmac-sha256": "authenc(hmac(sha256-generic),cbc(aes-generic))",
    }
    assert readings.read_crypto("") == {}


def test_only_offloads_that_matter_are_named():
    features = [("tx-checksum-ipv4", True), ("rx-gro", True), ("rx-hashing", False), ("x", True)]
    assert readings.known_offloads(features) == ("rx-gro", "tx-checksum-ipv4")


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_a_spread_holds_its_median(values: list[float]):
    found = spread(values)
    assert found is not None
    assert found.low <= found.median <= found.high
    assert found.values == tuple(values)


def test_what_was_not_measured_has_no_spread():
    assert spread([]) is None
    assert spread([None, 2.0]) == Spread(low=2.0, median=2.0, high=2.0, values=(2.0,))


def test_round_trips_are_summed_up():
    """A run whose pings were all lost has none."""
    run = a_run(Traffic.ONE, 10.0)
    assert (run.rtt_ms, run.rtt_high_ms) == (2.0, pytest.approx(2.9))
    alone, lost = replace(run, rtts_ms=(1.0,)), replace(run, rtts_ms=())
    assert (alone.rtt_ms, alone.rtt_high_ms) == (1.0, None)
    assert (lost.rtt_ms, lost.rtt_high_ms) == (None, None)


def test_a_gigabyte_costs_what_its_time_costs():
    """At 8000 Mbit/s it takes a second; where nothing arrives it has no price."""
    run = a_run(Traffic.ONE, 4000.0)
    assert run.cost_s(lambda side: side.total, HARD) == 4.0
    assert a_run(Traffic.ONE, 0.0).cost_s(lambda side: side.total, HARD) is None
    assert a_run(Traffic.IDLE).cost_s(lambda side: side.total, HARD) is None


PEER = {"peer": "b", "state": "encrypted", "profile": "default", "suite": "AES_GCM_16-256"}


def test_what_a_controller_says_of_all_pairs_with_a_peer():
    """One word if they agree; none if there is no such pair."""
    found = pair_seen([PEER, PEER, PEER | {"peer": "c", "state": "clear"}], "b")
    assert found == PairSeen(state="encrypted", profile="default", suite="AES_GCM_16-256")
    assert pair_seen([PEER, PEER | {"state": "clear"}], "b").state == "mixed"
    assert pair_seen([PEER], "d") == UNKNOWN


@pytest.mark.parametrize(
    ("state", "profile", "suite", "wanted", "is_turned"),
    [
        ("encrypted", "default", "AES_GCM_16-256", "default", True),
        ("encrypted", "chacha20", "AES_GCM_16-256", "chacha20", False),
        ("encrypted", "default", "CHACHA20_POLY1305-256", "chacha20", False),
        ("blocked", "default", "AES_GCM_16-256", "default", False),
        ("encrypted", "aes256-sha256", "AES_CBC-256/HMAC_SHA2_256_128/ESN", "aes256-sha256", True),
        ("clear", "default", "", NONE, True),
        ("encrypted", "default", "AES_GCM_16-256", NONE, False),
        ("encrypted", "new", "NEW", "new", False),
    ],
)
def test_a_pair_has_turned_when_its_sas_have(
    state: str, profile: str, suite: str, wanted: str, is_turned: bool
):
    assert PairSeen(state=state, profile=profile, suite=suite).is_turned(wanted) is is_turned


def test_what_changes_during_a_measurement_is_said():
    assert answers.both("clear", "clear") == "clear"
    assert answers.both("", "AES_GCM_16-256") == "none, later AES_GCM_16-256"


def test_what_one_end_says_the_other_understands():
    pair = PairSeen(state="clear", profile="", suite="")
    assert answers.parse_facts(answers.line_of(A)) == A
    assert answers.parse_sample(answers.line_of(SAMPLE)) == SAMPLE
    assert answers.parse_pair(answers.line_of(pair)) == pair
    assert answers.line_of(None) == b"{}\n"


def test_what_the_other_end_makes_up_is_refused():
    """Each text is bounded and printable, and no driver or offload has a name of its choice."""

    def facts(**more: object) -> bytes:
        return json.dumps(json.loads(answers.line_of(A)) | more).encode()

    for line in (b"", b"[]", b"[" * 100_000, facts(kernel=1), facts(kernel="x" * 254)):
        with pytest.raises(EdgeError, match="the far end"):
            answers.parse_facts(line)
    for more in ({"offloads": 1}, {"offloads": ["x"]}, {"drivers": []}, {"drivers": {"x": "y"}}):
        with pytest.raises(EdgeError, match="the far end gave no"):
            answers.parse_facts(facts(**more))
    with pytest.raises(EdgeError, match="no number at mtu"):
        answers.parse_facts(facts(mtu="1500"))
    assert answers.parse_facts(facts(kernel="\x1b[2J")).kernel == "?[2J"


@given(st.binary(max_size=64))
def test_no_line_does_harm(line: bytes):
    for parse in (answers.parse_facts, answers.parse_sample, answers.parse_pair):
        with pytest.raises(EdgeError):
            parse(line)


def test_the_table_has_a_row_for_each_profile_and_traffic():
    """With medians, spreads, and the processors of each end."""
    assert summary.columns(FINDINGS)[-4:] == ("CPU a %", "CPU b %", "CPU S/GB a", "CPU S/GB b")
    rows = list(summary.rows(FINDINGS))
    assert len(rows) == 3 * 4
    assert rows[4][:2] == ("default", "none")
    assert rows[5][:7] == ("default", "1 stream", "150 (100-200)", "", "", "2.00", "2.90")
    assert rows[5][7:] == ("60.0", "200", "32.0 (24.0-48.0)", "107 (80.0-160)")
    assert rows[7][:5] == ("default", "UDP 64 B", "5.00", "1500 (1000-2000)", "25.0")
    assert rows[-1][0] == "as it is"


def test_ends_on_one_kernel_share_a_column():
    assert summary.columns(ONE_KERNEL)[-2:] == ("CPU a and b %", "CPU S/GB a and b")
    assert all(len(row) == 9 for row in summary.rows(ONE_KERNEL))


def test_kinds_that_were_not_measured_are_left_out():
    part = replace(a_series("default"), runs=(a_run(Traffic.ONE, 1.0),))
    rows = list(summary.rows(replace(FINDINGS, series=(part,))))
    assert [row[1] for row in rows] == ["1 stream"]


def test_what_figures_depend_on_is_said():
    text = "\n".join(summary.facts_lines(FINDINGS))
    assert "a: Linux 6.1.0, 2 processors (a fast one)" in text
    assert "eth0, MTU 1500; on there: rx-gro, tx-checksum-ipv4" in text
    assert "aes-gcm: rfc4106-gcm-aesni" in text
    assert "on there: nothing" in text
    assert "Runs of 4 s, without a limit, between ports of MTU 1340." in text
    assert "as it is: encrypted, AES_GCM_16-256" in text
    assert "counted once" not in text
    told = "\n".join(summary.facts_lines(replace(ONE_KERNEL, rate_mbps=10)))
    assert "counted once, for both together" in told
    assert "at most 10 Mbit/s" in told


def test_a_figure_at_the_limit_is_not_taken_for_the_pair():
    assert summary.limited(FINDINGS) == []
    assert summary.limited(replace(FINDINGS, rate_mbps=1000)) == [NONE]
    assert summary.limited(replace(FINDINGS, rate_mbps=100_000)) == []


def test_json_has_every_figure():
    """And what identifies a machine is not in it."""
    found = json.loads(json.dumps(summary.as_json(FINDINGS)))
    assert "boot" not in found["chassis"][0]
    assert (found["rate_mbps"], found["one_kernel"]) == (None, False)
    one = found["series"][1]["traffic"]["one_stream"]
    assert one["mbps"] == {"low": 100, "median": 150, "high": 200, "values": [100, 200, 150]}
    assert one["retransmits"]["median"] == 0
    assert one["pps"] is None
    assert one["cpu"]["b"]["stolen"]["median"] == 0.1
    assert found["series"][2]["profile"] is None
    assert found["series"][1]["traffic"]["idle"]["retransmits"] is None


def test_the_picture_shows_every_profile():
    """It is well-formed, and markup in a name stays text."""
    hostile = replace(FINDINGS, near=replace(A, processor="<script>&'\"" + "x" * 200))
    document = Xml.fromstring(picture.draw(hostile))  # noqa: S314 - our own
    texts = [element.text or "" for element in document.iter() if element.tag.endswith("}text")]
    for word in ("none", "default", "as it is", "1 stream", "4 streams", "user", "softirq", "idle"):
        assert word in texts
    assert any("<script>&" in text and text.endswith("...") for text in texts)
    assert {element.tag.rpartition("}")[2] for element in document.iter()} <= {
        *("svg", "title", "rect", "text", "path")
    }


def test_bars_are_as_high_as_their_medians():
    """In the colours of what processors do, on each other."""
    throughput, processors, small, ping = picture.panels(FINDINGS)
    assert [bar.total.median for _, bars in throughput.groups for bar in bars] == [
        *(450, 900),
        *(150, 300),
        *(150, 300),
    ]
    for _, (near, far) in processors.groups:
        for bar in (near, far):
            assert sum(piece.value for piece in bar.pieces) == pytest.approx(bar.total.median)
            assert bar.top == bar.total.high
    assert [len(bars) for _, bars in small.groups] == [1, 1, 1]
    assert [len(bars) for _, bars in ping.groups] == [3, 3, 3]


def test_a_picture_of_nothing_is_a_picture():
    nothing = replace(FINDINGS, series=(replace(a_series("default"), runs=()),))
    quiet = Busy(user=0.0, system=0.0, softirq=0.0, stolen=0.0)
    run = replace(a_run(Traffic.FOUR, 5.0), near=quiet, far=quiet)
    still = replace(FINDINGS, rate_mbps=5, series=(replace(a_series("default"), runs=(run,)),))
    for found in (nothing, replace(FINDINGS, series=()), still):
        assert picture.draw(found).endswith("</svg>\n")
        assert "Small packets" not in picture.draw(found)


@given(st.floats(1e-6, 1e9))
def test_an_axis_reaches_above_what_it_shows(top: float):
    lines = picture.steps(top)
    assert lines[0] == 0
    assert top <= lines[-1] * (1 + 1e-6)
    assert 4 <= len(lines) <= 10
    assert picture.steps(0.0) == [0.0, 1.0]


def test_an_echo_is_known_again():
    """By its identifier; its checksum is what RFC 1071 says, and nothing else answers."""
    packet = echo(7, 3, 12.5)
    words = [int.from_bytes(packet[i : i + 2]) for i in range(0, len(packet), 2)]
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF
    head = bytes([0x45]) + bytes(19)
    reply = b"\0" + packet[1:]
    assert answered(head + reply, 7) == 12.5
    assert answered(head + reply, 8) is None
    assert answered(head + packet, 7) is None
    assert answered(head + reply[:9], 7) is None
    assert answered(b"", 7) is None
