# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D101, D102 - test scaffolding: names and the protocol say it
"""The contract of IkeBackend and more, on real plutos in namespaces of their own.

The kernel outside the guest has no ESP: IKE_SAs come up, and their CHILD_SAs are refused.
"""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from controller.flush import flush
from controller.guard.host import HostGuard
from controller.ike.keyring import Keyring
from controller.ike.libreswan.daemon import FRESH_S, Libreswan
from controller.ike.libreswan.nss import CA, OWN, PIN, nickname
from controller.ike.libreswan.tools import Ended
from controller.plan.connection import SUITES, ConnConfig, IkeSa, profile_of
from controller.plan.credentials.certificate import describe
from controller.plan.credentials.credential import Secret
from controller.state_dir import StateDir
from ovn_ipsec.errors import IkeError
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.observation import Unknown
from ovn_ipsec.model.policy import Auth, Profile, Revocation
from tests.contracts.ike_backend import (
    LOCAL_IP,
    SILENT_IP,
    Authority,
    IkeBackendContract,
    config,
    der,
    identity,
    key_id,
    lab,
    peer_config,
    pin,
    secret,
    seen,
    ways,
)
from tests.fakes.kernel import FakeGuardLayer
from tests.functional import pluto
from tests.functional.ends import WAIT_S, eventually

SIX = ("fd09::1", "fd09::2")
DOABLE = [profile for profile in Profile if profile is not Profile.PQ]


def clean(backend: Libreswan) -> None:
    """Take everything away that a test left."""
    backend.open()
    held = seen(backend.observe())
    for conn in held.conns:
        backend.unload(conn)
    for sas in held.sas.values():
        for sa in sas:
            backend.terminate_ike(sa.id, force=True)
    eventually(lambda: not seen(backend.observe()).sas)
    for key in seen(backend.keys()):
        backend.unload_key(key)
    for key in seen(backend.shared_keys()):
        backend.unload_shared(key)
    backend.flush()
    backend.close()


@pytest.fixture(scope="module", params=pluto.BUILDS, ids=lambda build: build.version)
def both(request: pytest.FixtureRequest) -> Iterator[tuple[pluto.Pluto, pluto.Pluto]]:
    pluto.demand(request.param)
    with pluto.two_plutos(request.param) as pair:
        yield pair


@pytest.fixture
def ike(both: tuple[pluto.Pluto, pluto.Pluto]) -> Iterator[Libreswan]:
    backend = Libreswan(both[0].places, deadline_s=pluto.PATIENCE_S)
    yield backend
    clean(backend)


@pytest.fixture
def peer(both: tuple[pluto.Pluto, pluto.Pluto]) -> Iterator[Libreswan]:
    backend = Libreswan(both[1].places, deadline_s=pluto.PATIENCE_S)
    backend.open()
    yield backend
    clean(backend)


class TestLibreswan(IkeBackendContract):
    @pytest.fixture
    def ike(self, ike: Libreswan) -> Libreswan:
        return ike

    def wait_for_sa(self, ike, name) -> IkeSa:
        eventually(lambda: seen(ike.observe_sas(name)))
        return super().wait_for_sa(ike, name)

    def wait_until_gone(self, ike, name) -> None:
        eventually(lambda: not seen(ike.observe_sas(name)))

    @pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
    @pytest.mark.parametrize(
        "make",
        [
            lambda: rsa.generate_private_key(65537, 2048),
            lambda: ec.generate_private_key(ec.SECP384R1()),
        ],
        ids=["rsa", "ecdsa"],
    )
    def test_every_kind_of_key_is_taken(self, opened: Libreswan, make, encoding: Encoding):
        """Under the id that Credential.key_id has."""
        key = make()
        assert opened.load_key(secret(key, encoding)) == key_id(key)
        assert seen(opened.keys()) == {key_id(key)}

    def test_a_refused_key_is_not_in_the_error(self, opened: Libreswan):
        """Neither its text nor its representation; and one of a kind that pluto lacks."""
        with pytest.raises(IkeError) as caught:
            opened.load_key(Secret(b"not a key at all"))
        assert "not a key" not in repr(caught.value)
        with pytest.raises(IkeError, match="RSA and ECDSA"):
            opened.load_key(secret(ed25519.Ed25519PrivateKey.generate()))
        assert opened.connected


