# SPDX-License-Identifier: Apache-2.0
"""How the releases of Libreswan differ in what they show, say and are told.

Pure. Input: the text of ``whack --status``. Output: the Dialect of the pluto that has shown it. A
release that was not tried has none: 5.4, for one, no longer shows the names of states.

Source: Libreswan 4.10 and 5.2 lib/libswan/constants.c, programs/pluto/state.c,
whack_showstates.c, ikev2_states.c, log.c; programs/whack/whack.c.
"""

import re
from dataclasses import dataclass

from ovn_ipsec.errors import IkeError
from ovn_ipsec.model.ike import LIBRESWANS, is_supported

_VERSION = re.compile(r"\bpluto_version=(\S+?),")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What is particular to some releases."""

    shown: str
    """What each line that shows something begins with."""
    said: str
    """A pattern of what a line that says something begins with."""
    state: str
    """What the name of an IKEv2 state begins with."""
    initiator: tuple[str, ...]
    """How the names of states go on after that while an IKE_SA is made by this end."""
    responder: tuple[str, ...]
    """The same while it is made by the other end."""
    aes_gcm: str
    """The name of AES_GCM_16 among the algorithms of IKE."""
    ends_later: bool
    """Whether an SA that is ended stays, and looks as before, until the peer has answered."""
    rekey_child: str
    """The option that rekeys the CHILD_SA of a connection."""


FOUR = Dialect(
    shown="000 ",
    said=r"\d{3} ",
    state="STATE_V2_",
    initiator=("PARENT_I",),
    responder=("PARENT_R",),
    aes_gcm="AES_GCM_C",
    ends_later=False,
    rekey_child="--rekey-ipsec",
)
"""4.x, as seen with 4.10."""
FIVE = Dialect(
    shown="",
    said=r"(?:ERROR: |EXPECTATION FAILED: )?",
    state="",
    initiator=("IKE_SA_INIT_I", "IKE_INTERMEDIATE_I", "IKE_AUTH_I"),
    responder=("UNSECURED_R", "IKE_SA_INIT_R", "IKE_INTERMEDIATE_R", "IKE_AUTH_EAP_R"),
    aes_gcm="AES_GCM_16",
    ends_later=True,
    rekey_child="--rekey-child",
)
"""5.2."""


def begun_here(dialect: Dialect, kind: str) -> bool | None:
    """Tell from the state of an IKE_SA whether this end makes it; None: it does not show that.

    Args:
        dialect: Of the pluto.
        kind: The name of the state, without what all of them begin with.
    """
    if kind.startswith(dialect.initiator):
        return True
    return False if kind.startswith(dialect.responder) else None


def parse_version(text: str) -> tuple[str, Dialect]:
    """Tell which release has shown a status, and how it speaks.

    Raises:
        IkeError: It does not say its version, or what it shows is not known here.
    """
    version = _VERSION.search(text)
    if version is None:
        raise IkeError("pluto does not say its version")
    if not is_supported(version[1]):
        raise IkeError(f"Libreswan {version[1][:40]} is not supported: {LIBRESWANS} are")
    return version[1], FOUR if version[1].startswith("4.") else FIVE
