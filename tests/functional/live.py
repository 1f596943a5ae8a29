# SPDX-License-Identifier: Apache-2.0
"""Two real controllers with real charons in namespaces, and the databases that they follow."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from controller.ike.strongswan import StrongSwan
from controller.kernel.watch import NO_ESP
from ovn_ipsec.errors import IkeHungError
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Auth, ClusterPolicy, Mode, Phase
from ovn_ipsec.pki.request import check_request
from ovn_ipsec.schema import report
from ovn_ipsec.schema.sb_global import format_policy
from tests.contracts.ike_backend import Authority, key_id, seen
from tests.functional import charon
from tests.functional.alone import wakes_of

OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
SB_SCHEMA = Path("/usr/share/ovn/ovn-sb.ovsschema")
PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovn-sbctl")
MISSING = [p for p in PROGRAMS if shutil.which(p) is None]
MISSING += [str(s) for s in (OVS_SCHEMA, SB_SCHEMA) if not s.exists()]
MISSING += [charon.missing()] if charon.missing() else []

ROOT = Path(__file__).parents[2]
NAMES = ("chA", "chB")
SECRETS = ("the first secret of this lab", "the second secret of this lab")
LIFE = timedelta(days=30)
WAIT_S = 60.0
"""An end that was refused before waits up to 37.5 s for its next attempt."""


def until(fact: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Poll until it is so; a daemon that does not answer in time counts as not yet."""
    end = time.monotonic() + stretched(timeout_s)
    while not _holds(fact):
        assert time.monotonic() < end, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.1)


def _holds(fact: Callable[[], object]) -> bool:
    with contextlib.suppress(IkeHungError):
        return bool(fact())
    return False


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
            f"authenticated by {auth}",
        )

    def wakes(self, name: str) -> int:
        """How often a controller has waited for something."""
        return wakes_of(self.processes[name].pid)

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
