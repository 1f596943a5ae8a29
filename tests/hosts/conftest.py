# SPDX-License-Identifier: Apache-2.0
"""Two whole Debian hosts, installed from our packages, and the wire between them seen from outside.

    make hosts-check [SUITE=sid | SUITE=trixie,sid]

One pair for the session, and one reader of docs/tutorial.md, who types every command of it. The
tests run in the order of the tutorial, with faults and tasks of an operator between its chapters.
When one fails, the logs of both hosts and the captures are in build/hosts/artefacts.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from operator_words import CHAPTERS, Operator

from ovn_ipsec.lab.hosts import image, recipe
from ovn_ipsec.lab.hosts.image import Image
from ovn_ipsec.lab.hosts.pair import Pair

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build"
DEBS = image.packages(BUILD / "deb")
ARTEFACTS = BUILD / "hosts" / "artefacts"
ORDER = ("install", "security", "tasks", "reboot", "upgrade", "units", "removal")
"""Of the modules; what a failed one leaves behind is not mended for the next."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let another release of Debian be tried."""
    parser.addoption("--suite", type=recipe.suites_of, default=recipe.SUITES[0])


def _why_not() -> str:
    if missing := image.missing():
        return f"this machine lacks {', '.join(missing)}"
    return "" if DEBS else "no packages in build/deb: make deb"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the modules; skip the tests where they cannot run, and say why."""
    ours = [item for item in items if HERE in item.path.parents]
    items.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")))
    if reason := _why_not():
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once more, without being asked, that tests were skipped."""
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple):
            terminalreporter.write_line(f"HOSTS NOT TRIED: {report.longrepr[2]}", red=True)
            return


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Show a failure at once."""
    if report.failed:
        os.write(2, f"\n{report.nodeid}: {report.longreprtext[-3000:]}\n".encode())


@pytest.fixture(scope="session")
def disks(request: pytest.FixtureRequest) -> tuple[Image, Image]:
    """The disk of each Debian host, without our packages."""
    try:
        first, second = (
            image.ready(suite, BUILD / "hosts", DEBS, _progress)
            for suite in request.config.getoption("suite")
        )
    except image.UnfetchableError as error:
        pytest.skip(str(error))
    return first, second


@pytest.fixture(scope="session")
def clear_pair(request: pytest.FixtureRequest, disks: tuple[Image, Image]) -> Iterator[Pair]:
    """Two hosts with OVN, in clear, and our packages lying beside it."""
    # Whoever ends us ends the hosts, too.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated"))
    # Not below build: the path of a socket has to be short.
    folder = Path(tempfile.mkdtemp(prefix="hosts-"))
    try:
        with Pair(disks, folder, _progress) as pair:
            pair.set_up(DEBS)
            yield pair
            if request.session.testsfailed:
                pair.save_logs(ARTEFACTS)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def operator(clear_pair: Pair) -> Operator:
    """Somebody with the tutorial in front of both hosts."""
    return Operator(clear_pair)


@pytest.fixture
def enforced(operator: Operator) -> Pair:
    """Both hosts with our packages, and every pair encrypted."""
    operator.read_to(CHAPTERS["on"])
    return operator.pair


def _progress(text: str) -> None:
    os.write(2, f"hosts: {text}\n".encode())
