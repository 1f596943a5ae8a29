# SPDX-License-Identifier: Apache-2.0
# Completion of ovn-ipsec for fish: the program knows its commands and flags (click).
_OVN_IPSEC_COMPLETE=fish_source ovn-ipsec | source
