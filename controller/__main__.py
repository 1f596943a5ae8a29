# SPDX-License-Identifier: Apache-2.0
"""Shell: the command ovn-ipsec-controller."""

from __future__ import annotations

from pathlib import Path

import click

from ovn_ipsec.errors import IPsecError
from ovn_ipsec.service import (
    OVN_RUNDIR,
    OVN_SYSCONFDIR,
    OVS_RUNDIR,
    Common,
    Service,
    common_options,
    fail,
)

from . import commands, daemon
from . import flush as flush_module
from .ike.strongswan import DEFAULT_URI, StrongSwan
from .meter import Meter

PROGRAM = "ovn-ipsec-controller"


@click.command(name=PROGRAM)
@click.argument("ovs_db", metavar="[OVS-DB]", default=f"unix:{OVS_RUNDIR}/db.sock")
@click.option("-n", "--name", metavar="CHASSIS", help="Chassis name (default: as ovn-controller).")
@click.option("--vici", metavar="URI", help="Socket of charon (default: unix:///run/charon.vici).")
@click.option(
    "--state-dir",
    metavar="DIR",
    default="/var/lib/ovn-ipsec",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where reqids and the boot guard are kept.",
)
@click.option(
    "--flush",
    is_flag=True,
    help="Take the guard, every connection and every SA of ours away, and end.",
)
@click.option("--metrics-peers", is_flag=True, help="Among the metrics, one for each pair.")
@common_options
def main(
    common: Common,
    ovs_db: str,
    name: str | None,
    vici: str | None,
    state_dir: Path,
    flush: bool,
    metrics_peers: bool,
) -> None:
    """Encrypt the tunnels of this chassis as the southbound database says.

    OVS-DB is the local Open_vSwitch database. The southbound and everything else is found there,
    as ovn-controller finds it. Runs in the foreground; ending it changes nothing that is in force.
    """
    tls = (common.private_key, common.certificate, common.ca_cert)
    files = (tls[0], tls[1], tls[2]) if tls[0] and tls[1] and tls[2] else None
    settings = daemon.Settings(
        ovs_remote=ovs_db,
        name=name,
        vici=vici,
        state_dir=state_dir,
        sysconfdir=Path(OVN_SYSCONFDIR),
        rundir=Path(OVN_RUNDIR),
        tls=files,
    )
    service = Service(PROGRAM, common, rundir=OVS_RUNDIR)
    controller = daemon.Controller(settings)
    try:
        service.open()
        if flush:
            backend = StrongSwan(vici or DEFAULT_URI)
            flush_module.flush(controller.state, controller.guard, backend)
        else:
            controller.open()
            commands.register(service, controller)
            meter = Meter(controller, service.exporter, peers=metrics_peers)
            daemon.run(controller, service, meter.run)
    except IPsecError as error:
        fail(PROGRAM, error)
    finally:
        controller.close()
        service.close()


if __name__ == "__main__":
    main()
