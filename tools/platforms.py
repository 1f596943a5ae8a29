# SPDX-License-Identifier: Apache-2.0
"""Run what has to hold on every generation of OVN, Open vSwitch, strongSwan, kernel and Python.

Usage: ``tools/platforms.py [SUITE...] [--only MODULE...]``. For each release of Debian a guest is
booted with its root and its kernel, and the main path runs there, the credentials, and what only
some generations can do; then two whole hosts, where our packages are for it. What was found goes
to ``tests/system/platforms/results.json``, from which ``tools/reference.py`` writes
docs/reference/platforms.md. What did not run keeps its last result.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ovn_ipsec.lab.errors import LabError
from ovn_ipsec.lab.guest import machine, roots
from ovn_ipsec.lab.hosts import recipe

ROOT = Path(__file__).parents[1]
SYSTEM = ROOT / "tests" / "system"
RESULTS = SYSTEM / "platforms" / "results.json"
MODULES = (
    *("test_main_job.py", "test_credentials.py"),
    *(f"platforms/{path.name}" for path in sorted((SYSTEM / "platforms").glob("test_*.py"))),
)
"""What runs in a guest, below tests/system."""
HOSTS = "tests/hosts"
"""What runs on two whole hosts, and is one row."""
MIXED = f"{HOSTS} --suite={','.join(recipe.MIXED)}"
WHAT = (*MODULES, HOSTS, MIXED)
NO_HOSTS = "no packages: Python's cryptography is too old there"
COMPONENTS = {
    "OVN": "ovn-host",
    "Open vSwitch": "openvswitch-switch",
    "strongSwan": "charon-systemd",
    "Linux": "linux-image-cloud-amd64",
    "Python": "python3",
    "python3-openvswitch": "python3-openvswitch",
    "python3-ovsdbapp": "python3-ovsdbapp",
    "python3-pyroute2": "python3-pyroute2",
}
"""What a generation is made of, by the package that tells its version."""
WHOLE = (0, 1)
"""What pytest ends with when it has run all that it was asked to."""
LIMIT_S = 3600.0
"""For one generation: 10 minutes on two idle cores."""
NOTE = "<!-- Written by tools/reference.py; do not edit: run `make platforms` and `make docs`. -->"

Results = dict[str, Any]
"""By suite: ``versions`` by component, and ``modules`` by name with what became of their tests."""


def upstream(version: str) -> str:
    """Return what the authors call a version: without Debian's epoch and revision."""
    version = version.rpartition(":")[2]
    return version.rpartition("-")[0] or version


def outcomes(xml: str) -> dict[str, Results]:
    """Return for each module how many tests passed and failed, and why others were skipped.

    Args:
        xml: What pytest writes with ``--junitxml``.
    """
    found: dict[str, Results] = {}
    for case in ElementTree.fromstring(xml).iter("testcase"):  # noqa: S314 - pytest has written it
        module = case.get("classname", "").removeprefix("tests.system.").replace(".", "/") + ".py"
        entry = found.setdefault(module, {"passed": 0, "failed": [], "skipped": []})
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            entry["failed"].append(case.get("name"))
        elif skipped is not None:
            entry["skipped"].append(skipped.get("message"))
        else:
            entry["passed"] += 1
    return found


def cell(entry: Results | None) -> str:
    """Say in a few words what became of a module's tests; never nothing."""
    if entry is None:
        return "not run"
    parts = [f"{entry['passed']} passed"] if entry["passed"] else []
    if entry["failed"]:
        parts.append(f"**failed: {', '.join(sorted(entry['failed']))}**")
    parts += [f"not there: {reason}" for reason in sorted(set(entry["skipped"]))]
    return "; ".join(parts) or "not run"


def together(entries: Iterable[Results]) -> Results:
    """Return what became of the tests of several modules."""
    found = list(entries)
    return {
        "passed": sum(one["passed"] for one in found),
        "failed": [name for one in found for name in one["failed"]],
        "skipped": [reason for one in found for reason in one["skipped"]],
    }


def _row(words: Iterable[str]) -> str:
    return f"| {' | '.join(words)} |"


def _what(module: str) -> str:
    """Return the first sentence of a module, which says what it shows."""
    text = ast.get_docstring(ast.parse((SYSTEM / module).read_text("utf-8"))) or ""
    return text.partition("\n\n")[0].replace("\n", " ")


