# SPDX-License-Identifier: Apache-2.0
"""The rules on the page about firewalls are rules that nft takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "firewall.md"

pytestmark = pytest.mark.skipif(
    shutil.which("nft") is None or os.geteuid() != 0, reason="no nft here, or not root"
)


@pytest.mark.parametrize("only_encrypted", [False, True])
def test_nft_takes_the_rules(only_encrypted: bool) -> None:
    """As they stand, and with the words that the page says may be put in."""
    (rules,) = re.findall(r"^```nft\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    if only_encrypted:
        changed = rules.replace("4789 } accept", "4789 } meta ipsec exists accept")
        assert changed != rules
        rules = changed
    command = ["unshare", "--net", "nft", "--check", "--file", "-"]
    done = subprocess.run(
        command, input=rules, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