def established(ike: Libreswan, conn: ConnConfig) -> list[IkeSa]:
    return [sa for sa in seen(ike.observe_sas(conn.name)) if sa.state == "ESTABLISHED"]


def up(ike: Libreswan, peer: Libreswan, here: ConnConfig, there: ConnConfig) -> bool:
    peer.drain()
    return bool(established(ike, here) and established(peer, there))


def collected(ike: Libreswan, conn: ConnConfig, words: str) -> bool:
    return any(name == conn.name and words in text for name, text in ike.drain().messages)


def load_both(
    ike: Libreswan, peer: Libreswan, here: ConnConfig, there: ConnConfig, *, keys: bool = True
) -> None:
    ike.open()
    if keys:
        for backend, name in ((ike, "chA"), (peer, "chB")):
            backend.load_key(secret(identity(name)[1]))
            backend.load_key(secret(pin(name)[1]))
    ike.load(here)
    peer.load(there)
    assert (ike.flush(), peer.flush()) == ({}, {})


@pytest.mark.parametrize("auth", list(Auth))
def test_two_chassis_authenticate_each_other(ike: Libreswan, peer: Libreswan, auth: Auth):
    """With each method; both ends list the IKE_SA under it, and know who began."""
    here = config(auth=auth)
    there = peer_config(proofs=ways("chB", "chA", auth))
    load_both(ike, peer, here, there)
    ike.initiate(here.name, "out")
    eventually(lambda: up(ike, peer, here, there))
    (mine,), (theirs,) = established(ike, here), established(peer, there)
    assert (mine.auth, theirs.auth) == (auth, auth)
    assert (mine.initiator, theirs.initiator) == (True, False)
    assert (mine.remote_id, theirs.remote_id) == ("chB", "chA")
    assert profile_of(mine) is profile_of(theirs) is Profile.DEFAULT


def test_ipv6_works_too(both: tuple[pluto.Pluto, pluto.Pluto], ike: Libreswan, peer: Libreswan):
    """As far as IKE goes."""
    for one, address in zip(both, SIX, strict=True):
        words = ["addr", "replace", f"{address}/64", "dev", "e0", "nodad"]
        subprocess.run(["ip", "-n", one.netns, *words], check=True)
    here = config(addresses=SIX, auth=Auth.PSK)
    there = config("chB", "chA", (SIX[1], SIX[0]), auth=Auth.PSK)
    load_both(ike, peer, here, there)
    ike.initiate(here.name, "out")
    eventually(lambda: up(ike, peer, here, there))


def test_rsa_works_too(ike: Libreswan, peer: Libreswan):
    """A certificate for an RSA key on both ends."""
    ike.open()
    proofs = {}
    for backend, name in ((ike, "chA"), (peer, "chB")):
        certificate, key = lab().issue(name, key=rsa.generate_private_key(65537, 2048))
        backend.load_key(secret(key))
        proofs[name] = der(certificate)
    here = replace(config(), proofs=(replace(config().proofs[0], certificate_der=proofs["chA"]),))
    far = peer_config().proofs[0]
    there = peer_config(proofs=(replace(far, certificate_der=proofs["chB"]),))
    load_both(ike, peer, here, there, keys=False)
    ike.initiate(here.name, "out")
    eventually(lambda: up(ike, peer, here, there))


@pytest.mark.parametrize("profile", DOABLE)
def test_each_profile_is_negotiated(ike: Libreswan, peer: Libreswan, profile: Profile):
    """As far as IKE goes; the log says with which algorithms."""
    suite = SUITES[profile]
    changes = {"ike_proposals": suite.ike, "esp_proposals": suite.esp}
    here, there = replace(config(auth=Auth.PSK), **changes), peer_config(
        proofs=ways("chB", "chA", Auth.PSK), **changes
    )  # fmt: skip
    load_both(ike, peer, here, there)
    assert profile in seen(ike.observe()).profiles
    ike.initiate(here.name, "out")
    eventually(lambda: up(ike, peer, here, there))
    assert [profile_of(sa) for sa in established(ike, here)] == [profile]


