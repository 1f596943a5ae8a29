# SPDX-License-Identifier: Apache-2.0
"""Two real controllers with real charons in namespaces: what rows and files make of who they are.

Everything here is told by the IKE_SAs; whether the kernel has ESP, so that CHILD_SAs come up too,
does not matter.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from controller.ike.strongswan import StrongSwan
from controller.kernel.watch import NO_ESP
from ovn_ipsec.clock import utc_now
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Auth, ClusterPolicy, Mode, Phase
from ovn_ipsec.pki.request import check_request
from ovn_ipsec.schema import report
from ovn_ipsec.schema.sb_global import format_policy
from tests.contracts.ike_backend import Authority, der, key_id, seen
from tests.functional import charon

OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
SB_SCHEMA = Path("/usr/share/ovn/ovn-sb.ovsschema")
PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovn-sbctl")
MISSING = [p for p in PROGRAMS if shutil.which(p) is None]
MISSING += [str(s) for s in (OVS_SCHEMA, SB_SCHEMA) if not s.exists()]
MISSING += [charon.missing()] if charon.missing() else []

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
ROOT = Path(__file__).parents[2]
NAMES = ("chA", "chB")
SECRETS = ("the first secret of this lab", "the second secret of this lab")
LIFE = timedelta(days=30)


def until(fact: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    """Poll until it is so."""
    end = time.monotonic() + stretched(timeout_s)
    while not fact():
        assert time.monotonic() < end, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.1)


class Lab:
    """A southbound, and two chassis with an OVSDB, a charon and a controller each."""

    def __init__(self, folder: Path, daemons: tuple[charon.Charon, charon.Charon]) -> None:
        self.folder = folder
        self.daemons = dict(zip(NAMES, daemons, strict=True))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.policy = ClusterPolicy(
            generation=0, phase=Phase.OFF, default=Mode.REQUIRE, floor=Mode.OFF
        )
        self.env = {**os.environ, "OVS_RUNDIR": str(folder), "OVN_RUNDIR": str(folder)}

    def run(self, *argv: str) -> str:
        """Run a program to its end."""
        done = subprocess.run(
            argv, check=False, env=self.env, capture_output=True, text=True, timeout=stretched(60)
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def build(self) -> None:
        """Start the databases, and make the rows that OVN would."""
        for name, schema in (("sb", SB_SCHEMA), *((name, OVS_SCHEMA) for name in NAMES)):
            self.run("ovsdb-tool", "create", str(self.folder / f"{name}.db"), str(schema))
        argv = ["ovsdb-server", f"--remote=punix:{self.folder}/db.sock", "--no-chdir"]
        for name in ("sb", *NAMES):
            sock = f"--remote=punix:{self.folder}/{name}.sock"
            files = [str(self.folder / f"{name}.db")]
            self.spawn(f"db-{name}", [argv[0], sock, *files, f"--pidfile={self.folder}/{name}.pid",
                                      f"--unixctl={self.folder}/{name}.ctl"])  # fmt: skip
            until((self.folder / f"{name}.sock").exists, f"{name} listens")
        self.sbctl("init")
        for number, name in enumerate(NAMES, 1):
            self.vsctl(name, "init")
            self.vsctl(name, "set", "Open_vSwitch", ".", f"external_ids:system-id={name}",
                       f"external_ids:ovn-remote=unix:{self.folder}/sb.sock")  # fmt: skip
            self.chassis(name, f"10.9.0.{number}")
        self.publish(Phase.OFF, Auth.PSK)

    def chassis(self, name: str, ip: str) -> None:
        """Make the rows of a chassis as ovn-controller does."""
        self.sbctl("chassis-add", name, "geneve", ip)
        self.sbctl("create", "Chassis_Private", f"name={name}")

    def spawn(self, name: str, argv: list[str]) -> None:
        """Start something that stays."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                argv, env=self.env, cwd=ROOT, stdout=log, stderr=log
            )

    def start(self, *names: str) -> None:
        """Start controllers, each beside its charon."""
        for name in names or NAMES:
            daemon = self.daemons[name]
            state = self.folder / f"state-{name}"
            argv = ["ip", "netns", "exec", daemon.netns, sys.executable, "-m", "controller"]
            argv += [f"unix:{self.folder}/{name}.sock", "--vici", daemon.uri]
            argv += ["--state-dir", str(state), "--unixctl", str(self.folder / f"{name}.appctl")]
            argv += ["--pidfile", str(self.folder / f"{name}.controller.pid")]
            self.spawn(name, argv)

    def stop(self, *names: str) -> None:
        """Kill what was started."""
        for name in names or list(self.processes):
            process = self.processes.pop(name)
            process.kill()
            process.wait()

    def sbctl(self, *argv: str) -> str:
        """Run ovn-sbctl."""
        return self.run("ovn-sbctl", f"--db=unix:{self.folder}/sb.sock", *argv)

    def vsctl(self, name: str, *argv: str) -> str:
        """Run ovs-vsctl on one chassis."""
        return self.run("ovs-vsctl", f"--db=unix:{self.folder}/{name}.sock", "--no-wait", *argv)

    def publish(self, phase: Phase, *auth: Auth, **more: object) -> None:
        """Write the policy as northd_ext does."""
        self.policy = replace(
            self.policy, generation=self.policy.generation + 1, phase=phase, auth=auth, **more
        )  # type: ignore[arg-type]
        words = [f"external_ids:{key}={json.dumps(text)}"
                 for key, text in format_policy(self.policy).items()]  # fmt: skip
        self.sbctl("set", "SB_Global", ".", *words)

    def key(self, table: str, name: str, key: str) -> str:
        """One of a row's external_ids; empty when it is not there."""
        text = self.sbctl("--bare", "--columns=external_ids", "--format=json", "find", table,
                          f"name={name}")  # fmt: skip
        rows = json.loads(text)["data"]
        return dict(rows[0][0][1]).get(key, "") if rows else ""

    def auths(self, name: str) -> list[str]:
        """In what ways a chassis' IKE_SAs are authenticated, by its daemon."""
        ike = StrongSwan(self.daemons[name].uri)
        ike.open()
        sas = seen(ike.observe()).sas.values()
        ike.close()
        return [sa.auth.value for found in sas for sa in found if sa.state == "ESTABLISHED"]

    def end(self, name: str) -> None:
        """End a chassis' IKE_SAs, as a daemon that starts again does."""
        ike = StrongSwan(self.daemons[name].uri)
        ike.open()
        for found in seen(ike.observe()).sas.values():
            for sa in found:
                ike.terminate_ike(sa.id, force=True)
        ike.close()

    def set(self, name: str, key: str, text: str) -> None:
        """Set a key of a chassis' own database."""
        self.vsctl(name, "set", "Open_vSwitch", ".", f"other_config:{key}={text}")

    def held(self, name: str) -> tuple[frozenset[str], frozenset[str]]:
        """Private and shared keys that a chassis' daemon holds."""
        ike = StrongSwan(self.daemons[name].uri)
        ike.open()
        found = seen(ike.keys()), seen(ike.shared_keys())
        ike.close()
        return found

    def problem(self, name: str) -> str:
        """What a chassis says is wrong, besides that this kernel may have no ESP."""
        found = self.key("Chassis_Private", name, report.PROBLEM)
        return "; ".join(one for one in found.split("; ") if one and one != NO_ESP)

    def able(self, name: str) -> set[str]:
        """Ways that a chassis says it could go."""
        return set(self.key("Chassis_Private", name, report.AUTHS).split())

    def log(self, name: str) -> str:
        """What a controller has said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def all_by(self, auth: Auth) -> None:
        """Wait until both ends are authenticated so, and not otherwise."""
        until(
            lambda: all(set(self.auths(name)) == {auth.value} for name in NAMES),
            f"authenticated by {auth}", 40.0,
        )  # fmt: skip

    def wakes(self, name: str) -> int:
        """How often a controller has waited for something."""
        status = Path(f"/proc/{self.processes[name].pid}/status").read_text()
        return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    def busy(self, name: str) -> float:
        """What a controller takes of a processor."""
        stat = Path(f"/proc/{self.processes[name].pid}/stat")

        def ticks() -> int:
            return sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13]))

        before = ticks()
        time.sleep(3)
        return (ticks() - before) / os.sysconf("SC_CLK_TCK") / 3

    def secrets(self, *secrets: str, names: tuple[str, ...] = NAMES) -> None:
        """Write the cluster's secret."""
        for name in names:
            path = self.folder / f"psk-{name}"
            path.touch(mode=0o600)
            path.write_text("".join(f"{secret}\n" for secret in secrets))
            self.vsctl(name, "set", "Open_vSwitch", ".",
                       f"other_config:ovn-ipsec-psk-file={path}")  # fmt: skip

    def files(self, name: str, authority: Authority, *more: Authority, **how: object) -> str:
        """Issue certificate files; gives the daemon's id of the key."""
        certificate, key = authority.issue(name, **how)
        paths = {kind: self.folder / f"{name}-{kind}.pem"
                 for kind in ("certificate", "private_key", "ca_cert")}  # fmt: skip
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        paths["private_key"].write_bytes(pem)
        paths["certificate"].write_bytes(certificate.public_bytes(Encoding.PEM))
        bundle = [one.certificate.public_bytes(Encoding.PEM) for one in (authority, *more)]
        paths["ca_cert"].write_bytes(b"".join(bundle))
        words = [f"other_config:{kind}={path}" for kind, path in paths.items()]
        self.vsctl(name, "set", "Open_vSwitch", ".", *words)
        return key_id(key)

    def sign(self, name: str, authority: Authority) -> None:
        """Answer a request as northd_ext does."""
        until(lambda: self.key("Chassis_Private", name, report.REQUEST), f"{name} asks")
        request = check_request(
            self.key("Chassis_Private", name, report.REQUEST), ChassisName(name)
        )
        public = request.public_key

        class Holder:
            """What issue() wants of a key."""

            @staticmethod
            def public_key() -> object:
                return public

        certificate, _ = authority.issue(name, key=Holder())
        pem = certificate.public_bytes(Encoding.PEM).decode()
        self.answer(name, pem)

    def answer(self, name: str, pem: str) -> None:
        """Write an answer."""
        uuid = self.sbctl("--bare", "--columns=_uuid", "find", "Chassis_Private", f"name={name}")
        self.sbctl(
            "set", "Chassis_Private", uuid, f"external_ids:{report.ANSWER}={json.dumps(pem)}"
        )

    def shown(self) -> str:
        """All that anybody could read: rows, logs, arguments."""
        parts = [self.log(name) for name in NAMES]
        parts += [
            (self.folder / f"{name}.db").read_text(errors="replace") for name in ("sb", *NAMES)
        ]
        for process in self.processes.values():
            parts.append(Path(f"/proc/{process.pid}/cmdline").read_text(errors="replace"))
        return "".join(parts)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with charon.two_charons() as daemons:
        made = Lab(tmp_path, daemons)
        try:
            made.build()
            yield made
        finally:
            made.stop()


