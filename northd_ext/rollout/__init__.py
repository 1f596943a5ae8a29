# SPDX-License-Identifier: Apache-2.0
"""Pure: how the policy that SB carries follows the one that NB asks for.

``census`` counts who follows, ``gate`` says for whom that is waited, ``progress`` since when, and
``phases`` takes the next step.
"""