def test_what_it_cannot_do_is_refused(ike: Libreswan):
    """A profile, a demand that it cannot make of one connection, and a reqid that is its own."""
    ike.open()
    suite = SUITES[Profile.PQ]
    wrong = replace(config(), ike_proposals=suite.ike, esp_proposals=suite.esp)
    strict = replace(config().proofs[0], revocation=Revocation.STRICT)
    for conn in (wrong, replace(config(), proofs=(strict,)), config(reqids=(100_000, 100_001))):
        with pytest.raises(IkeError):
            ike.load(conn)
    assert ike.flush() == {}
    assert seen(ike.observe()).conns == frozenset()


def test_a_peer_that_knows_nothing_of_us_is_a_reason(ike: Libreswan, peer: Libreswan):
    """It answers that no proposal suits."""
    ike.open()
    ike.load(config(auth=Auth.PSK))
    ike.initiate(config().name, "out")
    assert ike.flush() == {}
    eventually(lambda: collected(ike, config(), "NO_PROPOSAL_CHOSEN"))


def test_another_secret_is_a_reason(ike: Libreswan, peer: Libreswan):
    """The peer refuses our authentication."""
    there = peer_config(proofs=ways("chB", "chA", Auth.PSK, secrets=(Secret(b"x" * 32),)))
    load_both(ike, peer, config(auth=Auth.PSK), there)
    ike.initiate(config().name, "out")
    assert ike.flush() == {}
    eventually(lambda: collected(ike, config(), "AUTHENTICATION_FAILED"))


def test_a_peer_of_another_authority_is_a_reason(ike: Libreswan, peer: Libreswan):
    """Our end does not accept its certificate."""
    ike.open()
    ike.load_key(secret(identity("chA")[1]))
    certificate, key = Authority("other CA").issue("chB")
    peer.load_key(secret(key))
    proof = replace(peer_config().proofs[0], certificate_der=der(certificate))
    load_both(ike, peer, config(), peer_config(proofs=(proof,)), keys=False)
    ike.initiate(config().name, "out")
    assert ike.flush() == {}
    eventually(lambda: collected(ike, config(), "certificate"))
    assert not established(ike, config())


def test_what_vouches_for_nobody_leaves_the_database(ike: Libreswan):
    """An authority and a pin go with the last connection that needs them, and no SA with them."""
    ike.open()
    ike.load_key(secret(identity("chA")[1]))
    ike.load_key(secret(pin("chA")[1]))
    other = der(Authority("next CA").certificate)
    proof = replace(config().proofs[0], trusted_der=(der(lab().certificate), other))
    ike.load(replace(config(), proofs=(proof, *ways("chA", "chB", Auth.PINNED))))
    assert ike.flush() == {}
    ike._nss.look()
    assert [len(ike._nss.names(kind)) for kind in (CA, PIN, OWN)] == [2, 1, 2]
    ike.load(replace(config(), proofs=(replace(proof, trusted_der=(other,)),)))
    assert ike.flush() == {}
    ike._nss.look()
    assert [len(ike._nss.names(kind)) for kind in (CA, PIN, OWN)] == [1, 0, 1]


def test_what_is_in_use_can_be_tried_again(
    both: tuple[pluto.Pluto, pluto.Pluto], ike: Libreswan, peer: Libreswan
):
    """As the next run of the controller does; what vouches for peers goes on to do so."""
    here, there = config(), peer_config()
    load_both(ike, peer, here, there)
    credential = describe("lab", identity("chA")[0], [lab().certificate])
    second = Libreswan(both[0].places, deadline_s=pluto.PATIENCE_S)
    second.open()
    second.try_credential(credential)
    second.close()
    ike.try_credential(credential)
    trust = ike._nss._certutil("-L", "-n", nickname(CA, der(lab().certificate)))
    assert "Trusted CA" in trust
    ike.initiate(here.name, "out")
    eventually(lambda: up(ike, peer, here, there))


