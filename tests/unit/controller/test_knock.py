# SPDX-License-Identifier: Apache-2.0
"""The datagram that a peer hears where there is no traffic."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import ip_address

import pytest

from controller.ports.knock import knock
from tests.contracts.ike_backend import config

PAIR = config().pair


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_knock_is_one_empty_datagram_to_the_tunnel_port(host: str) -> None:
    """From the encap's own address, which the SAs are for."""
    address = ip_address(host)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as port:
        port.settimeout(5.0)
        port.bind((host, 0))
        number = port.getsockname()[1]
        knock(replace(PAIR, local=address, remote=address, out_port=number))
        data, sender = port.recvfrom(10)
    assert (b"", host) == (data, sender[0])


def test_a_knock_that_cannot_be_sent_is_left_out() -> None:
    """The address is not of this host, or the guard denies it."""
    knock(replace(PAIR, local=ip_address("192.0.2.1"), remote=ip_address("192.0.2.2")))
