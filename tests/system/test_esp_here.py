# SPDX-License-Identifier: Apache-2.0
"""What check-wire, doctor and report see where the kernel has ESP."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

import pytest

from ovn_ipsec.cli.machine import xfrm
from tests.functional.netns import LOCAL, PEER, PORT, Net, Wire, joined, namespace
from tests.functional.test_cli_wire import VERSIONS, tried

KEY = bytes(range(100, 136))


@pytest.fixture
def net() -> Iterator[Net]:
    """A namespace."""
    with namespace() as found:
        yield found


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Two namespaces with a link between them."""
    with joined() as found:
        yield found


@VERSIONS
def test_esp_is_seen_as_what_it_is(wire: Wire, version: int) -> None:
    """An SA with a key that everybody knows will do; without one, nothing leaves."""
    ends = f"src {LOCAL[version]} dst {PEER[version]}"
    wire.here.run(*f"ip xfrm policy add {ends} proto udp dport {PORT} dir out".split(),
                  *f"tmpl {ends} proto esp mode transport".split())  # fmt: skip
    outcome, said = tried(wire, PEER[version], version=version)
    assert outcome == "denied", said
    wire.here.run("ip", "xfrm", "state", "flush")
    wire.here.run(*f"ip xfrm state add {ends} proto esp spi 0x1234 mode transport aead".split(),
                  "rfc4106(gcm(aes))", "0x" + "11" * 36, "128")  # fmt: skip
    outcome, said = tried(wire, PEER[version], version=version)
    assert (outcome, said) == ("encrypted", "all 10 probes left v0 as ESP, none in the clear")


@pytest.mark.parametrize("version", [4, 6])
def test_an_sa_is_told_and_its_key_is_not(net: Net, version: int) -> None:
    """What iproute2 shows with the key is shown here without."""
    ends = f"src {LOCAL[version]} dst {PEER[version]}"
    words = f"ip xfrm state add {ends} proto esp spi 0xc0ffee01 reqid 7 mode transport aead"
    net.run(*words.split(), "rfc4106(gcm(aes))", f"0x{KEY.hex()}", "128")
    assert KEY.hex() in net.run("ip", "xfrm", "state")
    with net.entered():
        (line,) = xfrm.states()
    assert line.startswith(f"{LOCAL[version]} {PEER[version]} proto esp spi 0xc0ffee01 reqid 7 tr")
    assert line.endswith("bytes 0 packets 0")
    for spelled in (KEY.hex(), KEY.hex().upper(), b64encode(KEY).decode(), repr(KEY)):
        assert spelled not in line
