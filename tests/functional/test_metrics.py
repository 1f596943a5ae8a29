# SPDX-License-Identifier: Apache-2.0
"""What the programs serve for Prometheus: the same as databases, files and the kernel say."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path

import pytest
from cryptography import x509
from ovsdb import Central, missing_programs, wait_until

from controller.kernel.watch import NO_ESP
from ovn_ipsec.clock import utc_now
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.metrics import TIMEOUT_S
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Auth, Phase
from ovn_ipsec.pki.authority import Shape
from ovn_ipsec.pki.dates import not_after, not_before
from ovn_ipsec.pki.folder import CaFolder
from ovn_ipsec.pki.keys import new_key
from ovn_ipsec.pki.request import make_request
from ovn_ipsec.pki.values import KeyKind
from ovn_ipsec.schema import report
from tests.contracts.ike_backend import Authority
from tests.functional import charon
from tests.functional.live import MISSING, NAMES, ROOT, SECRETS, Lab, until
from tests.metrics import parsed

LOCALHOST = "127.0.0.1"
CHASSIS = ("hv1", "hv2", "hv3")
needs_ovn = pytest.mark.skipif(
    bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"
)
needs_charon = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
    """Ask for it: status, and text."""
    with closing(HTTPConnection(LOCALHOST, port, timeout=2 * TIMEOUT_S)) as client:
        client.request(method, path)
        answer = client.getresponse()
        return answer.status, answer.read().decode()


def numbers(port: int) -> dict[str, float]:
    """All that is served."""
    status, text = get(port)
    assert status == 200
    return parsed(text)


@needs_ovn
def test_northd_serves_what_it_tells_the_operator(ovn: Central) -> None:
    """States, chassis, pairs and the ends of certificates are those of NB and of the digests."""
    port = free_port()
    ovn.start_northd("northd", f"--metrics-port={port}")
    wait_until(lambda: numbers(port).get("northd_active") == 1, what="active")
    wait_until(lambda: "cluster_degraded" in numbers(port), what="a first look")
    found = numbers(port)
    assert found["cluster_state['off']"] == 1
    assert found["northd_connected['northbound']"] == found["northd_connected['southbound']"] == 1
    assert "enrolment_signed_total" not in found
    ovn.nbctl("set", "NB_Global", ".", "ipsec=true")
    soon = utc_now().replace(microsecond=0) + timedelta(days=3)
    ends = dict(
        zip(CHASSIS, (soon, soon + timedelta(days=20), soon + timedelta(days=99)), strict=True)
    )
    for phase, pairs in (("prepare", ""), ("establish", "encrypted=2"), ("enforce", "encrypted=2")):
        wait_until(lambda phase=phase: ovn.keys("sb").get("phase") == phase, what=phase)
        for name in CHASSIS:
            ovn.follow(name, pairs, expires=f"{ends[name]:%Y-%m-%dT%H:%M:%SZ}")
    good = "chassis 3 ready 3 lagging 0 | pairs 6 encrypted 6"
    wait_until(lambda: ovn.keys("nb").get("state") == "enforced", what="enforced")
    wait_until(lambda: ovn.keys("nb")["summary"].startswith(good), what=good)
    found = numbers(port)
    assert (found["cluster_state['enforced']"], found["cluster_degraded"]) == (1, 0)
    assert str(int(found["cluster_generation"])) == ovn.keys("nb")["generation"]
    assert found["cluster_chassis['ready']"] == 3
    assert found["cluster_pairs['encrypted']"] == 6
    assert found["cluster_certificate_first_not_after_timestamp_seconds"] == soon.timestamp()
    assert found["cluster_certificates_ending['7']"] == 1
    assert found["cluster_certificates_ending['30']"] == 2
    assert found["last_pass_timestamp_seconds"] == pytest.approx(utc_now().timestamp(), abs=15)
    ovn.report("hv2", **{"generation": "0", "phase": "off", "pairs": "blocked=2", "agent": "fake",
                         "problem": "no certificate"})  # fmt: skip
    ovn.sbctl("chassis-add", "old", "geneve", "10.0.0.9")
    ovn.nbctl("set", "NB_Global", ".", "options:ovn-ipsec-rule-1=junk")
    bad = "chassis 4 ready 2 lagging 2"
    wait_until(lambda: ovn.keys("nb")["summary"].startswith(bad), what=bad)
    wait_until(lambda: "error" in ovn.keys("nb"), what="an error is told")
    wait_until(lambda: ovn.keys("nb")["state"] == "enforced (degraded)", what="degraded")
    found = numbers(port)
    assert (found["cluster_policy_errors"], found["cluster_degraded"]) == (1, 1)
    assert (found["cluster_chassis_lagging"], found["cluster_chassis['none']"]) == (2, 1)
    assert (found["cluster_chassis['behind']"], found["cluster_chassis_with_problems"]) == (1, 1)
    assert found["cluster_pairs['blocked']"] == 2


@needs_ovn
def test_only_the_active_northd_speaks_for_the_cluster(ovn: Central) -> None:
    """A standby says that it stands by, and takes over when the other is paused."""
    one, two = free_port(), free_port()
    ovn.start_northd("one", f"--metrics-port={one}")
    wait_until(lambda: numbers(one).get("northd_active") == 1, what="one is active")
    ovn.start_northd("two", f"--metrics-port={two}")
    wait_until(lambda: numbers(two).get("northd_connected['southbound']") == 1, what="two is up")
    assert "cluster_degraded" not in numbers(two)
    ovn.appctl("one", "pause")
    wait_until(lambda: "cluster_degraded" in numbers(two), what="two has taken over")
    wait_until(lambda: numbers(one)["northd_active"] == 0, what="one knows")
    assert "cluster_degraded" not in numbers(one)


@needs_ovn
def test_northd_counts_what_it_signs(ovn: Central, tmp_path: Path) -> None:
    """One request is signed, one is refused, and a folder that is gone is told."""
    folder, port = tmp_path / "ca", free_port()
    shape = Shape(name="test", life=timedelta(days=900))
    CaFolder(folder).init(shape, KeyKind.ECDSA_P256, utc_now())
    options = (f"--metrics-port={port}", f"--ca-dir={folder}", "--insecure-enrolment")
    ovn.start_northd("northd", *options)
    wait_until(lambda: numbers(port).get("enrolment_authority_usable") == 1, what="usable")
    assert numbers(port)["enrolment_signed_total"] == 0
    key = new_key(KeyKind.ECDSA_P256)
    ovn.report("hv1", csr=make_request(key, ChassisName("hv1")))
    ovn.report("hv2", csr=make_request(key, ChassisName("hv1")))
    wait_until(lambda: numbers(port)["enrolment_signed_total"] == 1, what="one is signed")
    wait_until(lambda: numbers(port)["enrolment_refused"] == 1, what="one is refused")
    folder.rename(tmp_path / "elsewhere")
    wait_until(lambda: numbers(port)["enrolment_authority_usable"] == 0, what="not usable")
    assert "PRIVATE" not in get(port)[1]


@needs_ovn
def test_it_answers_one_path_and_nobody_holds_it_up(ovn: Central) -> None:
    """Neither another path nor another method; a client that says nothing costs seconds."""
    port = free_port()
    northd = ovn.start_northd("northd", f"--metrics-port={port}")
    wait_until(lambda: get(port)[0] == 200, what="served")
    assert get(port, "/") == (404, "GET /metrics\n")
    assert get(port, "/metrics/../etc")[0] == 404
    assert get(port, method="POST")[0] == 405
    with socket.create_connection((LOCALHOST, port)), socket.socket() as gone:
        gone.connect((LOCALHOST, port))
        gone.send(b"GET /metr")
        gone.close()
        assert "Status: " in ovn.appctl("northd", "status")
        assert get(port)[0] == 200
        running = northd.running
        assert running is not None
        running.terminate()
        assert running.wait(5) == 0
    assert "Traceback" not in northd.text()


def test_an_address_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    """The program says so in a line, and goes on with what it is for."""
    log = tmp_path / "log"
    with socket.create_server((LOCALHOST, 0)) as taken, log.open("wb") as out:
        port = taken.getsockname()[1]
        argv = [sys.executable, "-m", "northd_ext", f"--metrics-port={port}"]
        argv += [f"--pidfile={tmp_path}/pid", f"--unixctl={tmp_path}/ctl"]
        with subprocess.Popen(argv, cwd=ROOT, stdout=out, stderr=out) as running:
            try:
                words = f"cannot serve metrics on {LOCALHOST} port {port}: Address already in use"
                wait_until(lambda: words in log.read_text("utf-8"), what=words)
                wait_until((tmp_path / "ctl").exists, what="it can be asked")
            finally:
                running.terminate()
            assert running.wait(stretched(60)) == 0
    assert "Traceback" not in log.read_text("utf-8")


class Served(Lab):
    """Two chassis whose controllers serve metrics in their namespaces."""

    port = 9090

    def spawn(self, name: str, argv: list[str]) -> None:
        """Start something that stays, a controller with metrics."""
        if "controller" in argv:
            argv = [*argv, f"--metrics-port={self.port}", "--metrics-peers"]
        super().spawn(name, argv)

    def text(self, name: str) -> str:
        """What a chassis serves; empty while it does not."""
        ask = f"from urllib.request import urlopen as u; print(u('http://{LOCALHOST}:{self.port}"
        ask += "/metrics', timeout=9).read().decode())"
        argv = ["ip", "netns", "exec", self.daemons[name].netns, sys.executable, "-c", ask]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout

    def numbers(self, name: str) -> dict[str, float]:
        """The same, as numbers."""
        return parsed(self.text(name))

    def inside(self, name: str, *argv: str) -> str:
        """Run something in a chassis' namespace."""
        return self.run("ip", "netns", "exec", self.daemons[name].netns, *argv)

    def denied(self, name: str) -> dict[str, int]:
        """Packets that the kernel says it has denied, by the labels of the metric."""
        lines = self.inside(name, "cat", "/proc/net/xfrm_stat").splitlines()
        found = dict(line.split() for line in lines)
        table = self.inside(name, "nft", "-j", "list", "counters", "table", "inet", "ovn_ipsec")
        entries = [entry.get("counter", {}) for entry in json.loads(table)["nftables"]]
        packets = {one["name"]: one["packets"] for one in entries if one}
        return {
            "['in', 'nft']": packets["in_denied"],
            "['out', 'nft']": packets["out_denied"],
            "['in', 'xfrm']": int(found["XfrmInPolBlock"]),
            "['out', 'xfrm']": int(found["XfrmOutPolBlock"]),
        }

    def send(self, name: str, address: str) -> None:
        """Try to send a clear tunnel packet."""
        ask = "import socket as s; s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b'x', "
        argv = ["ip", "netns", "exec", self.daemons[name].netns, sys.executable, "-c"]
        argv.append(f"{ask}('{address}', 6081))")
        subprocess.run(argv, capture_output=True, check=False)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Two chassis with metrics."""
    with charon.two_charons() as daemons:
        made = Served(tmp_path, daemons)
        try:
            made.build()
            yield made
        finally:
            made.stop()


@needs_charon
def test_controller_serves_what_it_reports(served: Served) -> None:
    """Pairs, phase and certificate are those of digest and file, packets those of the kernel."""
    for name in NAMES:
        served.files(name, Authority("lab"))
    served.secrets(SECRETS[0])
    served.start()
    until(lambda: served.numbers("chA").get("generation") == 1, "it serves what it has applied")
    assert served.numbers("chA")["phase['off']"] == 1
    served.publish(Phase.ENFORCE, Auth.PSK, Auth.CA)
    until(lambda: served.numbers("chA").get("phase['enforce']") == 1, "it enforces")
    served.all_by(Auth.PSK)
    found = served.numbers("chA")
    assert found["generation"] == served.policy.generation
    states = dict(
        word.split("=") for word in served.key("Chassis_Private", "chA", report.PAIRS).split()
    )
    assert {state: found[f"pairs['{state}']"] for state in states} == {
        state: float(count) for state, count in states.items()
    }
    (state,) = [state for state, count in states.items() if count == "1"]
    labels = ["10.9.0.1", "chB", "10.9.0.2", state, "geneve"]
    assert found[f"pair_state{labels}"] == 1
    no_esp = NO_ESP in served.key("Chassis_Private", "chA", report.PROBLEM)
    assert (found["problems"], served.problem("chA")) == (no_esp, "")
    pem = (served.folder / "chA-certificate.pem").read_bytes()
    own = x509.load_pem_x509_certificate(pem)
    begin, end = not_before(own), not_after(own)
    assert found["certificate_not_before_timestamp_seconds['ca']"] == begin.timestamp()
    assert found["certificate_not_after_timestamp_seconds['ca']"] == end.timestamp()
    assert found["ike_daemon_up"] == found["southbound_connected"] == 1
    served.stop("chB")
    served.inside("chB", "nft", "flush", "ruleset")
    served.inside("chB", "ip", "xfrm", "policy", "flush")
    served.send("chA", "10.9.0.2")
    served.send("chB", "10.9.0.1")
    denied = served.denied("chA")
    assert (denied["['in', 'nft']"], denied["['out', 'xfrm']"]) == (1, 1)
    until(
        lambda: (
            denied.items()
            == {
                name.removeprefix("guard_denied_packets_total"): value
                for name, value in served.numbers("chA").items()
                if "denied" in name
            }.items()
        ),
        "the guard's counters are served",
    )
    served.daemons["chA"].kill()
    until(lambda: served.numbers("chA")["ike_daemon_up"] == 0, "the IKE daemon is away")
    until(lambda: served.numbers("chA")["problems"] > 0, "that is a problem")
    served.stop("db-sb")
    until(lambda: served.numbers("chA")["southbound_connected"] == 0, "the southbound is away")
    shown = served.text("chA") + served.shown()
    for private in (*SECRETS, "PRIVATE KEY"):
        assert private not in shown
    assert "Traceback" not in shown
