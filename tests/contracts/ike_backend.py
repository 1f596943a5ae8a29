# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ANN202, ANN204 - test scaffolding: names and the protocol say it
"""What every IkeBackend must do, and the certificates that a daemon needs for it.

A suite derives from IkeBackendContract and gives the fixture ``ike``: a backend, not open yet,
whose daemon runs and holds nothing. The peer at PEER_IP need not answer.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from functools import cache
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from controller.ike.backend import IkeBackend
from controller.plan.connection import ConnConfig, ConnName, conn_name
from controller.plan.credentials.certificate import describe
from controller.plan.credentials.credential import Secret
from controller.plan.credentials.proof import LocalCredentials, Proof, proofs
from ovn_ipsec.clock import utc_now
from ovn_ipsec.errors import IkeError
from ovn_ipsec.model.chassis import ChassisName, EncapType, Pair
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.policy import Auth, Profile, Tuning
from ovn_ipsec.pki.profile import self_signed

LOCAL_IP, PEER_IP = "10.9.0.1", "10.9.0.2"
SILENT_IP = "10.9.0.99"
NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a key, quickly."""
    return ec.generate_private_key(ec.SECP256R1())


class Authority:
    """A certificate authority in memory."""

    def __init__(self, name: str = "lab CA", *, ca: bool = True, now=None, days: int = 3650):
        self.lists = 0
        """How many it has made; the daemon takes the one with the highest number."""
        self.key = new_key()
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key, now, days, None, ca=ca)

    def revoked(self, *certificates: x509.Certificate, now=None, days: int = 30) -> bytes:
        """Give a list of what it has revoked, DER."""
        now = now or utc_now()
        self.lists += 1
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(now - DAY).next_update(now + days * DAY)
        builder = builder.add_extension(x509.CRLNumber(self.lists), critical=False)
        # The daemon finds a list by this.
        keyid = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(keyid, critical=False)
        for certificate in certificates:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(now - DAY).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def issue(self, name: str, *, key=None, now=None, days: int = 30, san=...):
        """Sign a certificate; gives it and its key."""
        key = key or new_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        names = [name] if san is ... else san
        return self._sign(subject, key, now, days, names, ca=False), key

    def _sign(self, subject, key, now, days, names, *, ca):
        now = now or utc_now()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + days * DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(san, critical=False)
        digest = None if isinstance(self.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        return builder.sign(self.key, digest)


@cache
def lab() -> Authority:
    """Give the authority that the tests share."""
    return Authority()


def der(certificate: x509.Certificate) -> bytes:
    """Encode a certificate."""
    return certificate.public_bytes(Encoding.DER)


def secret(key, encoding: Encoding = Encoding.DER) -> Secret:
    """Wrap a key as the controller does."""
    return Secret(key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption()))


def key_id(key) -> str:
    """Give the daemon's id of a key."""
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()