def _lines(results: Mapping[str, Results]) -> Iterator[str]:
    suites = [name for name in roots.SUITES if name in results]
    yield from ("# Platforms", NOTE)
    yield "Generations on which the system tests have run, each in a virtual machine with the root"
    yield "and the kernel of that Debian, and what they have shown there."
    yield "`make platforms` runs them again."
    yield "`make check` runs all system tests on Debian bookworm: OVN 23.03, Open vSwitch 3.1,"
    yield "strongSwan 5.9.8 and Linux 6.1."
    yield from ("", "## What they are made of", "")
    yield _row(["", *suites])
    yield _row("---" for _ in ["", *suites])
    for name in COMPONENTS:
        yield _row([name, *(results[suite]["versions"].get(name, "none") for suite in suites)])
    yield from ("", "## What was seen on them", "")
    yield _row(["", *suites])
    yield _row("---" for _ in ["", *suites])
    for module in MODULES:
        found = (results[suite]["modules"].get(module) for suite in suites)
        yield _row([f"{_what(module)} (`{module}`)", *map(cell, found)])
    hosts = (
        cell(results[suite]["modules"].get(HOSTS)) if suite in recipe.SUITES else NO_HOSTS
        for suite in suites
    )
    what = "Two whole hosts, installed from our packages, and an operator's days on them."
    yield _row([f"{what} (`{HOSTS}`)", *hosts])
    first, second = recipe.MIXED
    mixed = (
        cell(results[suite]["modules"].get(MIXED)) if suite == first else f"see {first}"
        for suite in suites
    )
    yield _row([f"The same, with h1 on {first} and h2 on {second}. (`{MIXED}`)", *mixed])


def page(results: Mapping[str, Results]) -> str:
    """Return docs/reference/platforms.md."""
    return "\n".join(_lines(results)) + "\n"


def read() -> dict[str, Results]:
    """Return what was found so far."""
    return json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}


def run(suite: roots.Suite, wanted: Collection[str], logs: Path) -> Results:
    """Run what is wanted on one generation, and return what became of it.

    Args:
        suite: A release of Debian.
        wanted: Of WHAT.
        logs: Where logs go.

    Raises:
        LabError: There is no root, or no result came out.
    """
    root = roots.ready(suite, machine.ROOTS, lambda text: print(text, flush=True))
    packages = roots.versions(root)
    # python3 names the series; the interpreter is a package of its own.
    packages["python3"] = packages[roots.interpreter(root)]
    found: dict[str, Results] = {}
    if modules := [name for name in MODULES if name in wanted]:
        found |= _in_guest(root, modules, logs)
    if HOSTS in wanted and suite.name in recipe.SUITES:
        found[HOSTS] = _on_hosts(suite.name, logs)
    if MIXED in wanted and suite.name == recipe.MIXED[0]:
        found[MIXED] = _on_hosts(",".join(recipe.MIXED), logs)
    return {
        "versions": {name: upstream(packages[package]) for name, package in COMPONENTS.items()},
        "modules": found,
    }


def _in_guest(root: Path, modules: Iterable[str], logs: Path) -> dict[str, Results]:
    file = "results.xml"
    argv = [
        *("env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", "python", "-m", "pytest"),
        *("-p", "no:cacheprovider", f"--junitxml={machine.ARTEFACTS}/{file}"),
        *(f"tests/system/{module}" for module in modules),
    ]
    options = machine.GuestOptions(mem_gib=8, timeout=LIMIT_S, artefacts=logs, root=root)
    (logs / file).unlink(missing_ok=True)
    status = machine.run_in_guest(argv, options)
    return _results(logs / file, status)


def _on_hosts(suites: str, logs: Path) -> Results:
    file = logs / "hosts.xml"
    file.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", HOSTS]
    options = [f"--suite={suites}", f"--junitxml={file}"]
    status = subprocess.run([*argv, *options], cwd=ROOT, check=False).returncode
    return together(_results(file, status).values())


def _results(file: Path, status: int) -> dict[str, Results]:
    """Read what a run of pytest found; one that was ended half-way has found nothing."""
    if status not in WHOLE or not file.exists():
        raise LabError(f"no whole result, status {status}: see {file.parent}")
    return outcomes(file.read_text("utf-8"))


def main() -> int:
    """Run and keep what was found; 1 when a test failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(roots.SUITES))
    parser.add_argument("--only", action="extend", nargs="+", choices=WHAT, metavar="MODULE")
    given = parser.parse_args()
    failed = False
    for name in given.suites or roots.SUITES:
        if name not in roots.SUITES:
            parser.error(f"no such suite: {name}")
        wanted = given.only or WHAT
        try:
            found = run(roots.SUITES[name], wanted, ROOT / "build" / "platforms" / name)
        except (LabError, machine.GuestError) as error:
            print(f"platforms: {error}", file=sys.stderr)
            return 2
        results = read()
        known = results.get(name, {}).get("modules", {})
        results[name] = {**found, "modules": {**known, **found["modules"]}}
        RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n", "utf-8")
        failed |= any(entry["failed"] for entry in found["modules"].values())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
