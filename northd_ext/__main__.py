# SPDX-License-Identifier: Apache-2.0
"""Shell: the program ovn-ipsec-northd."""

from __future__ import annotations

import os

import click

from ovn_ipsec.errors import IPsecError
from ovn_ipsec.ovsdb.schemas import NORTHBOUND, SOUTHBOUND, SOUTHBOUND_NETWORKS
from ovn_ipsec.ovsdb.session import Session, use_tls
from ovn_ipsec.service import OVN_RUNDIR, Common, Service, common_options, fail

from .daemon import LOCK, Northd

PROGRAM = "ovn-ipsec-northd"


def _default(variable: str, socket: str) -> str:
    return os.environ.get(variable) or f"unix:{OVN_RUNDIR}/{socket}"


@click.command(name=PROGRAM)
@click.option("--ovnnb-db", metavar="REMOTES", help="Northbound database (default: $OVN_NB_DB).")
@click.option("--ovnsb-db", metavar="REMOTES", help="Southbound database (default: $OVN_SB_DB).")
@common_options
def main(common: Common, ovnnb_db: str | None, ovnsb_db: str | None) -> None:
    """Turn the IPsec policy in the northbound database into the policy of every encap."""
    try:
        if common.private_key and common.certificate and common.ca_cert:
            use_tls(common.private_key, common.certificate, common.ca_cert)
        elif common.private_key or common.certificate or common.ca_cert:
            raise click.UsageError("--private-key, --certificate and --ca-cert go together")
        nb = ovnnb_db or _default("OVN_NB_DB", "ovnnb_db.sock")
        sb = ovnsb_db or _default("OVN_SB_DB", "ovnsb_db.sock")
        Northd(
            Service(PROGRAM, common, rundir=OVN_RUNDIR),
            Session(nb, NORTHBOUND, leader_only=True),
            Session(sb, SOUTHBOUND, leader_only=True, lock=LOCK),
            Session(sb, SOUTHBOUND_NETWORKS, leader_only=True),
        ).run()
    except IPsecError as error:
        fail(PROGRAM, error)


if __name__ == "__main__":
    main()
