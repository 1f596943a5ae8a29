# SPDX-License-Identifier: Apache-2.0
"""A real pluto and a real charon: each authenticates the other, whichever of them begins.

The kernel outside the guest has no ESP: IKE_SAs come up, and their CHILD_SAs are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.ike.backend import IkeBackend
from controller.ike.libreswan.daemon import Libreswan
from controller.ike.strongswan import StrongSwan
from ovn_ipsec.model.policy import Auth
from tests.contracts.ike_backend import config, identity, peer_config, pin, secret, seen, ways
from tests.functional import charon, ends, pluto
from tests.functional.ends import eventually

LACKS = pluto.missing() or charon.missing()
pytestmark = pytest.mark.skipif(bool(LACKS), reason=f"needs {LACKS}")


@pytest.fixture
def both() -> Iterator[tuple[IkeBackend, IkeBackend]]:
    """Libreswan is chA, strongSwan is chB; new ones for each test know no key of a peer yet."""

    def make(netns: str, folder: Path) -> ends.Daemon:
        return (pluto.Pluto if folder.name == "a" else charon.Charon)(netns, folder)

    with ends.two("mix", make) as (one, other):
        assert isinstance(one, pluto.Pluto)
        assert isinstance(other, charon.Charon)
        found = Libreswan(one.places), StrongSwan(other.uri)
        yield found
        for backend in found:
            backend.close()


@pytest.mark.parametrize("auth", list(Auth))
@pytest.mark.parametrize("begins", ["Libreswan", "strongSwan"])
def test_each_accepts_the_other(
    both: tuple[IkeBackend, IkeBackend], auth: Auth, begins: str
) -> None:
    """At the first attempt: a pluto that begins asks for no certificate, and has to get one."""
    here = config(auth=auth)
    there = peer_config(proofs=ways("chB", "chA", auth))
    ends_of = tuple(zip(both, ("chA", "chB"), (here, there), strict=True))
    for backend, name, conn in ends_of:
        backend.open()
        for _, key in (identity(name), pin(name)):
            backend.load_key(secret(key))
        backend.load(conn)
        assert backend.flush() == {}
    initiator, _, conn = next(one for one in ends_of if one[0].kind == begins)
    initiator.initiate(conn.name, "out")
    assert initiator.flush() == {}

    def is_up(backend: IkeBackend, name: str) -> bool:
        backend.drain()
        return any(sa.state == "ESTABLISHED" for sa in seen(backend.observe_sas(name)))

    eventually(lambda: all(is_up(backend, conn.name) for backend, _, conn in ends_of))
