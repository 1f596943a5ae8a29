# SPDX-License-Identifier: Apache-2.0
"""The settings of a laboratory cluster, and the addresses that follow from them.

Pure. Host ``i`` (from 1) is ``h<i>`` with 10.9.0.i/24 and fd09::i/64; central is .254 and
fd09::fe; workload ``i`` is ``w<i>`` with 192.168.0.i/24 and fd0a::i/64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

CENTRAL = "central"
CENTRAL_IPV4 = "10.9.0.254"
CENTRAL_IPV6 = "fd09::fe"
SB_PORT = 6642
NB_PORT = 6641
SB_NORTHD_PORT = 16642
"""SB without a role, for the northds of a cluster whose SB_PORT has one."""
CREDENTIALS = "/etc/ovn-ipsec/tls"
"""Folder on each host with ``cert.pem``, ``key.pem`` (0600) and ``ca.pem``."""


class Underlay(StrEnum):
    """The network over which the chassis reach each other."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChassisSettings:
    """Settings of one chassis; the defaults are those of a plain one."""

    underlay: Underlay = Underlay.IPV4
    """Family of its encap IPs."""
    encaps: int = 1
    """How many encap IPs it has (1 or 2); the second is 10.9.1.i or fd09:0:0:1::i."""
    encap_type: str = "geneve"
    """As in ``ovn-encap-type``; several with commas."""
    ovn_controller: bool = True
    """Whether ovn-controller runs there."""
    ike: bool = True
    """Whether an IKE daemon runs there."""
    strongswan: str = ""
    """Another strongSwan than this machine's, by its folder in ``.venv`` (``unpacked``)."""
    libreswan: str = ""
    """Likewise, a Libreswan, whose pluto runs instead of charon."""
    workloads: int = 1
    """0 or 1 workloads at the start; ``Cluster.add_workload`` adds more."""
    external_ids: Mapping[str, str] = field(default_factory=dict)
    """More of ``Open_vSwitch.external_ids``, such as ``ovn-encap-csum`` (stronger than ours)."""
    other_config: Mapping[str, str] = field(default_factory=dict)
    """More of ``Open_vSwitch.other_config``, such as ``ovn-ipsec-tunnels``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Settings of the whole cluster."""

    chassis: int = 3
    """How many, 1 to 200."""
    default: ChassisSettings = field(default_factory=ChassisSettings)
    """For every chassis that has no settings of its own."""
    special: Mapping[str, ChassisSettings] = field(default_factory=dict)
    """Settings by chassis name, such as ``h2``."""
    rsa: bool = False
    """Whether keys are RSA, as those of ovs-pki and all that a stock ovs-monitor-ipsec takes with
    strongSwan; otherwise they are ECDSA."""
    tls: bool = False
    """NB and SB over TLS, with the same authority as the tunnels."""
    rbac: bool = False
    """SB with role ovn-controller, as ``ovn-sbctl set-connection role=``; needs ``tls``."""
    northd_socket: bool = False
    """The northds reach the databases by their sockets also under ``tls``: then SB has no remote
    without a role."""
    enrol: bool = False
    """No chassis is told of a certificate for its tunnels: each asks for one (needs a northd with
    ``--ca-dir``)."""
    clear_ports: tuple[int, ...] = (6081, 4789)
    """UDP ports that mean clear text to the witness: Geneve (RFC 8926) and VXLAN (RFC 7348)."""
    strongswan_conf: str | None = None
    """The drop-in for ``/etc/strongswan.d``; None takes the laboratory's."""

    def of(self, name: str) -> ChassisSettings:
        """Return one chassis' settings."""
        return self.special.get(name, self.default)

    @property
    def names(self) -> tuple[str, ...]:
        """The chassis' names, in order."""
        return tuple(f"h{index}" for index in range(1, self.chassis + 1))


def encap_ips(index: int, settings: ChassisSettings) -> tuple[str, ...]:
    """Return the encap IPs of host ``index`` (from 1)."""
    if settings.underlay is Underlay.IPV6:
        # The prefix lengths are 64: the second network differs in its fourth group.
        both = (f"fd09::{index:x}", f"fd09:0:0:1::{index:x}")
    else:
        both = (f"10.9.0.{index}", f"10.9.1.{index}")
    return both[: settings.encaps]


_UNUSED_PLUGINS = (
    *("resolve", "updown", "connmark", "forecast", "farp", "dhcp", "attr", "bypass-lan"),
    *("ldap", "pkcs11", "af-alg", "gcrypt", "gmp", "curl", "unity", "lookip", "led", "addrblock"),
    *("eap-identity", "eap-aka", "eap-md5", "eap-gtc", "eap-radius", "eap-tls", "eap-ttls"),
    *("eap-tnc", "eap-mschapv2", "xauth-eap", "xauth-pam", "xauth-generic", "tnc-tnccs"),
    *("test-vectors", "rc2", "md5", "mgf1", "pgp", "dnskey", "sshkey", "pkcs7", "pkcs12"),
    *("error-notify", "certexpire", "agent", "ha", "tpm", "fips-prf", "curve25519", "xcbc", "cmac"),
)
"""Each one costs the guest a fifth of a second at the start of charon."""

_SWITCHED_OFF = "\n".join(f"    {name} {{ load = no }}" for name in _UNUSED_PLUGINS)

STRONGSWAN_CONF = f"""
charon {{
  threads = 16
  ikesa_table_size = 64
  ikesa_table_segments = 4
  install_routes = no
  make_before_break = yes
  delete_rekeyed_delay = 5
  cookie_threshold = 2000
  half_open_timeout = 30
  retransmit_timeout = 2.0
  retransmit_base = 1.5
  retransmit_tries = 4
  plugins {{
    stroke {{ load = no }}
    kernel-netlink {{
      xfrm_acq_expires = 20
    }}
{_SWITCHED_OFF}
  }}
}}
"""
"""Settings of the IKE daemon: rekey without a gap, leave routes alone, notice a dead peer soon."""

STRONGSWAN_LOG = """
charon-systemd {{
  filelog {{
    lab {{
      path = {path}
      time_format = %H:%M:%S
      default = 1
      flush_line = yes
    }}
  }}
}}
"""

STARTER_CONF = (
    STRONGSWAN_LOG.replace("charon-systemd", "charon")
    + f"""
charon {{{{
  plugins {{{{
    kernel-netlink {{{{
      xfrm_acq_expires = 10
    }}}}
{_SWITCHED_OFF.replace("{", "{{").replace("}", "}}")}
  }}}}
}}}}
"""
)
"""For a charon that starter has started: its log, and what ovs-monitor-ipsec means to set by a name
that charon does not know (xfrm_ack_expires): a pair whose first attempt failed waits 165 s."""
