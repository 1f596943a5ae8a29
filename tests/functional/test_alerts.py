# SPDX-License-Identifier: Apache-2.0
"""The alert rules, judged by Prometheus' own tool on worlds that are well and that are not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RULES = HERE.parents[1] / "packaging" / "prometheus" / "alerts.yml"

PROMTOOL = shutil.which("promtool", path=f"{sys.prefix}/bin:{os.environ['PATH']}")

pytestmark = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool (Debian package prometheus): make setup unpacks it"
)


@pytest.mark.parametrize("argv", [("check", RULES), ("test", HERE / "alerts.yml")], ids=str)
def test_rules(argv: tuple[str, Path]) -> None:
    """They parse, and each fires where it must and is quiet where it must be."""
    verb, path = argv
    done = subprocess.run(
        [str(PROMTOOL), verb, "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
