# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec evidence`, what this chassis can prove of its encryption.

``sources`` asks the controller or reads its journal; ``ovn_ipsec/evidence/`` makes the document and
the page of it.
"""

from .commands import command

__all__ = ["command"]
