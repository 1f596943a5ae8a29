# SPDX-License-Identifier: Apache-2.0
"""Shell: the program ovn-ipsec-northd."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ovn_ipsec.errors import IPsecError
from ovn_ipsec.flags import OVN_RUNDIR, Common, common_options
from ovn_ipsec.ovsdb.schemas import NORTHBOUND, SOUTHBOUND_CENTRAL, SOUTHBOUND_NETWORKS
from ovn_ipsec.ovsdb.session import Session
from ovn_ipsec.ovsdb.streams import tls_files
from ovn_ipsec.service import Service, fail

from .daemon import LOCK, Northd

if TYPE_CHECKING:
    from .enrolment import Enrolment

PROGRAM = "ovn-ipsec-northd"


def _default(variable: str, socket: str) -> str:
    return os.environ.get(variable) or f"unix:{OVN_RUNDIR}/{socket}"


@click.command(name=PROGRAM)
@click.option("--ovnnb-db", metavar="REMOTES", help="Northbound database (default: $OVN_NB_DB).")
@click.option("--ovnsb-db", metavar="REMOTES", help="Southbound database (default: $OVN_SB_DB).")
@click.option(
    "--ca-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Sign the requests of chassis with the authority that ovn-ipsec pki init created in DIR.",
)
@click.option(
    "--insecure-enrolment",
    is_flag=True,
    help="Sign even if any chassis can write any southbound row (no TLS with RBAC).",
)
@common_options
def main(
    common: Common,
    ovnnb_db: str | None,
    ovnsb_db: str | None,
    ca_dir: Path | None,
    insecure_enrolment: bool,
) -> None:
    """Turn the IPsec policy in the northbound database into the policy of every encap."""
    try:
        tls = tls_files(common.private_key, common.certificate, common.ca_cert)
        nb = ovnnb_db or _default("OVN_NB_DB", "ovnnb_db.sock")
        sb = ovnsb_db or _default("OVN_SB_DB", "ovnsb_db.sock")
        enrolment = None
        if ca_dir is not None:
            enrolment = _enrolment(ca_dir, insecure=insecure_enrolment)
        elif insecure_enrolment:
            raise click.UsageError("--insecure-enrolment needs --ca-dir")
        Northd(
            Service(PROGRAM, common, rundir=OVN_RUNDIR),
            Session(nb, NORTHBOUND, leader_only=True, tls=tls),
            Session(sb, SOUTHBOUND_CENTRAL, leader_only=True, lock=LOCK, tls=tls),
            Session(sb, SOUTHBOUND_NETWORKS, leader_only=True, tls=tls),
            enrolment,
        ).serve()
    except IPsecError as error:
        fail(PROGRAM, error)


def _enrolment(folder: Path, *, insecure: bool) -> Enrolment:
    from ovn_ipsec.pki.folder import CaFolder  # noqa: PLC0415 - a fifth of a start, for one that signs

    from .enrolment import Enrolment  # noqa: PLC0415

    return Enrolment(CaFolder(folder), insecure=insecure)


if __name__ == "__main__":
    main()
