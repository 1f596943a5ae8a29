# SPDX-License-Identifier: Apache-2.0
r"""System tests: a real OVN cluster, real Open vSwitch, real IKE daemons, a real kernel.

All of pytest runs inside the laboratory: one boot and one cluster for the session. From the
project's folder::

    python -m ovn_ipsec.lab.guest --anywhere --mem 8 --timeout 2400 --artefacts build/system -- \\
        python -m pytest tests/system -p no:cacheprovider

``--anywhere`` takes this kernel where it can carry the cluster and a guest where not. Started in
any other way the tests are skipped and say what is missing. When one fails, the logs of every
daemon are in the folder given by ``--artefacts``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import helpers
import pytest

from ovn_ipsec.lab.capabilities import missing_capabilities
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.settings import ClusterSettings
from ovn_ipsec.lab.waiting import wait_until

HERE = Path(__file__).parent


def _why_not() -> str:
    if os.environ.get("OVN_IPSEC_LAB"):
        return ""
    if missing := missing_capabilities():
        return f"this kernel lacks {', '.join(missing)}: see tests/system/conftest.py"
    return "not in namespaces of its own: see tests/system/conftest.py"


def _order(item: pytest.Item) -> tuple[bool, str]:
    """The laboratory itself first, before our programs run; at last what needs its own cluster."""
    call = getattr(item, "callspec", None)
    settings = call.params.get("cluster") if call is not None else None
    return item.path != HERE / "test_lab.py", repr(settings) if settings is not None else ""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Build each cluster once; skip the tests where they cannot run, and say why."""
    items.sort(key=_order)
    ours = [item for item in items if HERE in item.path.parents]
    if ours and (reason := _why_not()):
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Show a failure at once: the guest may run out of time before pytest sums up."""
    if report.failed:
        os.write(2, f"\n{report.nodeid}: {report.longreprtext[-3000:]}\n".encode())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once more, without being asked, that system tests were skipped."""
    for report in terminalreporter.stats.get("skipped", []):
        if "tests/system" in report.nodeid and isinstance(report.longrepr, tuple):
            terminalreporter.write_line(f"SYSTEM TESTS SKIPPED: {report.longrepr[2]}", red=True)
            return


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three chassis with one workload each; none of our programs runs yet.

    A test that needs another cluster gives its settings by ``parametrize(..., indirect=True)``;
    pytest ends this one then, since there is one at a time.
    """
    settings: ClusterSettings = getattr(request, "param", ClusterSettings(chassis=3))
    with Cluster(settings, progress=_progress) as built:
        yield built
        if request.session.testsfailed:
            built.save_logs(_artefacts())


@pytest.fixture(scope="session")
def product(cluster: Cluster) -> Cluster:
    """The same cluster with our programs running on every host, and nothing asked of them yet."""
    cluster.start_ipsec()
    wait_until(
        lambda: all(helpers.digest(cluster, name) for name in cluster.chassis),
        120,
        "a digest of every chassis",
    )
    return cluster


@pytest.fixture
def switched_off(product: Cluster) -> Cluster:
    """All daemons run and encryption is off, whatever an earlier test left behind."""
    helpers.revive(product)
    helpers.relax(product)
    return product


@pytest.fixture
def enforced(product: Cluster) -> Cluster:
    """All daemons run and every pair is encrypted, whatever an earlier test left behind."""
    helpers.revive(product)
    helpers.enforce(product)
    helpers.wait_all_encrypted(product)
    return product


def _artefacts() -> Path | None:
    """Name a new folder for the logs of one cluster."""
    if not (text := os.environ.get("OVN_IPSEC_LAB_ARTEFACTS")):
        return None
    return Path(text) / f"cluster-{len(list(Path(text).glob('cluster-*')))}"


def _progress(text: str) -> None:
    os.write(2, f"lab: {text}\n".encode())
