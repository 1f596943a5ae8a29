# SPDX-License-Identifier: Apache-2.0
"""Pure: the keys of tunnel ports in the local database.

Only ports on the integration bridge that have CHASSIS_ID are looked at. On those that
ovn-controller owns nothing is written but MARK: it replaces a port whose Interface has a foreign
option.
"""

from __future__ import annotations

from functools import partial

from ..model.key import Key, Party, one_of
from ..model.status import PairState
from .tuning import SWITCHES

CHASSIS_ID = "ovn-chassis-id"
MARK = "ovn-ipsec"
IPSEC_PREFIX = "ipsec_"

_option = partial(
    Key,
    column="Interface.options",
    default="the option is not set",
    writer=Party.PORT_MAKER,
    readers=(Party.CONTROLLER, Party.VSWITCHD),
)
_stock = partial(_option, readers=(Party.CONTROLLER, Party.MONITOR))
_PORTS = "howto/without-ovn-controller.md"
DOCUMENTED = (
    Key(
        column="Port.external_ids",
        name=MARK,
        meaning="What the pair of this tunnel port is at this end, for people.",
        values=one_of(PairState),
        default="no ovn-ipsec-controller has looked at it",
        example=PairState.ENCRYPTED,
        writer=Party.CONTROLLER,
        readers=(Party.CONTROLLER,),
        page="howto/diagnose.md",
    ),
    Key(
        column="Port.external_ids",
        name=CHASSIS_ID,
        meaning="Whose tunnel port it is.",
        values="`CHASSIS@REMOTE`, `CHASSIS@REMOTE%LOCAL`, or `flow` for the one port of all peers",
        default="it is no tunnel port of OVN",
        example="hv2@192.0.2.12%192.0.2.11",
        writer=Party.PORT_MAKER,
        readers=(Party.CONTROLLER, Party.OVN_CONTROLLER),
        page=_PORTS,
    ),
    _option(
        name="remote_ip",
        meaning="Where the tunnel ends.",
        values="an address, or `flow`",
        example="192.0.2.12",
    ),
    _option(
        name="local_ip",
        meaning="Where it begins.",
        values="an address, or `flow`",
        default="what the routes say",
        example="192.0.2.11",
    ),
    _option(
        name="key",
        meaning="That the flows say which network a packet belongs to.",
        values="`flow`",
        example="flow",
    ),
    _option(
        name="csum",
        meaning="UDP checksums, as the encap of the peer asks for them.",
        values=one_of(("true", "false")),
        example="true",
    ),
    _option(
        name="dst_port",
        meaning="UDP port of the peer, where it is not the usual one.",
        values="a port",
        default="the usual one of the type",
        example="6082",
    ),
    _option(
        name="tos",
        meaning="As `ovn-encap-tos` says.",
        values="`inherit` or a number",
        example="inherit",
    ),
    _option(
        name="df_default",
        meaning="As `ovn-encap-df_default` says.",
        values=one_of(("true", "false")),
        example="false",
    ),
    _stock(
        name="remote_name",
        meaning="The peer's chassis, while `SB_Global.ipsec` is true.",
        values="a chassis name",
        example="hv2",
    ),
    *(
        _stock(
            name=IPSEC_PREFIX + name,
            meaning="As `SB_Global.options` says, while `SB_Global.ipsec` is true.",
            values="`yes`",
            example="yes",
        )
        for name in SWITCHES
    ),
)
"""What people are told of these keys."""
