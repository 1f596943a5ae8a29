# SPDX-License-Identifier: Apache-2.0
"""Two whole Debian hosts on one wire, each under its own kernel and systemd, in QEMU.

Where ``lab.guest`` carries a cluster in namespaces of one kernel, these hosts are installed from
our packages and are rebooted, upgraded and cleared as an operator's are; QEMU records the wire.
"""
