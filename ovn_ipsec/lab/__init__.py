# SPDX-License-Identifier: Apache-2.0
"""The laboratory: a real OVN cluster on one machine, for the sandbox and for the system tests.

Edge. ``guest`` boots a kernel that can, ``cluster`` builds the cluster, ``witness`` watches the
underlay without trusting any of it and counts what the workloads lose, ``sandbox`` shows it all.
"""
