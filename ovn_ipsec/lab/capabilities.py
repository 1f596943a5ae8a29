# SPDX-License-Identifier: Apache-2.0
"""What the running kernel lacks for the laboratory, found by trying.

Edge (the kernel). Every probe works in a network namespace that ends with it.
"""

from __future__ import annotations

import functools
import os
import subprocess

KERNEL_MODULES = (
    *("openvswitch", "vport_geneve", "geneve", "vxlan", "veth", "bridge", "tun"),
    *("esp4", "esp6", "xfrm_user", "authenc", "gcm", "ccm", "chacha20poly1305"),
    *("echainiv", "seqiv", "nf_tables", "nft_ct", "nf_conntrack", "overlay"),
)
"""What Debian builds as modules; built-in ones are refused without harm."""

_PROBES = """
try() { name=$1; shift; "$@" >/dev/null 2>&1 || echo "$name"; }
gcm='0x0123456789012345678901234567890123456789'
try openvswitch ovs-dpctl add-dp probe-dp
try geneve ip link add p0 type geneve id 1 remote 127.0.0.2 dstport 6081
try bridge ip link add p1 type bridge
try veth ip link add p2 type veth peer name p3
try esp4 ip xfrm state add src 127.0.0.1 dst 127.0.0.2 proto esp spi 1 \
  aead 'rfc4106(gcm(aes))' $gcm 128
try esp6 ip xfrm state add src ::1 dst ::2 proto esp spi 2 \
  aead 'rfc4106(gcm(aes))' $gcm 128
try nf_tables nft add table inet probe
try conntrack-zones nft 'add chain inet probe c { type filter hook prerouting priority -300; };
  add rule inet probe c ct zone set 1'
ovs-dpctl del-dp probe-dp >/dev/null 2>&1 || :
"""


def load_modules() -> None:
    """Load what the kernel has as modules; what it lacks shows in the probes."""
    subprocess.run(
        ["modprobe", "-a", "-q", *KERNEL_MODULES],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@functools.cache
def missing_capabilities() -> tuple[str, ...]:
    """Name what this machine's kernel, or this process's rights, lack for the laboratory.

    Returns:
        Names such as ``openvswitch`` or ``esp4``, in the order of the probes; empty when the
        laboratory can run right here. ``root`` alone when nothing could be tried.
    """
    if os.geteuid() != 0:
        return ("root",)
    load_modules()
    probe = subprocess.run(
        ["unshare", "--net", "--", "sh", "-c", _PROBES],
        check=False,
        capture_output=True,
        text=True,
    )
    if probe.returncode != 0 and not probe.stdout:
        return ("network-namespaces",)
    return tuple(probe.stdout.split())
