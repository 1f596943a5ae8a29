# SPDX-License-Identifier: Apache-2.0
"""Encrypt one pair by hand, with swanctl and no program of ours: to test the laboratory itself."""

from __future__ import annotations

from ovn_ipsec.lab.cluster.chassis import Chassis
from ovn_ipsec.lab.cluster.settings import CREDENTIALS

_CONF = """
connections {{
  by-hand {{
    version = 2
    local_addrs = {local}
    remote_addrs = {remote}
    local {{ auth = pubkey
      certs = {credentials}/cert.pem
      id = {name} }}
    remote {{ auth = pubkey
      id = {peer} }}
    children {{
      out {{ mode = transport
        local_ts = dynamic[udp]
        remote_ts = dynamic[udp/6081]
        start_action = {action} }}
      in {{ mode = transport
        local_ts = dynamic[udp/6081]
        remote_ts = dynamic[udp]
        start_action = {action} }}
    }}
  }}
}}
authorities {{ lab {{ cacert = {credentials}/ca.pem }} }}
"""


def encrypt(one: Chassis, other: Chassis) -> None:
    """Load a connection on both ends; the second one to know it brings it up."""
    for local, remote, action in ((one, other, "none"), (other, one, "start")):
        text = _CONF.format(
            local=local.encap_ips[0],
            remote=remote.encap_ips[0],
            name=local.name,
            peer=remote.name,
            credentials=CREDENTIALS,
            action=action,
        )
        local.write("/etc/swanctl/conf.d/by-hand.conf", text)
        local.write("/etc/swanctl/private/by-hand.pem", local.read(f"{CREDENTIALS}/key.pem"), 0o600)
        local.run(["swanctl", "--load-all", "--noprompt"])


def clear(one: Chassis, other: Chassis) -> None:
    """Undo it on both ends."""
    for host in (one, other):
        host.path("/etc/swanctl/conf.d/by-hand.conf").unlink()
        host.run(["swanctl", "--load-conns"])
    for host in (one, other):
        host.run(["swanctl", "--terminate", "--ike", "by-hand", "--force"], check=False)
