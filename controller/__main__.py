# SPDX-License-Identifier: Apache-2.0
"""Shell: the command ovn-ipsec-controller."""

from __future__ import annotations

from pathlib import Path

import click

from ovn_ipsec import log
from ovn_ipsec.errors import EdgeError, IPsecError
from ovn_ipsec.flags import OVN_RUNDIR, OVN_SYSCONFDIR, OVS_RUNDIR, Common, common_options
from ovn_ipsec.ikes import VICI
from ovn_ipsec.service import Service, fail

from . import commands, daemon, outside
from . import flush as flush_module
from .meter import Meter

PROGRAM = "ovn-ipsec-controller"


@click.command(name=PROGRAM)
@click.argument("ovs_db", metavar="[OVS-DB]", default=f"unix:{OVS_RUNDIR}/db.sock")
@click.option(
    "-n", "--name", metavar="CHASSIS", help="Chassis name (default: the one ovn-controller uses)."
)
@click.option("--vici", metavar="URI", help="Socket of charon (default: unix:///run/charon.vici).")
@click.option(
    "--state-dir",
    metavar="DIR",
    default="/var/lib/ovn-ipsec",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for what must survive a restart, such as reqids and the boot guard.",
)
@click.option(
    "--flush",
    is_flag=True,
    help="Remove everything ovn-ipsec installed here: guard, connections, SAs, keys; then exit.",
)
@click.option(
    "--guard",
    is_flag=True,
    help="Restore the guard that was in force before the last boot, if any; then exit.",
)
@click.option("--metrics-peers", is_flag=True, help="Also serve one metric for each pair.")
@common_options
def main(
    common: Common,
    ovs_db: str,
    name: str | None,
    vici: str | None,
    state_dir: Path,
    flush: bool,
    guard: bool,
    metrics_peers: bool,
) -> None:
    """Encrypt the tunnels of this chassis by the policy in the southbound database.

    OVS-DB is the local Open_vSwitch database; the chassis name, the southbound and all settings are
    read from there, as ovn-controller does. Runs in the foreground; stopping it changes nothing
    that is in force.
    """
    files = (common.private_key, common.certificate, common.ca_cert)
    tls = (files[0], files[1], files[2]) if files[0] and files[1] and files[2] else None
    places = outside.Places(
        ovs_remote=ovs_db,
        name=name,
        state_dir=state_dir,
        sysconfdir=Path(OVN_SYSCONFDIR),
        rundir=Path(OVN_RUNDIR),
    )
    log.configure(PROGRAM, path=None, form=common.log_format, level=common.log_level)
    service = Service(PROGRAM, common, rundir=OVS_RUNDIR)
    controller = daemon.Controller(daemon.Settings(vici=vici, tls=tls), outside.real(places))
    try:
        if flush:
            service.open()
            backends = outside.backends(controller.outside, vici or VICI)
            flush_module.flush(controller.outside.state, controller.guard, backends)
            return
        if guard:
            controller.open_guard()
            _end_with_guard(controller)
            return
        # This comes before anything else that can fail: then the previous guard stays in force.
        controller.open()
        service.open()
        commands.register(service, controller)
        meter = Meter(controller, service.exporter, peers=metrics_peers)
        daemon.loop(controller, service, meter.publish)
    except IPsecError as error:
        fail(PROGRAM, error)
    finally:
        controller.close()
        service.close()


def _end_with_guard(controller: daemon.Controller) -> None:
    """Raise EdgeError unless the wanted guard is in force."""
    if controller.faults:
        raise EdgeError("; ".join(f"{part}: {cause}" for part, cause in controller.faults.items()))
    standing = controller.guard.standing
    if standing is not None and not controller.guard.keeper.holds():
        raise EdgeError(f"no layer of the guard holds: {controller.guard.keeper.problems()}")
    click.echo("in force" if standing is not None else "no guard to restore")


if __name__ == "__main__":
    main()
