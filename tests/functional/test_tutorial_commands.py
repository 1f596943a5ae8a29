# SPDX-License-Identifier: Apache-2.0
"""What the tutorials have their readers type, with real databases and the real tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.credentials import files
from ovn_ipsec.clock import utc_now
from ovn_ipsec.lab.hosts.tutorial import MIGRATE, ONE_TENANT, TUTORIAL, Step, steps
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.schema.open_vswitch import CredentialFiles
from tests.functional.ovsdb import OVS_SCHEMA, Central, central, missing_programs, wait_until

NEEDS_A_CLUSTER = "sync"
DATABASE_TOOLS = ("ovn-nbctl", "ovn-sbctl", "ovs-vsctl")
STOCK_FILES = "/etc/ipsec.d"
ASKED = {
    "1. On, but for nobody": ("off", "rule 10"),
    "3. Its workloads come": ("require", "rule 100"),
    "4. A workload leaves": ("off", "rule 10"),
    "5. Let the tenant ask": ("require", "the network's own setting"),
}
"""What explain answers on the page of one tenant, by section: mode, and what decided it."""

pytestmark = pytest.mark.skipif(
    bool(missing_programs()) or not OVS_SCHEMA.exists() or shutil.which("ovs-vsctl") is None,
    reason="no Open vSwitch or no OVN here",
)


def typed(page: Path) -> list[Step]:
    """The steps of a page."""
    return list(steps(page.read_text("utf-8")))


def shell(
    command: str, env: dict[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command as its reader does."""
    return subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=stretched(60),
        check=False,
    )


def test_the_tools_take_what_the_reader_types(databases: Central) -> None:
    """All of it, page by page; both machines write into one local database here."""
    count = 0
    for page, switch in ((TUTORIAL, "false"), (MIGRATE, "true"), (ONE_TENANT, "true")):
        for step in typed(page):
            if not step.command.startswith(DATABASE_TOOLS) or step.command.endswith("sync"):
                continue
            command = step.command.replace("ovs-vsctl ", "ovs-vsctl --no-wait ")
            done = shell(command, databases.env)
            assert (done.returncode, done.stderr) == (0, ""), step
            count += 1
        assert databases.nbctl("get", "NB_Global", ".", "ipsec").strip() == switch, page
    assert count >= 12 + 3 + 14
    addresses = databases.nbctl("--bare", "--columns=addresses", "list", "Logical_Switch_Port")
    assert "02:00:00:00:00:02 198.51.100.2" in addresses
    ids = databases.run("ovs-vsctl", "get", "Interface", "w1", "external_ids:iface-id")
    assert ids.strip() == "w1"


@pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces need root")
@pytest.mark.skipif(shutil.which("ovs-pki") is None, reason="no ovs-pki here")
def test_certificates_of_ovs_pki_are_taken_by_the_controller(tmp_path: Path) -> None:
    """Those that the page of the move makes, in the places that it gives them."""
    home, authority = tmp_path / "home", tmp_path / "authority"
    home.mkdir()
    authority.mkdir()
    lines = [f"mount --bind {authority} /var/lib/openvswitch", "mount -t tmpfs none /var/log"]
    lines += ["mkdir /var/log/openvswitch"]
    for host in ("h1", "h2"):
        own = tmp_path / host
        for folder in ("cacerts", "certs", "private"):
            (own / folder).mkdir(parents=True)
        lines.append(f"mount --bind {own} {STOCK_FILES}")
        lines += [
            step.command
            for step in typed(MIGRATE)
            if step.host == host and step.command.startswith(("ovs-pki", "cp ", "install "))
        ]
    script = "set -e\n" + "\n".join(lines)
    command = ["unshare", "--mount", "sh", "-c", script]
    done = subprocess.run(
        command, cwd=home, capture_output=True, text=True, timeout=stretched(60), check=False
    )
    assert done.returncode == 0, done.stderr
    settings = next(s.command for s in typed(MIGRATE) if s.command.startswith("ovs-vsctl set"))
    for host in ("h1", "h2"):
        paths = {
            key: word.partition("=")[2].replace(STOCK_FILES, str(tmp_path / host))
            for word in settings.split()
            for key in ("certificate", "private_key", "ca_cert")
            if word.startswith(f"other_config:{key}=")
        }
        credential, _ = files.read(CredentialFiles(**paths), ChassisName(host), utc_now())
        assert credential.not_after > utc_now()


# --- the page of one tenant --------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Central]:
    """Databases, both northds, and two chassis that do what they are told."""
    with central(tmp_path) as made:
        for number, name in enumerate(("h1", "h2"), start=1):
            made.sbctl("chassis-add", name, "geneve", f"10.0.0.{number}")
            made.follow(name)
        made.start_northd()
        yield made


def wait_for(ovn: Central, program: subprocess.Popen[str]) -> None:
    """Have the chassis follow until a program that waits for them has ended."""

    def ended() -> bool:
        for name in ("h1", "h2"):
            ovn.follow(name, "encrypted=1")
        return program.poll() is not None

    wait_until(ended, what="the end of ovn-ipsec wait")
    output, errors = program.communicate()
    assert program.returncode == 0, output + errors


def type_ours(ovn: Central, command: str) -> Any:
    """Type a command of ours; one that waits has the chassis follow meanwhile."""
    words = [sys.executable, "-m", "ovn_ipsec.cli", "--json", *command.split()[1:]]
    env = {**os.environ, **ovn.env}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=env, stdout=pipe, stderr=pipe, text=True) as program:
        if command.startswith("ovn-ipsec wait"):
            return wait_for(ovn, program)
        output, errors = program.communicate(timeout=stretched(60))
    assert output, errors
    return json.loads(output)


def plug(ovn: Central, step: Step) -> None:
    """Bind a port where the reader connects its interface, as ovn-controller does."""
    words = step.command.split()
    if "add-port" in words:
        port = words[words.index("add-port") + 2]
        ovn.sbctl("lsp-bind", port, step.host)
    else:
        ovn.sbctl("--if-exists", "lsp-unbind", words[-1])


def is_asked(ovn: Central, section: str, command: str) -> bool:
    """Whether explain answers what the page says."""
    for name in ("h1", "h2"):
        ovn.follow(name, "encrypted=1")
    (pair,) = type_ours(ovn, command)["pairs"]
    mode, decided_by = ASKED[section]
    return (pair["carried"]["mode"], decided_by in pair["decided_by"]) == (mode, True)


def test_one_tenant_is_encrypted_by_the_words_of_its_page(two: Central) -> None:
    """The rules take the pair where the page says, and back; the chassis are played."""
    asked = set()
    for step in typed(ONE_TENANT):
        if step.command.startswith("ovn-nbctl") and not step.command.endswith(NEEDS_A_CLUSTER):
            done = shell(step.command, two.env)
            assert (done.returncode, done.stderr) == (0, ""), step
        elif step.command.startswith("ovs-vsctl"):
            plug(two, step)
        elif step.command.startswith("ovn-ipsec explain"):
            asked.add(step.section)
            wait_until(lambda at=step: is_asked(two, at.section, at.command), what=f"{step}")
        elif step.command.startswith("ovn-ipsec"):
            found = type_ours(two, step.command)
            assert found is None or "error" not in found, (step, found)
    assert asked == ASKED.keys()
    options = two.rows("nb", "NB_Global")[0]["options"]
    assert isinstance(options, dict)
    assert not any(key.startswith("ovn-ipsec-rule") for key in options)
