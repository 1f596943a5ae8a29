# SPDX-License-Identifier: Apache-2.0
"""Pure: how the policy in SB follows the one that NB asks for.

``census`` counts the chassis that follow, ``gate`` says for which ones to wait, ``progress`` since
when, and ``phases`` takes the next step.
"""
