# SPDX-License-Identifier: Apache-2.0
"""Events of one pair and one layer, as short as tests need them."""

from __future__ import annotations

from ovn_ipsec.evidence.events import Counted, Proof, Start, State
from ovn_ipsec.evidence.values import Counts, Reading


def start(at: int, boot: str = "b1") -> Start:
    return Start(at=at, boot=boot, version="1")


def state(at: int, to: str, pair: str = "p", held_since: int | None = None) -> State:
    return State(
        at=at,
        pair=pair,
        peer="h2",
        type="geneve",
        local="10.9.0.1",
        remote="10.9.0.2",
        state=to,
        mode="require",
        closed=to in ("encrypted", "blocked"),
        held_since=held_since,
    )


def proof(at: int, auth: str = "ca", pair: str = "p") -> Proof:
    return Proof(
        at=at, pair=pair, auth=auth, ike="I", esp="AES_GCM_16-256", esn=True, identity="h2"
    )


def counted(at: int, denied: int, epoch: str = "t1", clear: int | None = 0) -> Counted:
    counts = Counts(out_denied=denied, out_clear=clear, in_denied=0, in_clear=clear)
    return Counted(at=at, layers=(Reading(layer="nft", epoch=epoch, counts=counts),))