def test_what_has_not_changed_keeps_its_sas(
    both: tuple[pluto.Pluto, pluto.Pluto], ike: Libreswan, peer: Libreswan
):
    """Also for the next run of the controller; what has changed loses them."""
    here, there = config(auth=Auth.PSK), peer_config(proofs=ways("chB", "chA", Auth.PSK))
    load_both(ike, peer, here, there)
    ike.initiate(here.name, "out")
    eventually(lambda: up(ike, peer, here, there))
    (before,) = established(ike, here)
    ike.load(replace(here, epoch=7))
    assert [sa.id for sa in established(ike, here)] == [before.id]
    second = Libreswan(both[0].places, deadline_s=pluto.PATIENCE_S)
    second.open()
    assert seen(second.observe()).conns == {here.name}
    second.load(here)
    assert [sa.id for sa in established(second, here)] == [before.id]
    second.close()
    ike.load(replace(here, tuning=replace(here.tuning, dpd_delay_s=7)))
    eventually(lambda: before.id not in {sa.id for sa in seen(ike.observe_sas(here.name))})


def test_all_changes_of_a_pass_go_in_one_process(ike: Libreswan, monkeypatch: pytest.MonkeyPatch):
    """Two hundred pairs: one addconn, and a few whacks that do not grow with them."""
    ike.open()
    ran: list[str] = []
    tools = ike._session.tools
    run = tools.run

    def counted(program: str, *words: str, **more: object) -> Ended:
        ran.append(program)
        return run(program, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(tools, "run", counted)
    conns = [
        config(peer=f"hv{n}", addresses=(LOCAL_IP, f"10.9.1.{n}"), auth=Auth.PSK)
        for n in range(200)
    ]
    for conn in conns:
        ike.load(conn)
    assert ike.flush() == {}
    assert ran.count("addconn") == 1
    assert len(ran) <= 5
    assert seen(ike.observe()).conns == {conn.name for conn in conns}
    ran.clear()
    for conn in conns:
        ike.unload(conn.name)
    assert ike.flush() == {}
    assert len(ran) <= 5
    assert seen(ike.observe()).conns == frozenset()


def test_an_unloaded_connection_stays_until_its_sas_are_gone(ike: Libreswan, peer: Libreswan):
    """Otherwise pluto would end them; and it makes none of them again."""
    here, there = config(auth=Auth.PSK), peer_config(proofs=ways("chB", "chA", Auth.PSK))
    load_both(ike, peer, here, there)
    ike.initiate(here.name, "out")
    eventually(lambda: up(ike, peer, here, there))
    ike.unload(here.name)
    assert seen(ike.observe()).conns == frozenset()
    (sa,) = established(ike, here)
    ike.terminate_ike(sa.id)
    eventually(lambda: not seen(ike.observe_sas(here.name)))
    eventually(lambda: not seen(peer.observe_sas(there.name)))
    with pytest.raises(IkeError):
        ike.initiate(here.name, "out")


def test_a_terminated_sa_is_not_made_again(ike: Libreswan, peer: Libreswan):
    """Neither one that is up, nor an attempt: pluto would revive both by itself."""
    here, there = config(auth=Auth.PSK), peer_config(proofs=ways("chB", "chA", Auth.PSK))
    silent = config(peer="chC", addresses=(LOCAL_IP, SILENT_IP), auth=Auth.PSK)
    load_both(ike, peer, here, there)
    ike.load(silent)
    for conn in (here, silent):
        ike.initiate(conn.name, "out")
    eventually(lambda: up(ike, peer, here, there))
    eventually(lambda: seen(ike.observe_sas(silent.name)))
    for conn in (here, silent):
        for sa in seen(ike.observe_sas(conn.name)):
            ike.terminate_ike(sa.id, force=True)
    eventually(lambda: not seen(ike.observe()).sas)
    time.sleep(stretched(1.5))
    assert seen(ike.observe()).sas == {}
    assert seen(peer.observe()).sas == {}


def test_events_name_what_has_changed(ike: Libreswan, peer: Libreswan):
    """On both ends; nothing has to be readable for that, but then it says when to look."""
    here, there = config(auth=Auth.PSK), peer_config(proofs=ways("chB", "chA", Auth.PSK))
    load_both(ike, peer, here, there)
    ike.drain()
    peer.drain()
    assert peer.wake_at() is not None
    ike.initiate(here.name, "out")
    ike.flush()
    eventually(lambda: here.name in ike.drain().conns)
    eventually(lambda: there.name in peer.drain().conns)


def test_a_flush_leaves_nothing_of_ours(ike: Libreswan, peer: Libreswan, tmp_path: Path):
    """No connection, SA or key, and no certificate."""
    here, there = config(), peer_config()
    load_both(ike, peer, here, there)
    state = StateDir(tmp_path)
    state.open()
    ring = Keyring(state)
    keys = [secret(identity("chA")[1]), secret(pin("chA")[1])]
    ring.want({key_id(identity("chA")[1]): keys[0], key_id(pin("chA")[1]): keys[1]})
    ring.load(ike, 0.0)
    ike.load(config(peer="chC", addresses=(LOCAL_IP, SILENT_IP), auth=Auth.PSK))
    ike.initiate(here.name, "out")
    eventually(lambda: up(ike, peer, here, there))
    ike.close()
    flush(state, HostGuard([FakeGuardLayer()], state, ""), [ike])
    ike.open()
    eventually(lambda: not seen(ike.observe()).sas)
    assert seen(ike.observe()).conns == frozenset()
    assert (seen(ike.keys()), seen(ike.shared_keys())) == (frozenset(), frozenset())
    ike._nss.look()
    assert [ike._nss.names(kind) for kind in (CA, PIN, OWN)] == [frozenset()] * 3


def test_a_refused_question_is_not_an_empty_answer(
    both: tuple[pluto.Pluto, pluto.Pluto], ike: Libreswan
):
    """A pluto that runs and cannot be asked: nothing is known of what it holds."""
    ike.open()
    ike.load(config(auth=Auth.PSK))
    assert ike.flush() == {}
    control = both[0].places.control
    hidden = control.rename(control.with_suffix(".hidden"))
    try:
        assert isinstance(ike.observe(), Unknown)
        time.sleep(FRESH_S)
        assert isinstance(ike.observe_sas(config().name), Unknown)
    finally:
        hidden.rename(control)
    assert seen(ike.observe()).conns == {config().name}


def test_what_cannot_be_written_was_not_loaded(
    both: tuple[pluto.Pluto, pluto.Pluto], ike: Libreswan
):
    """The pair is told, and loaded as soon as it can be; the same with its shared key."""
    ike.open()
    places = both[0].places
    for folder in (places.secrets.parent, places.folder):
        away = folder.rename(folder.with_suffix(".away")) if folder.exists() else None
        folder.write_text("no folder")
        try:
            ike.load(config(auth=Auth.PSK))
            assert "cannot be written" in ike.flush()[config().name]
        finally:
            folder.unlink()
            if away is not None:
                away.rename(folder)
    assert seen(ike.observe()).conns == frozenset()
    ike.load(config(auth=Auth.PSK))
    assert ike.flush() == {}
    assert seen(ike.observe()).conns == {config().name}
    assert places.secrets.stat().st_mode & 0o777 == 0o600
    assert (places.folder / "batch.conf").stat().st_mode & 0o777 == 0o600


def test_a_hung_daemon_is_left_in_time(both: tuple[pluto.Pluto, pluto.Pluto]):
    """The deadline holds, and the session is over."""
    backend = Libreswan(both[0].places, deadline_s=0.5)
    backend.open()
    both[0].freeze()
    try:
        began = time.monotonic()
        assert isinstance(backend.observe(), Unknown)
        assert time.monotonic() - began < stretched(3)
        assert not backend.connected
        assert backend.drain().lost
    finally:
        both[0].thaw()
    backend.open()
    backend.close()


def test_a_killed_daemon_is_noticed_and_its_successor_told_apart(
    both: tuple[pluto.Pluto, pluto.Pluto], ike: Libreswan
):
    """What was loaded is gone; keys are not, for they are in its database."""
    ike.open()
    ike.load(config(auth=Auth.PSK))
    ike.drain()
    before = seen(ike.observe()).since
    both[0].kill()
    assert select.select([ike.fileno()], [], [], WAIT_S)[0]
    assert ike.drain().lost
    assert not ike.connected
    with pytest.raises(IkeError):
        ike.open()
    both[0].start()
    ike.open()
    after = seen(ike.observe())
    assert after.since != before
    assert after.conns == frozenset()