@cache
def identity(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Give the certificate and key of a chassis, the same each time."""
    return lab().issue(name)


def config(
    local: str = "chA",
    peer: str = "chB",
    addresses: tuple[str, str] = (LOCAL_IP, PEER_IP),
    reqids: tuple[int, int] = (1, 2),
    auth: Auth = Auth.CA,
) -> ConnConfig:
    """Make a connection."""
    pair = Pair(
        peer=ChassisName(peer),
        type=EncapType.GENEVE,
        local=ip_address(addresses[0]),
        remote=ip_address(addresses[1]),
        out_port=6081,
        in_port=6081,
    )
    return ConnConfig(
        name=conn_name(pair),
        pair=pair,
        local_id=ChassisName(local),
        remote_id=ChassisName(peer),
        reqid_out=reqids[0],
        reqid_in=reqids[1],
        tuning=Tuning(),
        proofs=ways(local, peer, auth),
    )


SECRET, OTHER_SECRET = Secret(b"the secret of the lab's cluster"), Secret(b"another secret of it")


@cache
def pin(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Give the certificate that a chassis has made itself, and its key, the same each time."""
    key = new_key()
    pem = self_signed(key, ChassisName(name), 30 * DAY, utc_now())
    return x509.load_pem_x509_certificate(pem.encode()), key


def ways(
    local: str,
    peer: str,
    *auths: Auth,
    secrets: tuple[Secret, ...] = (SECRET,),
    **credentials: object,
) -> tuple[Proof, ...]:
    """Say how two chassis authenticate, the way in use first."""
    own = LocalCredentials(
        ca=describe("lab", identity(local)[0], [lab().certificate]),
        pinned=describe("lab", pin(local)[0], []),
        secrets=secrets,
    )
    own = replace(own, **credentials)  # type: ignore[arg-type]
    return proofs(own, auths, ChassisName(local), ChassisName(peer), (der(pin(peer)[0]),))


def seen(observation):
    """Unwrap what must be known."""
    assert isinstance(observation, Known), observation
    return observation.value


NOBODY = ConnName("ovn-nobody@10.9.9.9%10.9.0.1")


def peer_config(**changes: object) -> ConnConfig:
    """The connection of the other end."""
    return replace(config("chB", "chA", (PEER_IP, LOCAL_IP)), **changes)  # type: ignore[arg-type]


class IkeBackendContract:
    """The suite."""

    @pytest.fixture
    def opened(self, ike: IkeBackend):
        """Give an open backend."""
        ike.open()
        yield ike
        ike.close()

    def trap(self, ike: IkeBackend, name: ConnName, *children: str) -> frozenset[object]:
        """Install traps and give what is to be seen of them; who has none refuses, and lives on."""
        for child in children:
            if ike.abilities.traps:
                ike.install(name, child)
            else:
                with pytest.raises(IkeError):
                    ike.install(name, child)
        return frozenset((name, child) for child in children if ike.abilities.traps)

    def test_before_it_is_open_everything_is_unknown(self, ike: IkeBackend):
        """Unknown, not empty; and a command says so."""
        assert not ike.connected
        assert ike.fileno() == -1
        for observation in (
            ike.observe(),
            ike.observe_sas(NOBODY),
            ike.keys(),
            ike.shared_keys(),
        ):
            assert isinstance(observation, Unknown)
        with pytest.raises(IkeError):
            ike.load(config())

    def test_a_new_daemon_holds_nothing(self, opened: IkeBackend):
        """Everything of ours is empty, and it says who it is."""
        opened.open()
        found = seen(opened.observe())
        assert (found.conns, found.sas, found.traps) == (frozenset(), {}, frozenset())
        assert found.since
        assert found.version
        assert Profile.DEFAULT in found.profiles
        assert seen(opened.observe()).since == found.since
        assert seen(opened.keys()) == frozenset()

    def test_what_was_missed_before_it_opened_is_said_once(self, opened: IkeBackend):
        """The first drain says that all must be looked at; the next has nothing."""
        assert opened.drain().lost
        assert not opened.drain().lost

    def test_a_loaded_connection_is_seen_until_it_is_unloaded(self, opened: IkeBackend):
        """Twice is no error, either way."""
        conn = config()
        opened.load(conn)
        opened.load(conn)
        assert seen(opened.observe()).conns == {conn.name}
        opened.unload(conn.name)
        opened.unload(conn.name)
        assert seen(opened.observe()).conns == frozenset()

    def test_the_longest_name_and_ipv6_are_taken(self, opened: IkeBackend):
        """A name of 253 characters and the longest addresses there are."""
        far = "fd00:1111:2222:3333:4444:5555:6666:777"
        conn = config(peer="c" * 253, addresses=(far + "1", far + "2"))
        opened.load(conn)
        traps = self.trap(opened, conn.name, "out")
        found = seen(opened.observe())
        assert found.conns == {conn.name}
        assert found.traps == traps
        opened.uninstall(conn.name, "out")

    def test_a_connection_is_replaced_under_its_traps(self, opened: IkeBackend):
        """Loading changes no trap, and installing again is no error."""
        conn = config()
        opened.load(conn)
        both = self.trap(opened, conn.name, "out", "in")
        tuning = Tuning(
            force_encapsulation=True,
            replay_window=0,
            dpd_delay_s=7,
            dpd_timeout_s=20,
            esp_lifetime_s=60,
            ike_lifetime_s=300,
        )
        opened.load(replace(conn, tuning=tuning))
        found = seen(opened.observe())
        assert (found.conns, found.traps) == ({conn.name}, both)
        self.trap(opened, conn.name, "out")
        assert seen(opened.observe()).traps == both
        for child in ("out", "in"):
            opened.uninstall(conn.name, child)

    def test_traps_outlive_their_connection_and_can_be_removed(self, opened: IkeBackend):
        """Unloading leaves them; removing them twice is no error."""
        conn = config()
        opened.load(conn)
        traps = self.trap(opened, conn.name, "out")
        opened.unload(conn.name)
        assert seen(opened.observe()).traps == traps
        opened.uninstall(conn.name, "out")
        opened.uninstall(conn.name, "out")
        assert seen(opened.observe()).traps == frozenset()

    def test_what_is_not_loaded_cannot_be_installed_or_initiated(self, opened: IkeBackend):
        """The session survives the refusal."""
        with pytest.raises(IkeError):
            opened.install(NOBODY, "out")
        with pytest.raises(IkeError):
            opened.initiate(NOBODY, "out")
        assert opened.connected

    def test_what_is_gone_is_no_error(self, opened: IkeBackend):
        """Somebody else, or the peer, was faster."""
        opened.uninstall(NOBODY, "out")
        opened.terminate_ike(4711)
        opened.terminate_ike(4711, force=True)
        opened.terminate_child(4711)
        opened.rekey_child(4711)
        opened.unload_key("00" * 20)
        assert seen(opened.observe_sas(NOBODY)) == ()

    def test_a_key_is_known_by_the_hash_of_its_public_half(self, opened: IkeBackend):
        """As cryptography computes it; twice is no error."""
        key = new_key()
        assert opened.load_key(secret(key)) == key_id(key)
        assert opened.load_key(secret(key)) == key_id(key)
        assert seen(opened.keys()) == {key_id(key)}
        opened.unload_key(key_id(key))
        assert seen(opened.keys()) == frozenset()

    def test_a_credential_is_tried_without_a_trace(self, opened: IkeBackend):
        """A good one of either kind, with or without its key; what it does not know it refuses."""
        good = describe("lab", identity("chA")[0], [lab().certificate])
        for _ in range(2):
            opened.try_credential(good)
        opened.try_credential(describe("lab", pin("chA")[0], []))
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        own = lab()
        builder = x509.CertificateBuilder().subject_name(own.name).issuer_name(own.name)
        builder = builder.public_key(own.key.public_key()).serial_number(7)
        builder = builder.not_valid_before(utc_now() - DAY).not_valid_after(utc_now() + DAY)
        builder = builder.add_extension(unknown, critical=True)
        bad = builder.sign(own.key, hashes.SHA256())
        for parts in (
            (bad, [own.certificate], []),
            (identity("chA")[0], [own.certificate, bad], []),
            (identity("chA")[0], [own.certificate], [bad]),
        ):
            with pytest.raises(IkeError, match="refuses the certificate"):
                opened.try_credential(describe("lab", *parts))
        assert opened.connected
        assert seen(opened.observe()).conns == frozenset()

    def test_each_way_to_authenticate_is_one_connection(self, opened: IkeBackend):
        """However many there are and whichever is first; with its traps, until it is unloaded."""
        conn = config()
        both: frozenset[object] = frozenset()
        for auths in (
            (Auth.CA, Auth.PSK),
            (Auth.PSK, Auth.CA),
            (Auth.PSK,),
            (Auth.PSK, Auth.PINNED),
            (Auth.PINNED, Auth.PSK),
            (Auth.PINNED,),
        ):
            opened.load(replace(conn, proofs=ways("chA", "chB", *auths)))
            both = self.trap(opened, conn.name, "out", "in")
            found = seen(opened.observe())
            assert (found.conns, found.traps) == ({conn.name}, both)
        opened.unload(conn.name)
        found = seen(opened.observe())
        assert (found.conns, found.traps) == (frozenset(), both)
        for child in ("out", "in"):
            opened.uninstall(conn.name, child)
        assert seen(opened.observe()).traps == frozenset()
        self.forget_shared(opened)

    def forget_shared(self, ike: IkeBackend) -> None:
        """Take away all shared keys."""
        for key_id in seen(ike.shared_keys()):
            ike.unload_shared(key_id)
        assert seen(ike.shared_keys()) == frozenset()

    def test_a_shared_key_comes_with_its_connection(self, opened: IkeBackend):
        """Under its id, until it is taken away; twice is no error, either way."""
        conn = config(auth=Auth.PSK)
        (proof,) = conn.proofs
        opened.load(conn)
        opened.load(conn)
        assert seen(opened.shared_keys()) == {proof.keys[0].id}
        (changed,) = ways("chA", "chB", Auth.PSK, secrets=(OTHER_SECRET, SECRET))
        opened.load(replace(conn, proofs=(changed,)))
        assert seen(opened.shared_keys()) == {key.id for key in changed.keys}
        opened.unload_shared(proof.keys[0].id)
        opened.unload_shared(proof.keys[0].id)
        assert seen(opened.shared_keys()) == {changed.keys[0].id}
        self.forget_shared(opened)

    def test_nobody_has_shown_a_certificate(self, opened: IkeBackend):
        """Then there is none in that name, and it is no error; who tells none knows of none."""
        found = opened.certificates("chZ")
        assert found == Known(()) if opened.abilities.shown else isinstance(found, Unknown)

    def test_a_list_of_revoked_certificates_is_taken(self, opened: IkeBackend):
        """Twice is no error; who takes none says so."""
        crl = Authority("another").revoked(identity("chA")[0])
        for _ in range(2):
            if opened.abilities.revocation:
                opened.load_crl(crl)
            else:
                with pytest.raises(IkeError):
                    opened.load_crl(crl)
        assert opened.connected

    def test_it_is_told_whom_to_ask(self, opened: IkeBackend):
        """Twice is no error, another replaces it, and nobody may be asked again."""
        authorities = tuple(der(Authority(name).certificate) for name in ("one", "other"))
        if not opened.abilities.revocation:
            with pytest.raises(IkeError):
                opened.set_ocsp(authorities, "http://10.9.0.9/ocsp")
            opened.set_ocsp((), "")
            return
        for _ in range(2):
            opened.set_ocsp(authorities, "http://10.9.0.9/ocsp")
        opened.set_ocsp(authorities[:1], "http://10.9.0.9:8080/")
        opened.set_ocsp((), "")
        assert opened.fetches is True

    def test_after_close_everything_is_unknown_again(self, opened: IkeBackend):
        """What the daemon holds stays."""
        conn = config()
        opened.load(conn)
        opened.close()
        assert isinstance(opened.observe(), Unknown)
        assert not opened.connected
        opened.open()
        assert seen(opened.observe()).conns == {conn.name}

    def test_an_attempt_is_seen_at_once(self, opened: IkeBackend):
        """Initiating does not wait; the IKE_SA is listed, and can be dropped."""
        conn = config(addresses=(LOCAL_IP, SILENT_IP))
        opened.load_key(secret(identity("chA")[1]))
        opened.load(conn)
        opened.initiate(conn.name, "out")
        found = self.wait_for_sa(opened, conn.name)
        assert (found.conn, found.initiator) == (conn.name, True)
        assert seen(opened.observe()).sas[conn.name][0].id == found.id
        opened.terminate_ike(found.id, force=True)
        self.wait_until_gone(opened, conn.name)

    def wait_for_sa(self, ike: IkeBackend, name: ConnName):
        """Give the first IKE_SA of a connection."""
        return seen(ike.observe_sas(name))[0]

    def wait_until_gone(self, ike: IkeBackend, name: ConnName) -> None:
        """Come back when a connection has no IKE_SA."""
        assert seen(ike.observe_sas(name)) == ()
