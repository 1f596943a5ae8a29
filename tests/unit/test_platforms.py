# SPDX-License-Identifier: Apache-2.0
"""The page of platforms says what the runs have shown, and leaves no cell without a reason."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from ovn_ipsec.lab.guest import roots

ROOT = Path(__file__).parents[2]


def load() -> ModuleType:
    """The tool is no module of a package."""
    spec = importlib.util.spec_from_file_location("platforms", ROOT / "tools" / "platforms.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


platforms = load()

JUNIT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="2" tests="5">
<testcase classname="tests.system.test_main_job" name="test_a" time="1.0" />
<testcase classname="tests.system.test_main_job" name="test_b"><failure message="m">t</failure>
</testcase>
<testcase classname="tests.system.test_main_job" name="test_c"><error message="m">t</error>
</testcase>
<testcase classname="tests.system.platforms.test_pq" name="test_d">
<skipped type="pytest.skip" message="strongSwan 5.9.8 has no ML_KEM_768">t</skipped></testcase>
<testcase classname="tests.system.platforms.test_pq" name="test_e">
<skipped type="pytest.skip" message="strongSwan 5.9.8 has no ML_KEM_768">t</skipped></testcase>
</testsuite></testsuites>
"""


def test_each_test_counts_once_with_what_became_of_it():
    """An error of a fixture is a failure as well."""
    lacks = "strongSwan 5.9.8 has no ML_KEM_768"
    assert {
        "test_main_job.py": {"passed": 1, "failed": ["test_b", "test_c"], "skipped": []},
        "platforms/test_pq.py": {"passed": 0, "failed": [], "skipped": [lacks, lacks]},
    } == platforms.outcomes(JUNIT)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (None, "not run"),
        ({"passed": 0, "failed": [], "skipped": []}, "not run"),
        ({"passed": 3, "failed": [], "skipped": []}, "3 passed"),
        ({"passed": 1, "failed": ["b", "a"], "skipped": []}, "1 passed; **failed: a, b**"),
        ({"passed": 0, "failed": [], "skipped": ["no x", "no x"]}, "not there: no x"),
    ],
)
def test_a_cell_says_what_was_seen_or_why_not(entry, text):
    """None is empty."""
    assert text == platforms.cell(entry)


def test_the_page_has_a_cell_for_every_module_and_suite():
    """A suite that did not run has no column; a module that did not run says so."""
    results = {"trixie": {"versions": {"OVN": "25.03.0"}, "modules": platforms.outcomes(JUNIT)}}
    lines = platforms.page(results).splitlines()
    assert "| OVN | 25.03.0 |" in lines
    assert "| Linux | none |" in lines
    rows = [line for line in lines if "test_" in line]
    assert len(platforms.MODULES) == len(rows)
    rows += [line for line in lines if platforms.HOSTS in line]
    assert len(platforms.WHAT) == len(rows)
    assert all(re.search(r"\| [^|]+ \|$", row) for row in rows)
    assert not [line for line in lines if "sid" in line.split()]


@pytest.mark.parametrize(
    ("version", "plain"),
    [("25.03.0-1", "25.03.0"), ("1:2.3-4", "2.3"), ("5.9.8-5+deb12u5", "5.9.8"), ("7", "7")],
)
def test_a_version_is_that_of_the_authors(version, plain):
    """Debian's epoch and revision say nothing to others."""
    assert plain == platforms.upstream(version)


def test_versions_are_those_of_the_installed_packages(tmp_path):
    """Fields may stand between name and version, and descriptions may look like fields."""
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: ovn-host\nStatus: install ok installed\nVersion: 25.03.0-1\n"
        "Description: host\n Version: 1\n\n"
        "Package: python3\nStatus: install ok installed\nVersion: 3.13.5-1\n"
    )
    assert {"ovn-host": "25.03.0-1", "python3": "3.13.5-1"} == roots.versions(tmp_path)


def test_recorded_results_are_of_modules_and_suites_that_exist():
    """A renamed test does not keep the results of its old name."""
    results = platforms.read()
    assert set(roots.SUITES) >= set(results)
    for found in results.values():
        assert set(platforms.COMPONENTS) == set(found["versions"])
        assert set(platforms.WHAT) >= set(found["modules"])


def test_hosts_are_one_row_and_where_there_are_no_packages_it_says_so():
    """All modules of the hosts together."""
    found = platforms.together(platforms.outcomes(JUNIT).values())
    assert (1, 2, 2) == (found["passed"], len(found["failed"]), len(found["skipped"]))
    results = {
        "bookworm": {"versions": {}, "modules": {}},
        "sid": {
            "versions": {},
            "modules": {platforms.HOSTS: {**found, "failed": [], "skipped": []}},
        },
    }
    rows = [line for line in platforms.page(results).splitlines() if platforms.HOSTS in line]
    assert rows[0].endswith(f"| {platforms.NO_HOSTS} | 1 passed |")
    assert rows[1].endswith("| see trixie | see trixie |")


@pytest.mark.parametrize("status", [2, 3, 130])
def test_a_run_that_was_ended_half_way_is_no_result(tmp_path: Path, status: int):
    """Its file is written then, too."""
    file = tmp_path / "results.xml"
    file.write_text(JUNIT)
    with pytest.raises(platforms.LabError, match=f"status {status}"):
        platforms._results(file, status)
    assert platforms.outcomes(JUNIT) == platforms._results(file, 1)
    file.unlink()
    with pytest.raises(platforms.LabError, match="no whole result"):
        platforms._results(file, 0)
