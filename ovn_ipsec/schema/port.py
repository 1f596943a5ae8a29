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
        meaning="The state of this tunnel port's pair at this end, for people.",
        values=one_of(PairState),
        default="no ovn-ipsec-controller has set it",
        example=PairState.ENCRYPTED,
        writer=Party.CONTROLLER,
        readers=(Party.CONTROLLER,),
        page="howto/diagnose.md",
    ),
    Key(
        column="Port.external_ids",
        name=CHASSIS_ID,
        meaning="The peer to which the tunnel port belongs.",
        values="`CHASSIS@REMOTE`, `CHASSIS@REMOTE%LOCAL`, or `flow` for a single port for all"
        " peers",
        default="it is not a tunnel port of OVN",
        example="hv2@192.0.2.12%192.0.2.11",
        writer=Party.PORT_MAKER,
        readers=(Party.CONTROLLER, Party.OVN_CONTROLLER),
        page=_PORTS,
    ),
    _option(
        name="remote_ip",
        meaning="The remote address of the tunnel.",
        values="an address, or `flow`",
        example="192.0.2.12",
    ),
    _option(
        name="local_ip",
        meaning="The local address of the tunnel.",
        values="an address, or `flow`",
        default="the address that the routes select",
        example="192.0.2.11",
    ),
    _option(
        name="key",
        meaning="The flows determine to which network a packet belongs.",
        values="`flow`",
        example="flow",
    ),
    _option(
        name="csum",
        meaning="UDP checksums, as requested by the peer's encap.",
        values=one_of(("true", "false")),
        example="true",
    ),
    _option(
        name="dst_port",
        meaning="UDP port of the peer, if it is not the default.",
        values="a port",
        default="the default of the type",
        example="6082",
    ),
    _option(
        name="tos",
        meaning="As in `ovn-encap-tos`.",
        values="`inherit` or a number",
        example="inherit",
    ),
    _option(
        name="df_default",
        meaning="As in `ovn-encap-df_default`.",
        values=one_of(("true", "false")),
        example="false",
    ),
    _stock(
        name="remote_name",
        meaning="The peer's chassis, while `SB_Global.ipsec` is true.",
        values="a chassis name",
        example="hv2",
    ),
    _stock(
        name="remote_cert",
        meaning="The only certificate that is accepted from the peer, with `pinned` and"
        " `ovn-ipsec-ike=delegate`. ovn-controller never sets it.",
        values="a path",
        example=f"/etc/ipsec.d/ovn-ipsec/{'5f' * 32}.pem",
        writer=Party.CONTROLLER,
        page="howto/delegate.md",
    ),
    *(
        _stock(
            name=IPSEC_PREFIX + name,
            meaning="As in `SB_Global.options`, while `SB_Global.ipsec` is true.",
            values="`yes`",
            example="yes",
        )
        for name in SWITCHES
    ),
)
"""What people are told of these keys."""
