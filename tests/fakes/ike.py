# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D102 - test scaffolding: names and the protocol say it
"""An IKE daemon in memory: what it holds are plain dicts, and it fails on request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha1

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from controller.ike.backend import Events
from controller.plan.connection import (
    CHILDREN,
    SUITES,
    Abilities,
    ChildSa,
    ConnConfig,
    ConnName,
    DaemonSeen,
    IkeSa,
    established,
    gone,
    installed_children,
)
from controller.plan.credentials.credential import Credential, Secret
from controller.plan.credentials.suitability import unknown_critical
from ovn_ipsec.errors import IkeError
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.model.policy import Auth, Profile

ABLE = Abilities()


class FakeIke:
    """A daemon whose peers answer at once, unless ``answers`` or ``refuses`` say otherwise."""

    kind = "strongSwan"

    def __init__(self, *, running: bool = True, abilities: Abilities = ABLE) -> None:
        self.running = running
        self.abilities = abilities
        self.refused: dict[ConnName, str] = {}
        """What the next flush says."""
        self.starts = 1
        self.version = "5.9.8"
        self.profiles = frozenset(Profile) - {Profile.PQ}
        self.conns: dict[ConnName, ConnConfig] = {}
        self.traps: dict[tuple[ConnName, str], ConnConfig] = {}
        self.sas: dict[int, IkeSa] = {}
        self.made_from: dict[int, ConnConfig] = {}
        self.loaded_keys: dict[str, bytes] = {}
        self.loaded_shared: dict[str, bytes] = {}
        self.loaded_crls: list[x509.CertificateRevocationList] = []
        self.shown: dict[str, tuple[bytes, ...]] = {}
        """Certificates that peers have shown, by identity."""
        self.ocsp: tuple[tuple[bytes, ...], str] = ((), "")
        self.fetches = True
        self.calls: list[tuple[object, ...]] = []
        self.answers = True
        """Whether peers answer; else an attempt stays CONNECTING."""
        self.refuses: dict[ConnName, str] = {}
        """Connections whose attempts fail, and the daemon's words."""
        self.unreadable: dict[ConnName, str] = {}
        """Connections that have an SA which is not as it must be, and why."""
        self.next_id = 1
        self.clock = 0.0
        self.born: dict[int, float] = {}
        """When CHILD_SAs came, by their ids."""
        self._connected = False
        self._failures: dict[str, list[Exception]] = defaultdict(list)
        self._touched: set[ConnName] = set()
        self._said: dict[ConnName, str] = {}
        self._lost = False

    # What tests do to it.

    def fail_next(self, op: str, error: Exception | None = None) -> None:
        """Make the next call of that name fail; an IkeError leaves the session up."""
        self._failures[op].append(error or IkeError(f"{op}: made to fail"))

    def crash(self) -> None:
        """Kill it: it forgets everything, and the kernel nothing."""
        self.stop()

    def stop(self) -> None:
        """End it."""
        self.running = False
        self._drop_session()
        for held in (self.conns, self.traps, self.sas, self.made_from, self.loaded_keys):
            held.clear()
        self.loaded_shared.clear()
        self.loaded_crls.clear()
        self.ocsp = ((), "")

    def start(self) -> None:
        """Start it again, empty."""
        self.running = True
        self.starts += 1

    def disconnect(self) -> None:
        """Cut the sessions; the daemon lives on."""
        self._drop_session()

    def lose_events(self) -> None:
        """Say next that events were lost, and none of them."""
        self._touched, self._lost = set(), True

    def put(self, sa: IkeSa, made_from: ConnConfig | None = None) -> IkeSa:
        """Let it hold an IKE_SA, as if a peer had initiated it."""
        self.next_id = max(self.next_id, sa.id + 1, *(child.id + 1 for child in sa.children), 1)
        self.sas[sa.id] = sa
        config = made_from or self.conns.get(sa.conn)
        if config is not None:
            self.made_from.setdefault(sa.id, _one_way(config, sa.auth))
        self.touch(sa.conn)
        return sa

    def drop(self, ike_id: int) -> None:
        """Let an IKE_SA go, as if its peer had deleted it."""
        sa = self.sas.pop(ike_id)
        self.made_from.pop(ike_id, None)
        self.touch(sa.conn)

    def touch(self, conn: ConnName) -> None:
        """Raise an event."""
        self._touched.add(conn)

    def say(self, conn: ConnName, text: str) -> None:
        """Let it give a reason for a failure."""
        self._said[conn] = text

    def up(self, name: ConnName) -> frozenset[str]:
        """Name the children of a connection that carry traffic."""
        found = (installed_children(sa) for sa in self.sas.values() if sa.conn == name)
        return frozenset().union(*found)

    # What the loop calls.

    @property
    def connected(self) -> bool:
        return self._connected

    def open(self) -> None:
        self._record("open")
        self._fail("open")
        if not self.running:
            raise IkeError("cannot reach the IKE daemon: it is not running")
        if not self._connected:
            self._connected = self._lost = True

    def close(self) -> None:
        self._connected = False

    def observe(self) -> Known[DaemonSeen] | Unknown:
        try:
            self._enter("observe")
        except IkeError as error:
            return Unknown(str(error))
        return Known(
            DaemonSeen(
                since=self._since,
                version=self.version,
                conns=frozenset(self.conns),
                sas=self._seen(),
                traps=frozenset(self.traps),
                profiles=self.profiles,
                unreadable=dict(self.unreadable),
            )
        )

    def observe_sas(self, conn: ConnName) -> Known[tuple[IkeSa, ...]] | Unknown:
        try:
            self._enter("observe_sas", conn)
        except IkeError as error:
            return Unknown(str(error))
        if conn in self.unreadable:
            return Unknown(self.unreadable[conn])
        return Known(self._seen().get(conn, ()))

    def load(self, conn: ConnConfig) -> None:
        self._enter("load", conn.name)
        self.conns[conn.name] = conn
        keys = (key for proof in conn.proofs for key in proof.keys)
        self.loaded_shared.update((key.id, key.value.reveal()) for key in keys)

    def unload(self, name: ConnName) -> None:
        self._enter("unload", name)
        self.conns.pop(name, None)

    def install(self, name: ConnName, child: str) -> None:
        self._enter("install", name, child)
        self.traps[name, child] = self._loaded(name, child)

    def uninstall(self, name: ConnName, child: str) -> None:
        self._enter("uninstall", name, child)
        self.traps.pop((name, child), None)

    def initiate(self, name: ConnName, child: str) -> None:
        self._enter("initiate", name, child)
        config = self._loaded(name, child)
        if name in self.refuses:
            self.say(name, self.refuses[name])
            return
        mine = [sa for sa in self.sas.values() if sa.conn == name]
        wanted = _one_way(config, config.proofs[0].auth)
        mine = [sa for sa in mine if self.made_from.get(sa.id) == wanted]
        if any(sa.state == "CONNECTING" for sa in mine):
            return
        sa = next((sa for sa in reversed(mine) if established(sa)), None) or self._new_sa(config)
        if self.answers and child not in installed_children(sa):
            sa = replace(sa, children=(*sa.children, self._new_child(config, child)))
        self.sas[sa.id] = sa
        self.touch(name)

    def terminate_ike(self, ike_id: int, *, force: bool = False) -> None:
        self._enter("terminate_ike", ike_id, force)
        if ike_id in self.sas:
            self.drop(ike_id)

    def terminate_child(self, child_id: int) -> None:
        self._enter("terminate_child", child_id)
        for sa in list(self.sas.values()):
            kept = tuple(child for child in sa.children if child.id != child_id)
            if kept != sa.children:
                self.sas[sa.id] = replace(sa, children=kept)
                self.touch(sa.conn)

    def rekey_child(self, child_id: int) -> None:
        self._enter("rekey_child", child_id)
        for sa in list(self.sas.values()):
            for child in sa.children:
                if child.id == child_id and not gone(child):
                    fresh = replace(child, **self._fresh_child())
                    kept = (one for one in sa.children if one.id != child_id)
                    self.sas[sa.id] = replace(sa, children=(*kept, fresh))
                    self.touch(sa.conn)

    def try_credential(self, credential: Credential) -> None:
        self._enter("try_credential", credential.fingerprint)
        shown = (credential.certificate_der, *credential.chain_der, *credential.ca_der)
        for der in shown:
            if cause := unknown_critical(x509.load_der_x509_certificate(der)):
                raise IkeError(f"refuses the certificate {credential.subject}: it {cause}")

    def load_key(self, key: Secret) -> str:
        self._enter("load_key")
        key_id = self.key_id(key)
        self.loaded_keys[key_id] = key.reveal()
        return key_id

    @staticmethod
    def key_id(key: Secret) -> str:
        """Give the id of a key: the daemon's own if it is a key, else a digest of the bytes."""
        try:
            private = serialization.load_der_private_key(key.reveal(), None)
        except ValueError:
            return sha1(key.reveal(), usedforsecurity=False).hexdigest()
        return x509.SubjectKeyIdentifier.from_public_key(
            private.public_key()  # type: ignore[arg-type]
        ).digest.hex()

    def keys(self) -> Known[frozenset[str]] | Unknown:
        try:
            self._enter("keys")
        except IkeError as error:
            return Unknown(str(error))
        return Known(frozenset(self.loaded_keys))

    def unload_key(self, key_id: str) -> None:
        self._enter("unload_key", key_id)
        self.loaded_keys.pop(key_id, None)

    def shared_keys(self) -> Known[frozenset[str]] | Unknown:
        try:
            self._enter("shared_keys")
        except IkeError as error:
            return Unknown(str(error))
        return Known(frozenset(self.loaded_shared))

    def certificates(self, identity: str) -> Known[tuple[bytes, ...]] | Unknown:
        try:
            self._enter("certificates", identity)
        except IkeError as error:
            return Unknown(str(error))
        return Known(self.shown.get(identity, ()))

    def load_crl(self, der: bytes) -> None:
        self._enter("load_crl")
        self.loaded_crls.append(x509.load_der_x509_crl(der))

    def set_ocsp(self, authorities: tuple[bytes, ...], uri: str) -> None:
        self._enter("set_ocsp")
        self.ocsp = (authorities if uri else (), uri)

    def unload_shared(self, key_id: str) -> None:
        self._enter("unload_shared", key_id)
        self.loaded_shared.pop(key_id, None)

    def flush(self) -> dict[ConnName, str]:
        refused, self.refused = self.refused, {}
        return refused

    def wake_at(self) -> float | None:
        return None

    def fileno(self) -> int:
        return -1

    def drain(self) -> Events:
        events = Events(
            conns=frozenset(self._touched),
            lost=self._lost,
            messages=tuple(sorted(self._said.items())),
        )
        self._touched, self._said, self._lost = set(), {}, False
        return events

    # Inside.

    @property
    def _since(self) -> str:
        return f"start {self.starts}"

    def _drop_session(self) -> None:
        self._lost = self._lost or self._connected
        self._connected = False

    def _record(self, *call: object) -> None:
        self.calls.append(call)

    def _fail(self, op: str) -> None:
        if self._failures[op]:
            raise self._failures[op].pop(0)

    def _enter(self, *call: object) -> None:
        self._record(*call)
        if not self._connected:
            raise IkeError("not connected to the IKE daemon")
        self._fail(str(call[0]))

    def _loaded(self, name: ConnName, child: str) -> ConnConfig:
        if name not in self.conns or child not in CHILDREN:
            raise IkeError(f"{name}: configuration name not found")
        return self.conns[name]

    def _take_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def _new_sa(self, config: ConnConfig) -> IkeSa:
        number = self._take_id()
        self.made_from[number] = _one_way(config, config.proofs[0].auth)
        return IkeSa(
            conn=config.name,
            id=number,
            state="ESTABLISHED" if self.answers else "CONNECTING",
            initiator=True,
            initiator_spi=0x1000 + number,
            remote_id=config.remote_id if self.answers else "",
            local_spi=0x1000 + number,
            remote_spi=0x2000 + number if self.answers else 0,
            suite=_suite(config) if self.answers else "",
            auth=config.proofs[0].auth,
        )

    def _fresh_child(self) -> dict[str, int]:
        number = self._take_id()
        return {"id": number, "spi_in": 0xC000_0000 + number, "spi_out": 0xD000_0000 + number}

    def _new_child(self, config: ConnConfig, name: str) -> ChildSa:
        reqid = config.reqid_out if name == "out" else config.reqid_in
        fresh = self._fresh_child()
        return ChildSa(
            name=name,
            id=fresh["id"],
            state="INSTALLED",
            reqid=reqid,
            spi_in=fresh["spi_in"],
            spi_out=fresh["spi_out"],
        )

    def _seen(self) -> Mapping[ConnName, tuple[IkeSa, ...]]:
        found: dict[ConnName, tuple[IkeSa, ...]] = {}
        for _, sa in sorted(self.sas.items()):
            kept = tuple(
                replace(
                    child, install_s=int(self.clock - self.born.setdefault(child.id, self.clock))
                )
                for child in sa.children
                if not gone(child)
            )
            found[sa.conn] = (*found.get(sa.conn, ()), replace(sa, children=kept))
        return {conn: sas for conn, sas in found.items() if conn not in self.unreadable}


_SUITES = {
    Profile.DEFAULT: "AES_GCM_16-256/PRF_HMAC_SHA2_256/CURVE_25519",
    Profile.CHACHA20: "CHACHA20_POLY1305-256/PRF_HMAC_SHA2_256/CURVE_25519",
    Profile.AES256_SHA256: "AES_CBC-256/PRF_HMAC_SHA2_256/CURVE_25519",
    Profile.CNSA: "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384",
    Profile.PQ: "AES_GCM_16-256/PRF_HMAC_SHA2_384/CURVE_25519/ML_KEM_768",
}


def _one_way(config: ConnConfig, auth: Auth) -> ConnConfig:
    """What the daemon holds of a connection for one way: it finds an IKE_SA of an equal one."""
    kept = (replace(proof, keys=proof.keys[:1]) for proof in config.proofs if proof.auth is auth)
    return replace(config, proofs=tuple(kept))


def _suite(config: ConnConfig) -> str:
    """What charon shows of an IKE_SA, for the proposals that a profile makes."""
    found = (_SUITES[p] for p, suite in SUITES.items() if suite.ike == config.ike_proposals)
    return next(found, "")
