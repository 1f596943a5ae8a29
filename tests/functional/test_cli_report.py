# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec report` beside a real controller and charon with secrets: none of them is in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ovn_ipsec.cli.report.redaction import without_bytes
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Auth, Phase
from ovn_ipsec.pki.psk import psk_for_pair
from tests.contracts.ike_backend import Authority
from tests.functional import charon
from tests.functional.live import MISSING, NAMES, ROOT, SECRETS, Lab

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")

CHATTY = charon._CONF.replace(
    "charon {{\n", "charon {{\n  filelog {{ all {{ path = {socket}.log \n default = 4 }} }}\n", 1
)
"""A daemon that writes down every key."""
DUMPED = re.compile(r"\d+: ((?:[0-9A-F]{2} ){16})")
MARK = "0123456789abcdef-in-a-key-of-ours"


@pytest.fixture
def chatty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Two chassis whose daemons log everything."""
    monkeypatch.setattr(charon, "_CONF", CHATTY)
    with charon.two_charons() as daemons:
        made = Lab(tmp_path, daemons)
        try:
            made.build()
            yield made
        finally:
            made.stop()


def reported(lab: Lab) -> tuple[Path, dict[str, bytes], str]:
    """Write a report on chA; gives the file, its members, and what was printed."""
    path = lab.folder / "report.tar.gz"
    argv = ["ip", "netns", "exec", lab.daemons["chA"].netns, sys.executable, "-m", "ovn_ipsec.cli"]
    argv += ["--ovnsb-db", f"unix:{lab.folder}/sb.sock", "report", "--output", str(path)]
    argv += ["--target", str(lab.folder / "chA.appctl"), "--ovs-db", f"unix:{lab.folder}/chA.sock"]
    argv += ["--vici", lab.daemons["chA"].uri, "--state-dir", str(lab.folder / "state-chA")]
    done = subprocess.run(
        argv, check=False, env=lab.env, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    with tarfile.open(path) as archive:
        files = {m.name.partition("/")[2]: archive.extractfile(m) for m in archive.getmembers()}
        members = {name: file.read() for name, file in files.items() if file is not None}
    return path, members, done.stdout + done.stderr


def spelled(secret: bytes) -> set[bytes]:
    """A secret, its base64 and its hex."""
    return {secret, b64encode(secret).rstrip(b"="), secret.hex().encode()}


def test_a_report_holds_what_there_is_to_see_and_no_secret(chatty: Lab) -> None:
    """Neither the cluster's secret, nor a private key, nor a key that charon has written down."""
    lab = chatty
    lab.secrets(SECRETS[0], SECRETS[1])
    authority = Authority()
    for name in NAMES:
        lab.files(name, authority)
    lab.vsctl("chA", "set", "Open_vSwitch", ".", f"external_ids:foreign={MARK}")
    lab.start()
    lab.publish(Phase.ENFORCE, Auth.PSK)
    lab.all_by(Auth.PSK)
    path, members, printed = reported(lab)
    assert path.stat().st_mode & 0o777 == 0o600
    key = (lab.folder / "chA-private_key.pem").read_bytes()
    der = load_pem_private_key(key, None).private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    )
    secrets = {one for text in SECRETS for one in spelled(text.encode())} | spelled(der)
    for text in SECRETS:
        secrets |= spelled(psk_for_pair(text.encode(), *map(ChassisName, NAMES)))
    secrets |= {b"PRIVATE KEY", MARK.encode(), *key.splitlines()[1:-1]}
    for name, data in members.items():
        assert not [one for one in secrets if one in data], name
    assert SECRETS[0] not in printed
    assert {name for name in members if not name.startswith("log/")} >= {
        *("versions.json", "doctor.json", "manifest.json", "README.txt"),
        *("controller/status.json", "controller/guard.json", "controller/peers.json"),
        *("rows/open_vswitch.json", "rows/southbound.json"),
        *("kernel/xfrm-policies.txt", "kernel/xfrm-states.txt", "kernel/nftables.txt"),
        *("ike/connections.json", "ike/sas.json"),
    }
    (sa, *_) = [one for event in json.loads(members["ike/sas.json"]) for one in event.values()]
    assert sa["state"] == "ESTABLISHED"
    assert b"10.9.0.1/32 0.0.0.0/0 proto udp" in members["kernel/xfrm-policies.txt"]
    assert b"table inet ovn_ipsec" in members["kernel/nftables.txt"]
    rows = json.loads(members["rows/open_vswitch.json"])
    assert rows["other_config"]["ovn-ipsec-psk-file"] == str(lab.folder / "psk-chA")
    assert rows["external_ids"]["system-id"] == "chA"
    south = json.loads(members["rows/southbound.json"])
    assert [one["name"] for one in south["Chassis"]] == list(NAMES)
    assert "ovn-ipsec-phase" in " ".join(south["SB_Global"])
    checks = {one["part"]: one for one in json.loads(members["doctor.json"])}
    assert checks["vici"]["is_well"]
    missing = json.loads(members["manifest.json"])["missing"]
    assert "ovnnb_db.sock" in missing["rows/northbound.json"]
    assert "without rows/northbound.json: " in printed

    log = Path(f"{lab.daemons['chA'].socket}.log").read_text(errors="replace")
    dumped = {found.strip() for found in DUMPED.findall(log)}
    assert len(dumped) > 20, "the daemon did not write its keys down"
    kept = without_bytes(log)
    assert not [one for one in dumped if one in kept]
    assert not [one for one in dumped if one.replace(" ", "").lower() in kept]
    assert "established between 10.9.0.1[chA]...10.9.0.2[chB]" in kept