def test_the_three_ways_and_from_one_to_another(lab: Lab) -> None:
    """PSK from a file, pins from rows, a certificate on request; nothing secret is shown."""
    authority = Authority("enrolment")
    bundle = authority.certificate.public_bytes(Encoding.PEM).decode()
    lab.start()
    lab.publish(Phase.PREPARE, Auth.PSK)
    until(lambda: "ovn-ipsec-psk-file" in lab.problem("chA"), "a missing secret is named")
    lab.secrets(SECRETS[0])
    until(lambda: all(lab.able(name) == {"psk"} for name in NAMES), "psk can be used")
    lab.publish(Phase.ENFORCE, Auth.PSK)
    lab.all_by(Auth.PSK)
    assert lab.problem("chA") == ""

    lab.publish(Phase.ENFORCE, Auth.PSK, Auth.PINNED)
    until(lambda: all(lab.able(name) == {"psk", "pinned"} for name in NAMES), "pins are out")
    assert "use ssl: with RBAC" in lab.problem("chB")
    for name in NAMES:
        pem = lab.key("Chassis", name, "ovn-ipsec-cert")
        assert x509.load_pem_x509_certificate(pem.encode()).public_key()
        mode = (lab.folder / f"state-{name}" / "pinned.pem").stat().st_mode & 0o777
        assert mode == 0o600
    lab.publish(Phase.ENFORCE, Auth.PINNED, Auth.PSK)
    until(lambda: all("pinned" in lab.auths(name) for name in NAMES), "pins are used", 40.0)
    lab.publish(Phase.ENFORCE, Auth.PINNED)
    until(lambda: all(not lab.held(name)[1] for name in NAMES), "the secret is unloaded")

    lab.publish(Phase.ENFORCE, Auth.PINNED, Auth.CA, authorities=bundle)
    until(lambda: "waiting for a certificate" in lab.problem("chA"), "it waits for its answer")
    for name in NAMES:
        lab.sign(name, authority)
    until(lambda: all("ca" in lab.able(name) for name in NAMES), "certificates are in use")
    until(lambda: not lab.key("Chassis_Private", "chA", report.REQUEST), "nothing is asked for")
    lab.publish(Phase.ENFORCE, Auth.CA, Auth.PINNED)
    until(lambda: all("ca" in lab.auths(name) for name in NAMES), "they are used", 40.0)
    lab.publish(Phase.ENFORCE, Auth.CA)
    until(lambda: not lab.key("Chassis", "chA", "ovn-ipsec-cert"), "the pin is taken back")
    until(lambda: all(len(lab.held(name)[0]) == 1 for name in NAMES), "its key is unloaded")
    shown = lab.shown()
    for private in (*SECRETS, "PRIVATE KEY"):
        assert private not in shown
    limits = Path(f"/proc/{lab.processes['chA'].pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)
    assert "Traceback" not in shown


def test_a_secret_and_a_certificate_are_replaced(lab: Lab) -> None:
    """At the same path: noticed, checked, used; the old is unloaded, and a bad one is refused."""
    lab.secrets(SECRETS[0])
    lab.start()
    lab.publish(Phase.ENFORCE, Auth.PSK)
    lab.all_by(Auth.PSK)
    (before,) = lab.held("chA")[1]
    lab.secrets("short", names=("chA",))
    until(lambda: "too short" in lab.problem("chA"), "a bad secret is named")
    assert lab.held("chA")[1] == {before}
    lab.secrets(*SECRETS)
    until(lambda: all(len(lab.held(name)[1]) == 2 for name in NAMES), "both are accepted")
    lab.secrets(*reversed(SECRETS))
    lab.secrets(SECRETS[1])
    until(lambda: all(len(lab.held(name)[1]) == 1 for name in NAMES), "the old one is unloaded")
    assert before not in lab.held("chA")[1]
    authority = Authority("files")
    keys = {name: lab.files(name, authority) for name in NAMES}
    lab.publish(Phase.ENFORCE, Auth.PSK, Auth.CA)
    until(lambda: all(lab.able(name) == {"psk", "ca"} for name in NAMES), "both can be used")
    lab.publish(Phase.ENFORCE, Auth.CA)
    until(lambda: all("ca" in lab.auths(name) for name in NAMES), "ca is used", 40.0)
    (lab.folder / "chA-private_key.pem").write_text("junk")
    until(lambda: "holds no private key" in lab.problem("chA"), "a bad key is named")
    assert keys["chA"] in lab.held("chA")[0]
    newer = lab.files("chA", authority)
    until(lambda: lab.held("chA")[0] == {newer}, "the new key is in, the old one out")
    until(lambda: lab.problem("chA") == "", "nothing is wrong any more")
    lab.stop("chA")
    newest = lab.files("chA", authority)
    lab.start("chA")
    until(lambda: lab.held("chA")[0] == {newest}, "so it is after a restart")


def test_an_idle_controller_sleeps_until_a_file_changes(lab: Lab) -> None:
    """Of what wakes it the look for an ovs-monitor-ipsec, every 5 s, comes most often."""
    for name in NAMES:
        lab.vsctl(name, "add-br", "br-int")
    lab.secrets(SECRETS[0])
    lab.start()
    lab.publish(Phase.PREPARE, Auth.PSK)
    until(lambda: lab.able("chA") == {"psk"}, "psk can be used")
    time.sleep(stretched(5))
    before = lab.wakes("chA")
    time.sleep(10)
    assert lab.wakes("chA") - before < 10
    begun = time.monotonic()
    (lab.folder / "psk-chA").write_text("short")
    until(lambda: "too short" in lab.problem("chA"), "it is looked at")
    assert time.monotonic() - begun < stretched(3)
    begun = time.monotonic()
    (lab.folder / "fresh").touch(mode=0o600)
    (lab.folder / "fresh").write_text(SECRETS[1])
    (lab.folder / "fresh").rename(lab.folder / "psk-chA")
    until(lambda: lab.problem("chA") == "", "so is what is put in its place")
    assert time.monotonic() - begun < stretched(3)


def test_the_end_of_a_certificate_is_near(lab: Lab) -> None:
    """It is said in the log and in the digest, and is no problem; then another one is brought."""
    authority = Authority("files")
    lab.files("chA", authority, now=utc_now() - timedelta(days=360), days=365)
    lab.start("chA")
    lab.publish(Phase.PREPARE, Auth.CA)
    until(lambda: "expires at" in lab.key("Chassis_Private", "chA", report.WARNING), "it warns")
    assert (lab.problem("chA"), lab.able("chA")) == ("", {"ca"})
    assert lab.log("chA").count("certificate_ends") == 1
    assert "how=urgent" in lab.log("chA")
    lab.files("chA", authority)
    until(lambda: not lab.key("Chassis_Private", "chA", report.WARNING), "all is well")


def test_a_controller_that_can_do_nothing_sleeps(lab: Lab) -> None:
    """Without a name, and while an ovs-monitor-ipsec lives; then it goes on."""
    lab.secrets(SECRETS[0])
    lab.vsctl("chA", "remove", "Open_vSwitch", ".", "external_ids", "system-id")
    lab.start("chA")
    until((lab.folder / "chA.controller.pid").exists, "it runs")
    time.sleep(stretched(1))
    assert lab.busy("chA") < min(0.9, stretched(0.2))
    lab.publish(Phase.PREPARE, Auth.PSK)
    lab.vsctl("chA", "set", "Open_vSwitch", ".", "external_ids:system-id=chA")
    until(lambda: lab.able("chA") == {"psk"}, "it has its name")
    stock = lab.folder / "ovs-monitor-ipsec"
    stock.write_text("import time; time.sleep(3600)")
    netns = lab.daemons["chA"].netns
    lab.spawn("stock", ["ip", "netns", "exec", netns, sys.executable, str(stock)])
    until(lambda: "ovs-monitor-ipsec runs here" in lab.problem("chA"), "it stands back")
    assert lab.busy("chA") < min(0.9, stretched(0.2))
    lab.stop("stock")
    until(lambda: lab.problem("chA") == "", "it goes on")


def test_a_controller_sleeps_until_the_southbound_has_said_something(lab: Lab) -> None:
    """Though its daemon holds connections of its earlier life, which stay as they are."""
    lab.secrets(SECRETS[0])
    lab.start()
    lab.publish(Phase.ENFORCE, Auth.PSK)
    lab.all_by(Auth.PSK)
    lab.stop("chA", "db-sb")
    lab.start("chA")
    until(
        lambda: "ike_daemon_connected" in lab.log("chA").rpartition("chassis_named")[2], "it runs"
    )
    time.sleep(stretched(3))
    assert lab.busy("chA") < min(0.9, stretched(0.2))
    assert lab.auths("chA") == ["psk"]


def test_what_must_be_known_of_a_peer_is_set_on_each_chassis(lab: Lab) -> None:
    """Live: what is up stays, the next handshake is judged, and a list or a revocation counts."""
    authority = Authority("files")
    for name in NAMES:
        lab.files(name, authority)
    lab.start()
    lab.publish(Phase.ENFORCE, Auth.CA)
    lab.all_by(Auth.CA)
    lab.set("chB", "ovn-ipsec-revocation", "strict")
    time.sleep(stretched(2))
    assert lab.auths("chB") == ["ca"]
    lab.end("chB")
    until(lambda: "CRL_VALIDATION is SKIPPED" in lab.log("chB"), "chB says what it lacks")
    assert not lab.auths("chB")
    crl = lab.folder / "crl.pem"
    crl.write_bytes(crl_pem(authority.revoked()))
    lab.set("chB", "ovn-ipsec-crl-file", str(crl))
    lab.all_by(Auth.CA)
    lab.set("chB", "ovn-ipsec-revocation", "strickt")
    until(lambda: "expected one of relaxed, ifuri, strict" in lab.log("chB"), "junk is named")
    until(lambda: "='strickt'" in lab.problem("chB"), "it is the chassis' problem")
    certificate = (lab.folder / "chA-certificate.pem").read_bytes()
    crl.write_bytes(crl_pem(authority.revoked(x509.load_pem_x509_certificate(certificate))))
    until(lambda: lab.log("chB").count("crls_given") == 2, "the list is the daemon's")
    assert lab.auths("chB") == ["ca"], "a list ends nothing"
    lab.end("chB")
    until(lambda: "certificate was revoked" in lab.log("chB"), "chB says why")
    assert not lab.auths("chB")
    lab.files("chA", authority)
    lab.all_by(Auth.CA)


def crl_pem(der: bytes) -> bytes:
    """Encode a list as operators have it."""
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)


