# SPDX-License-Identifier: Apache-2.0
"""The manifests for Kubernetes name flags, paths and capabilities that exist, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from controller.__main__ import main as controller
from northd_ext.__main__ import main as northd
from ovn_ipsec import __version__
from ovn_ipsec.cli import probe
from ovn_ipsec.cli.__main__ import main as cli
from ovn_ipsec.flags import OVN_RUNDIR, OVS_RUNDIR
from ovn_ipsec.ikes import VICI
from tests.unit.test_packages import PACKAGING, installed
from tests.unit.test_units import words

FOLDER = PACKAGING / "kubernetes"
FILES = {"controller.yaml", "northd-central.yaml", "northd-zone.yaml"}
TOOL = Path(__file__).parents[2] / "tools" / "image"
UNITS = {"controller": "ovn-ipsec-controller", "northd": "ovn-ipsec-northd"}
IKE_PORTS = {500, 4500}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text("ascii")))


def workload(name: str) -> dict[str, Any]:
    (found,) = [d for d in documents(name) if d["kind"] in {"DaemonSet", "Deployment"}]
    return found


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = workload(name)["spec"]["template"]["spec"]
    return spec


CONTAINERS = [
    pytest.param(name, container, id=f"{name}-{container['name']}")
    for name in sorted(FILES)
    for container in pod(name)["containers"]
]
OURS = [param for param in CONTAINERS if param.values[1]["name"] in UNITS]


def default(command: click.Command, name: str) -> str:
    (found,) = [str(p.default) for p in command.params if p.name == name]
    return found


def mounted(container: dict[str, Any]) -> dict[str, str]:
    """Volume by the place where it is."""
    return {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}


def volume(name: str, wanted: str) -> dict[str, Any]:
    (found,) = [volume for volume in pod(name)["volumes"] if volume["name"] == wanted]
    return found


def run(path: str) -> str:
    """The same folder as Debian has it: /var/run is /run."""
    return re.sub(r"^/var/run/", "/run/", path)


def test_every_manifest_is_looked_at():
    """And none is forgotten here."""
    assert {path.name for path in FOLDER.iterdir()} == FILES


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_workload_finds_its_pods(name: str):
    """Its selector is their label, and the network of pods, which it looks after, is not needed."""
    found = workload(name)
    labels = found["spec"]["template"]["metadata"]["labels"]
    assert found["spec"]["selector"]["matchLabels"] == labels
    assert pod(name)["hostNetwork"] is True
    used = {mount for c in pod(name)["containers"] for mount in mounted(c).values()}
    assert used == {volume["name"] for volume in pod(name)["volumes"]}


@pytest.mark.parametrize(("name", "container"), CONTAINERS)
def test_the_image_is_that_of_this_version(name: str, container: dict[str, Any]):
    """One image for all programs."""
    assert f"localhost/ovn-ipsec:{__version__}" == container["image"]


@pytest.mark.parametrize(("name", "container"), OURS)
def test_a_daemon_is_started_by_flags_that_it_has(name: str, container: dict[str, Any]):
    """And by the launcher of our packages."""
    program, *flags = container["command"]
    assert f"/usr/bin/{UNITS[container['name']]}" == program
    assert "usr/bin" == installed()[f"packaging/bin/{Path(program).name}"]
    command = {"controller": controller, "northd": northd}[container["name"]]
    command.make_context(str(command.name), list(flags))


@pytest.mark.parametrize(("name", "container"), OURS)
@pytest.mark.parametrize("kind", ["readinessProbe", "livenessProbe"])
def test_probes_ask_the_daemon_and_wait_for_it(name: str, container: dict[str, Any], kind: str):
    """Longer than the probe itself does, which then can say what was wrong."""
    found = container[kind]
    program, *argv = found["exec"]["command"]
    assert "/usr/bin/ovn-ipsec" == program
    assert "probe" == argv[0]
    with click.Context(cli, **cli.context_settings) as context:
        asked = probe.command.make_context("probe", argv[1:], parent=context).params
    assert container["name"] == asked["daemon"]
    assert (kind == "livenessProbe") == asked["live"]
    assert asked["timeout"] < found["timeoutSeconds"]


@pytest.mark.parametrize(("name", "container"), OURS)
def test_one_that_hangs_is_ended_no_sooner_than_by_systemd(name: str, container: dict[str, Any]):
    """A slow pass is no reason."""
    (watchdog,) = words(UNITS[container["name"]], "Service", "WatchdogSec")
    found = container["livenessProbe"]
    assert int(watchdog) <= found["periodSeconds"] * found["failureThreshold"]


@pytest.mark.parametrize(("name", "container"), CONTAINERS)
def test_a_container_can_do_no_more_than_the_unit(name: str, container: dict[str, Any]):
    """And no less, but that a northd which reaches its databases over TLS needs no capability."""
    security = container["securityContext"]
    assert ["ALL"] == security["capabilities"]["drop"]
    added = set(security["capabilities"].get("add", ()))
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert "privileged" not in security
    if container["name"] in UNITS:
        unit = words(UNITS[container["name"]], "Service", "CapabilityBoundingSet")
        allowed = {word.removeprefix("CAP_") for word in unit}
        assert added == (set() if name == "northd-central.yaml" else allowed)
    tried = {
        frozenset(found[1].split(","))
        for found in re.finditer(r"^answers (\S+) ", TOOL.read_text("ascii"), re.M)
    }
    assert not added or {f"+{word.lower()}" for word in added} in tried


def test_the_controller_finds_what_it_has_on_a_host():
    """Its default paths are where something of the node, or of charon, is."""
    charon, ours = pod("controller.yaml")["containers"]
    state = default(controller, "state_dir")
    places = mounted(ours)
    for path in (run(OVS_RUNDIR), run(OVN_RUNDIR), state):
        assert "hostPath" in volume("controller.yaml", places[path])
    assert state == volume("controller.yaml", places[state])["hostPath"]["path"]
    vici = str(Path(VICI.removeprefix("unix://")).parent)
    assert places[vici] == mounted(charon)[vici]
    assert "emptyDir" in volume("controller.yaml", places[vici])
    assert places["/etc/openvswitch"] == "keys"


def test_charon_listens_on_the_ports_of_ike():
    """Those of the node, so that nobody else is given them."""
    charon = pod("controller.yaml")["containers"][0]
    assert {(p["containerPort"], p["hostPort"], p["protocol"]) for p in charon["ports"]} == {
        (port, port, "UDP") for port in IKE_PORTS
    }


def test_northd_has_its_databases():
    """By the sockets of the node, or by the variables that it reads; and a standby beside it."""
    (zone,) = pod("northd-zone.yaml")["containers"]
    assert "hostPath" in volume("northd-zone.yaml", mounted(zone)[run(OVN_RUNDIR)])
    assert 2 == workload("northd-central.yaml")["spec"]["replicas"]
    (settings,) = [d for d in documents("northd-central.yaml") if d["kind"] == "ConfigMap"]
    assert {"OVN_NB_DB", "OVN_SB_DB"} == set(settings["data"])
    assert all(
        re.fullmatch(r"(ssl:192\.0\.2\.\d+:664[12],?)+", text) for text in settings["data"].values()
    )
    (central,) = pod("northd-central.yaml")["containers"]
    assert [{"configMapRef": {"name": settings["metadata"]["name"]}}] == central["envFrom"]
