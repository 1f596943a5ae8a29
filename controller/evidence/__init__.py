# SPDX-License-Identifier: Apache-2.0
"""What this chassis can prove of its encryption: noted as it happens, in a journal on disk.

What is made of it is in ovn_ipsec/evidence/, which the command line shares.
"""