def test_junk_for_a_pin_and_a_lost_row(lab: Lab) -> None:
    """Junk is refused by name; a row that was made anew is filled again."""
    lab.start()
    lab.publish(Phase.ENFORCE, Auth.PINNED)
    lab.all_by(Auth.PINNED)
    text = lab.key("Chassis", "chA", "ovn-ipsec-cert")
    for name in ("chA", "chB"):
        lab.stop(name)
    stranger = der(Authority("x").certificate)
    assert stranger
    lab.sbctl("set", "Chassis", "chB", "external_ids:ovn-ipsec-cert=junk")
    lab.start("chA")
    words = "Chassis chB external_ids:ovn-ipsec-cert='4 characters': expected one PEM block"
    until(lambda: words in lab.problem("chA"), "the refusal names it all")
    lab.start("chB")
    until(lambda: words not in lab.problem("chA"), "the owner has put it right")
    lab.sbctl("remove", "Chassis", "chA", "external_ids", "ovn-ipsec-cert")
    until(lambda: lab.key("Chassis", "chA", "ovn-ipsec-cert") == text, "it is written again")


def test_an_answer_that_does_not_fit_is_named(lab: Lab) -> None:
    """For another key, of another authority, for another name; then the right one is taken."""
    authority, other = Authority("enrolment"), Authority("other")
    bundle = authority.certificate.public_bytes(Encoding.PEM).decode()
    lab.start("chA")
    lab.publish(Phase.PREPARE, Auth.CA, authorities=bundle)
    until(lambda: lab.key("Chassis_Private", "chA", report.REQUEST), "it asks")
    request = lab.key("Chassis_Private", "chA", report.REQUEST)
    lab.stop("chA")
    lab.start("chA")
    stranger = authority.issue("chA")[0].public_bytes(Encoding.PEM).decode()
    lab.answer("chA", stranger)
    until(lambda: "not for the key" in lab.problem("chA"), "another key")
    assert lab.key("Chassis_Private", "chA", report.REQUEST) == request
    lab.sign("chA", other)
    until(lambda: "not signed by a CA" in lab.problem("chA"), "another authority")
    lab.sign("chA", authority)
    until(lambda: lab.able("chA") == {"ca"}, "the right one")
    until(lambda: lab.problem("chA") == "", "all is well")
    key = (lab.folder / "state-chA" / "enrolled.pem").read_bytes()
    lab.stop("chA")
    lab.start("chA")
    until(lambda: lab.held("chA")[0], "the key is loaded again")
    assert (lab.folder / "state-chA" / "enrolled.pem").read_bytes() == key
    newer = other.certificate.public_bytes(Encoding.PEM).decode()
    lab.publish(Phase.PREPARE, Auth.CA, authorities=newer + bundle)
    lab.sign("chA", other)
    until(lambda: (lab.folder / "state-chA" / "enrolled.pem").read_bytes() != key, "issued anew")
    until(lambda: len(lab.held("chA")[0]) == 1, "the old key is unloaded")


def test_quarantine_ends_what_is_up(lab: Lab) -> None:
    """At both ends, until it is lifted."""
    lab.secrets(SECRETS[0])
    lab.start()
    lab.publish(Phase.ENFORCE, Auth.PSK)
    lab.all_by(Auth.PSK)
    lab.publish(Phase.ENFORCE, Auth.PSK, quarantine=frozenset({ChassisName("chB")}))
    for name in NAMES:
        until(lambda name=name: not lab.auths(name), f"{name} has let go", 5.0)
        until(lambda name=name: not lab.held(name)[1], f"{name} has no key for it")
        pairs = lab.key("Chassis_Private", name, report.PAIRS)
        assert "quarantined=1" in pairs
    time.sleep(stretched(2))
    assert not lab.auths("chA")
    lab.publish(Phase.ENFORCE, Auth.PSK, quarantine=frozenset())
    lab.all_by(Auth.PSK)
