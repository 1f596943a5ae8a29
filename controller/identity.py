# SPDX-License-Identifier: Apache-2.0
"""Who this chassis is, and where its southbound is, according to the local database."""

from __future__ import annotations

from dataclasses import dataclass

from ovn_ipsec.ikes import VICI
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.ike import Ike
from ovn_ipsec.schema.open_vswitch import LocalChassis

from .outside import IkeAddress, SouthboundAddress, TlsFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a Chassis is created for; another identity means another Chassis."""

    name: ChassisName
    southbound: SouthboundAddress
    ike: IkeAddress


def vici_of(here: LocalChassis, vici: str | None) -> str:
    """Tell where strongSwan's socket is.

    Args:
        here: What the local database says.
        vici: Its URI from the command line; None: not given.
    """
    return vici or here.vici or VICI


def identify(
    here: LocalChassis, tls: TlsFiles | None, vici: str | None, ike: Ike = Ike.STRONGSWAN
) -> Identity | None:
    """Determine who this chassis is.

    Args:
        here: What the local database says.
        tls: Files for ssl: remotes.
        vici: The URI of strongSwan's socket from the command line; None: not given.
        ike: The IKE daemon to use.

    Returns:
        None while the local database does not say who we are, or where the southbound is.
    """
    if here.name is None or not here.remote:
        return None
    address = SouthboundAddress(
        remotes=here.remote,
        probe_interval_s=0.0 if here.remote.startswith("unix:") else here.probe_interval_ms / 1000,
        digests=(here.name, *sorted(here.psk_plain - {here.name})),
        tls=tls,
    )
    socket = vici_of(here, vici) if ike is Ike.STRONGSWAN else ""
    return Identity(name=here.name, southbound=address, ike=IkeAddress(ike=ike, vici=socket))
