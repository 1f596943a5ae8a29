# SPDX-License-Identifier: Apache-2.0
"""A real pluto and a real charon: each authenticates the other, whichever of them begins.

The kernel outside the guest has no ESP: IKE_SAs come up, and their CHILD_SAs are refused.
Libreswan 5.2 then answers TEMPORARY_FAILURE instead, and strongSwan drops the IKE_SA: what it makes
of a pluto that responds is seen in the guest (tests/system/platforms/test_libreswan.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from controller.ike.backend import IkeBackend
from controller.ike.libreswan.daemon import Libreswan
from controller.ike.strongswan import StrongSwan
from controller.plan.connection import ConnConfig, IkeSa
from ovn_ipsec.model.policy import Auth
from tests.contracts.ike_backend import (
    config,
    der,
    identity,
    lab,
    peer_config,
    pin,
    secret,
    seen,
    ways,
)
from tests.functional import charon, ends, pluto
from tests.functional.ends import eventually

ENDS = ("chA", "chB")
LACKS = charon.missing()
pytestmark = pytest.mark.skipif(bool(LACKS), reason=f"needs {LACKS}")


@pytest.fixture(params=pluto.BUILDS, ids=lambda build: build.version)
def build(request: pytest.FixtureRequest) -> pluto.Build:
    """One Libreswan."""
    pluto.demand(request.param)
    return request.param


@contextmanager
def two(build: pluto.Build) -> Iterator[tuple[IkeBackend, IkeBackend]]:
    """Libreswan as chA, strongSwan as chB; new ones know no key of a peer yet."""

    def make(netns: str, folder: Path) -> ends.Daemon:
        if folder.name == "a":
            return pluto.Pluto(netns, folder, build=build)
        return charon.Charon(netns, folder)

    with ends.two("mix", make) as (one, other):
        assert isinstance(one, pluto.Pluto)
        assert isinstance(other, charon.Charon)
        patience_s = pluto.PATIENCE_S
        with (
            closing(Libreswan(one.places, deadline_s=patience_s)) as libreswan,
            closing(StrongSwan(other.uri, deadline_s=patience_s)) as strongswan,
        ):
            yield libreswan, strongswan


def begin(
    both: tuple[IkeBackend, IkeBackend], auth: Auth, begins: str
) -> list[tuple[IkeBackend, ConnConfig]]:
    """Load both, and let one of them initiate; returns them and their connections."""
    here = config(auth=auth)
    there = peer_config(proofs=ways("chB", "chA", auth))
    for backend, name, conn in zip(both, ("chA", "chB"), (here, there), strict=True):
        backend.open()
        for _, key in (identity(name), pin(name)):
            backend.load_key(secret(key))
        backend.load(conn)
        assert backend.flush() == {}
    found = list(zip(both, (here, there), strict=True))
    initiator, conn = next(one for one in found if one[0].kind == begins)
    initiator.initiate(conn.name, "out")
    assert initiator.flush() == {}
    return found


def sas(backend: IkeBackend, conn: ConnConfig) -> list[IkeSa]:
    """Those of a connection that are up."""
    backend.drain()
    return [sa for sa in seen(backend.observe_sas(conn.name)) if sa.state == "ESTABLISHED"]


def begin_with_rsa(
    both: tuple[IkeBackend, IkeBackend], begins: str
) -> list[tuple[IkeBackend, ConnConfig]]:
    """The same by certificates for RSA keys, which are all that a stock strongSwan takes."""
    made = {name: lab().issue(name, key=rsa.generate_private_key(65537, 2048)) for name in ENDS}
    found = []
    for backend, name, conn in zip(both, ENDS, (config(), peer_config()), strict=True):
        certificate, key = made[name]
        backend.open()
        backend.load_key(secret(key))
        (proof,) = ways(*(ENDS if name == "chA" else ENDS[::-1]), Auth.CA)
        found.append(replace(conn, proofs=(replace(proof, certificate_der=der(certificate)),)))
        backend.load(found[-1])
        assert backend.flush() == {}
    ends_of = list(zip(both, found, strict=True))
    initiator, conn = next(one for one in ends_of if one[0].kind == begins)
    initiator.initiate(conn.name, "out")
    assert initiator.flush() == {}
    return ends_of


@pytest.mark.parametrize("begins", ["Libreswan", "strongSwan"])
def test_rsa_keys_are_accepted(build: pluto.Build, begins: str) -> None:
    """By PKCS#1 v1.5, which strongSwan signs with and Libreswan takes only if it is told to."""
    with two(build) as both:
        ends_of = begin_with_rsa(both, begins)
        if (build.version, begins) == ("5.2", "strongSwan"):
            ends_of.pop()
        eventually(lambda: all(sas(backend, conn) for backend, conn in ends_of))


@pytest.mark.parametrize("auth", list(Auth))
@pytest.mark.parametrize("begins", ["Libreswan", "strongSwan"])
def test_each_accepts_the_other(build: pluto.Build, auth: Auth, begins: str) -> None:
    """At the first attempt: a pluto that begins asks for no certificate, and has to get one."""
    with two(build) as both:
        ends_of = begin(both, auth, begins)
        if (build.version, begins) == ("5.2", "strongSwan"):
            ends_of.pop()
        eventually(lambda: all(sas(backend, conn) for backend, conn in ends_of))
