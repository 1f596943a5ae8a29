# SPDX-License-Identifier: Apache-2.0
"""Pure: Libreswan to what is well with it."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ...model.ike import LIBRESWANS, is_supported
from ...schema.report import printable
from ..machine.values import Pluto
from .checkup import START_PLUTO, Check

OURS = "/etc/ipsec.d/ovn-ipsec.secrets"
"""Where the controller writes shared keys."""
INCLUDE = (
    "add the line `include /etc/ipsec.d/*.secrets` to /etc/ipsec.secrets, then ipsec whack"
    " --rereadsecrets"
)

OTHER_RELEASE = "install one of those, or use strongSwan (docs/howto/libreswan.md)"


def examine_pluto(pluto: Pluto) -> tuple[Check, ...]:
    """Look at Libreswan."""
    release = f"Libreswan {printable(pluto.version, 40)}"
    answers = Check(part="pluto", is_well=True, said=f"answers, {release}")
    if pluto.fault:
        said = printable(pluto.fault, 200)
        answers = Check(part="pluto", is_well=False, said=said, next_step=START_PLUTO)
    elif not is_supported(pluto.version):
        said = f"{release} is not supported: {LIBRESWANS} are"
        answers = Check(part="pluto", is_well=False, said=said, next_step=OTHER_RELEASE)
    reads = any(fnmatchcase(OURS, pattern.strip('"')) for pattern in pluto.included)
    secrets = Check(part="secrets", is_well=True, said=f"{OURS} is included")
    if not reads:
        said = f"/etc/ipsec.secrets does not include {OURS}: pluto knows no shared key"
        secrets = Check(part="secrets", is_well=False, said=said, next_step=INCLUDE)
    return answers, secrets
