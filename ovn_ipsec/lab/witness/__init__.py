# SPDX-License-Identifier: Apache-2.0
"""What was really on the wire (``wire``), and what the workloads lost (``traffic``)."""
