# SPDX-License-Identifier: Apache-2.0
"""A peer that a real ovs-monitor-ipsec serves, with certificates that both ends pin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from controller.credentials.files import read_pin
from controller.ike.strongswan import StrongSwan
from controller.plan.connection import ConnConfig
from controller.plan.credentials.proof import Proof
from controller.plan.credentials.stock import readable
from controller.ports.pin_files import PinFiles
from ovn_ipsec.clock import utc_now
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Auth
from ovn_ipsec.pki.keys import private_pem
from ovn_ipsec.pki.profile import certificate_pem, self_signed
from ovn_ipsec.schema.open_vswitch import CredentialFiles
from tests.contracts.ike_backend import config, der, key_id, secret
from tests.functional import charon, test_stock
from tests.functional.test_stock import Stock, established, wait

pytestmark = test_stock.pytestmark


@pytest.fixture
def pinning() -> Iterator[tuple[charon.Charon, Stock]]:
    """A charon of ours and a stock peer that is told of nothing yet."""
    with charon.two_charons() as (ours, theirs):
        theirs.kill()
        stock = Stock(theirs.netns, theirs.folder)
        try:
            yield ours, stock
        finally:
            stock.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is to be closed at the end."""
    with ExitStack() as made:
        yield made


def _pin(chassis: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """What a chassis publishes."""
    text = self_signed(key, ChassisName(chassis), timedelta(days=30), utc_now())
    return x509.load_pem_x509_certificate(text.encode())


def _ours(key: ec.EllipticCurvePrivateKey, own: x509.Certificate, peer: bytes) -> ConnConfig:
    proof = Proof(
        auth=Auth.PINNED, certificate_der=der(own), key_id=key_id(key), trusted_der=(peer,)
    )
    return replace(config(), proofs=(proof,))


def test_a_stock_peer_accepts_the_certificate_that_its_port_names_and_no_other(
    pinning: tuple[charon.Charon, Stock], tmp_path: Path, stack: ExitStack
):
    """Both ways; another one of the same chassis once the port names it."""
    ours, stock = pinning
    theirs = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    pins, peer = [_pin("chA", key) for key in keys], _pin("chB", theirs)
    files = CredentialFiles(
        certificate=str(tmp_path / "b.crt"), private_key=str(tmp_path / "b.key"), ca_cert=""
    )
    Path(files.certificate).write_text(certificate_pem(peer))
    Path(files.private_key).write_bytes(private_pem(theirs))
    assert read_pin(files, ChassisName("chB"), utc_now())[2] == certificate_pem(peer)
    assert [readable("chA", [der(pin)]) for pin in pins] == [((der(pin),), None) for pin in pins]
    pin_files = PinFiles(tmp_path / "pins")
    pin_files.write(map(der, pins))
    paths = [pin_files.path(der(pin)) for pin in pins]
    backend = StrongSwan(ours.uri)
    stack.callback(backend.close)
    backend.open()
    conns = [_ours(key, own, der(peer)) for key, own in zip(keys, pins, strict=True)]
    for key in keys:
        backend.load_key(secret(key))
    stock.configure("Open_vSwitch", ".", f"other_config:certificate={files.certificate}",
                    f"other_config:private_key={files.private_key}")  # fmt: skip
    stock.configure("Interface", "gen0", f"options:remote_cert={paths[0]}")
    wait(stock, lambda: stock.says("added child to existing configuration 'gen0-in-1'"))
    backend.load(conns[0])
    backend.initiate(conns[0].name, "out")
    wait(stock, lambda: established(backend))
    (sa,) = established(backend)
    assert (sa.auth, sa.initiator, sa.remote_id) == (Auth.PINNED, True, "chB")
    backend.terminate_ike(sa.id, force=True)
    wait(stock, lambda: not established(backend))
    stock.run("ipsec stroke up-nb gen0-out-1")
    wait(stock, lambda: established(backend))
    (sa,) = established(backend)
    assert (sa.initiator, sa.remote_id) == (False, "chB")
    backend.terminate_ike(sa.id, force=True)
    wait(stock, lambda: not established(backend))
    # Another certificate, which the port does not name yet.
    backend.load(conns[1])
    backend.drain()
    backend.initiate(conns[1].name, "out")
    said: list[str] = []

    def refused() -> bool:
        said.extend(text for _, text in backend.drain().messages)
        return any("AUTHENTICATION_FAILED" in text for text in said)

    wait(stock, refused)
    assert not established(backend)
    stock.configure("Interface", "gen0", f"options:remote_cert={paths[1]}")
    wait(stock, lambda: stock.says("added child to existing configuration 'gen0-in-2'"))
    backend.initiate(conns[1].name, "out")
    wait(stock, lambda: established(backend))
