# SPDX-License-Identifier: Apache-2.0
"""The vici edge against a daemon that answers what it should not, or not at all."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from vici.protocol import Message, Packet

from controller.ike import messages, transport
from controller.ike.backend import IkeBackend
from controller.ike.strongswan import EVENTS, STREAMED, StrongSwan
from controller.ike.transport import RefusedError, ViciSession
from controller.plan.credentials.credential import Secret
from ovn_ipsec.errors import IkeError
from ovn_ipsec.model.observation import Unknown
from tests.contracts.ike_backend import config, seen

NAME = config().name
STATS = {
    "uptime": {"running": "5 minutes", "since": "Nov 23 11:32:59 2026"},
    "workers": {"total": "16", "idle": "11", "active": {"critical": "4"}},
    "queues": {"critical": "0", "high": "1", "medium": "2", "low": "0"},
    "ikesas": {"total": "3", "half-open": "1"},
    "plugins": ["x509", "curl"],
}


def framed(packet: bytes) -> bytes:
    return struct.pack("!I", len(packet)) + packet


def answer(message: dict[str, object] | None = None) -> bytes:
    return framed(bytes([Packet.CMD_RESPONSE]) + Message.serialize(message or {}))


def event(name: str, message: dict[str, object]) -> bytes:
    body = Message.serialize(message)
    return framed(bytes([Packet.EVENT, len(name)]) + name.encode() + body)


CONFIRM = framed(bytes([Packet.EVENT_CONFIRM]))


class Daemon:
    """The far ends of the sockets that a backend connects, in order."""

    def __init__(self) -> None:
        self.near: list[socket.socket] = []
        self.far: list[socket.socket] = []
        for _ in range(2):
            near, far = socket.socketpair()
            self.near.append(near)
            self.far.append(far)
        self.waiting = list(self.near)

    def connect(self, _deadline_s: float) -> socket.socket:
        """Hand out the next socket."""
        if not self.waiting:
            raise ConnectionRefusedError("nobody listens")
        return self.waiting.pop(0)

    def close(self) -> None:
        """Close both ends of all."""
        for sock in (*self.near, *self.far):
            sock.close()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    made = Daemon()
    yield made
    made.close()


@pytest.fixture
def session(daemon: Daemon) -> ViciSession:
    made = ViciSession(daemon.connect, 0.05)
    made.open()
    return made


@pytest.fixture
def backend(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> StrongSwan:
    """Give an open backend; its event session is far[0], its command session far[1]."""
    made = StrongSwan("unix:///nowhere", deadline_s=0.05)
    monkeypatch.setattr(made, "_connect", daemon.connect)
    monkeypatch.setattr(made._events, "_connect", daemon.connect)
    monkeypatch.setattr(made._commands, "_connect", daemon.connect)
    daemon.far[0].sendall(CONFIRM * len(EVENTS))
    opening = answer({"version": "5.9.8"}) + answer({"aead": {"AES_GCM_16": "openssl"}})
    daemon.far[1].sendall(CONFIRM * len(STREAMED) + opening + answer(STATS))
    made.open()
    assert made.drain().lost
    return made


def test_it_is_a_backend():
    """Mypy checks the same where it is used."""
    made: IkeBackend = StrongSwan()
    assert not made.connected


@pytest.mark.parametrize("uri", ["", "/run/charon.vici", "tcp://127.0.0.1:4502", "unix://run"])
def test_only_an_absolute_unix_socket_is_taken(uri: str):
    """Nothing else is guessed."""
    with pytest.raises(IkeError, match="unix:///path"):
        StrongSwan(uri)


BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "half a header": b"\0\0",
    "half a packet": b"\0\0\0\x10\x01",
    "a giant": b"\xff\xff\xff\xff",
    "an empty packet": framed(b""),
    "another answer": CONFIRM,
    "an unclosed section": framed(bytes([Packet.CMD_RESPONSE, 1, 1]) + b"x"),
    "a section too few": framed(bytes([Packet.CMD_RESPONSE, 2])),
    "a cut value": framed(bytes([Packet.CMD_RESPONSE, 3, 1]) + b"x\0"),
    "a name that is no text": framed(bytes([Packet.CMD_RESPONSE, 1, 1, 255])),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("ends", [True, False], ids=["then ends", "then hangs"])
def test_a_broken_answer_ends_the_session(
    session: ViciSession, daemon: Daemon, data: bytes, ends: bool
):
    """In time, whether the daemon hangs in the middle or goes away."""
    daemon.far[0].sendall(data)
    if ends:
        daemon.far[0].shutdown(socket.SHUT_WR)
    with pytest.raises(IkeError):
        session.call("version")
    assert not session.is_open
    with pytest.raises(IkeError, match="not connected"):
        session.call("version")


def test_a_daemon_that_reads_nothing_is_left_in_time(session: ViciSession):
    """A request longer than the socket's buffer does not hang either."""
    message = {str(number): "x" * 60_000 for number in range(100)}
    with pytest.raises(IkeError, match="did not answer"):
        session.call("load-conn", message)


def test_a_refusal_keeps_the_session(session: ViciSession, daemon: Daemon):
    """Its words are shown without control characters."""
    daemon.far[0].sendall(answer({"success": "no", "errmsg": "no\n\x1b such"}))
    with pytest.raises(RefusedError, match=r"install: no\?\? such"):
        session.call("install")
    daemon.far[0].sendall(framed(bytes([Packet.CMD_UNKNOWN])))
    with pytest.raises(RefusedError, match="no command"):
        session.call("fly")
    daemon.far[0].sendall(framed(bytes([Packet.EVENT_UNKNOWN])))
    with pytest.raises(RefusedError, match="no event"):
        session.register("flown")
    assert session.is_open


def test_what_vici_cannot_carry_is_not_sent(session: ViciSession):
    """And is not in the error."""
    for message in ({"data": b"secret" * 20_000}, {"k" * 256: "secret"}):
        with pytest.raises(RefusedError) as caught:
            session.call("load-key", message)
        assert "secret" not in str(caught.value)
    assert session.is_open


def test_events_before_the_answer_are_collected(session: ViciSession, daemon: Daemon):
    """In their order."""
    items = [event("list-sa", {NAME: {"uniqueid": str(number)}}) for number in (1, 2)]
    daemon.far[0].sendall(b"".join(items) + answer())
    found = session.stream("list-sas")[1]
    assert [item[NAME]["uniqueid"] for item in found] == [b"1", b"2"]  # type: ignore[index]


def test_a_session_that_nobody_answers_is_an_error(session: ViciSession):
    """The daemon is not there."""
    other = ViciSession(Daemon.connect.__get__(type("Gone", (), {"waiting": []})()), 0.05)
    with pytest.raises(IkeError, match="cannot reach"):
        other.open()
    assert other.fileno() == -1
    assert other.drain() == ([], False)
    assert session.peer_pid() > 0


def test_a_backend_without_a_daemon_stays_closed():
    """Both sessions or none."""
    made = StrongSwan("unix:///nowhere", deadline_s=0.05)

    def refuse(_deadline_s: float) -> socket.socket:
        raise FileNotFoundError("no such file")

    made._events._connect = refuse
    with pytest.raises(IkeError, match="no such file"):
        made.open()
    assert not made.connected
    assert not made.drain().lost


def test_stats_are_parsed(backend: StrongSwan):
    """The start is told apart by the process too."""
    assert backend._since.startswith("Nov 23 11:32:59 2026 pid ")
    assert backend.fetches is True


def test_whom_to_ask_is_changed_by_what_differs(backend: StrongSwan, daemon: Daemon):
    """What is there stays, somebody else's too, and what is not wanted any more goes."""
    kept, added = messages.ocsp([b"one", b"new"], "http://a/")
    held = {"authorities": ["theirs", kept, "ovn-ocsp-old"]}
    daemon.far[1].recv(65_536)
    daemon.far[1].sendall(answer(held) + answer() * 2)
    backend.set_ocsp((b"one", b"new"), "http://a/")
    sent = daemon.far[1].recv(65_536)
    assert [sent.count(name.encode()) for name in (kept, added, "ovn-ocsp-old", "theirs")] == [
        0, 1, 1, 0,
    ]  # fmt: skip


def test_gone_is_no_error_but_other_refusals_are(backend: StrongSwan, daemon: Daemon):
    """Only the daemon's words tell them apart."""
    daemon.far[1].sendall(answer({"success": "no", "errmsg": "policy 'out' not found"}))
    backend.uninstall(NAME, "out")
    daemon.far[1].sendall(answer({"success": "no", "errmsg": "out of memory"}))
    with pytest.raises(IkeError, match="out of memory"):
        backend.uninstall(NAME, "out")
    assert backend.connected


@pytest.mark.parametrize(
    "look", [StrongSwan.observe, StrongSwan.keys, lambda b: b.observe_sas(NAME)]
)
def test_a_look_that_fails_is_unknown(backend: StrongSwan, look: Callable[[StrongSwan], object]):
    """Never empty; and the sessions are over."""
    assert isinstance(look(backend), Unknown)
    assert not backend.connected


def test_an_sa_that_cannot_be_read_costs_only_its_connection(backend: StrongSwan, daemon: Daemon):
    """The sessions stay, nothing is concluded about it, and the other connection is read."""
    other = config(peer="chC").name
    whole = {"uniqueid": "7", "state": "ESTABLISHED", "initiator-spi": "1"}
    listed = event("list-sa", {NAME: {"uniqueid": "x"}}) + event("list-sa", {other: whole})
    daemon.far[1].sendall(answer({"conns": [NAME]}) + answer() + listed + answer())
    found = seen(backend.observe())
    assert [NAME] == list(found.unreadable)
    assert [other] == list(found.sas)
    daemon.far[1].sendall(event("list-sa", {NAME: {"uniqueid": "x"}}) + answer())
    assert isinstance(backend.observe_sas(NAME), Unknown)
    daemon.far[1].sendall(event("list-sa", {other: whole}) + answer())
    assert [7] == [sa.id for sa in seen(backend.observe_sas(other))]
    assert backend.connected


def test_initiating_never_waits(backend: StrongSwan, daemon: Daemon):
    """The timeout is on the wire."""
    daemon.far[1].recv(65_536)
    daemon.far[1].sendall(answer() * 2)
    backend.initiate(NAME, "out")
    backend.terminate_ike(4, force=True)
    sent = daemon.far[1].recv(65_536)
    assert sent.count(b"\x07timeout\x00\x02-1") == 2
    assert b"\x05force\x00\x03yes" in sent


def test_a_key_is_on_the_wire_and_nowhere_else(backend: StrongSwan, daemon: Daemon):
    """Neither in an error nor in a representation."""
    daemon.far[1].sendall(answer({"success": "no", "errmsg": "parsing ANY private key failed"}))
    with pytest.raises(IkeError) as caught:
        backend.load_key(Secret(b"the key"))
    assert "the key" not in repr(caught.value)
    assert b"the key" in daemon.far[1].recv(65_536)


def test_events_are_drained_without_blocking(backend: StrongSwan, daemon: Daemon):
    """A packet in two parts is put together."""
    assert backend.fileno() == daemon.near[0].fileno()
    assert backend.drain().conns == frozenset()
    log = {"group": "IKE", "ikesa-name": NAME, "msg": "received AUTH_FAILED notify error"}
    noise = event("log", {**log, "msg": "sending packet"}) * 3
    data = noise + event("log", log) + event("ike-updown", {"up": "yes", NAME: {}})
    daemon.far[0].sendall(data[:-5])
    first = backend.drain()
    assert first.messages == ((NAME, "received AUTH_FAILED notify error"),)
    assert first.conns == frozenset()
    daemon.far[0].sendall(data[-5:])
    assert backend.drain().conns == {NAME}


def test_a_log_line_of_others_is_no_message(backend: StrongSwan, daemon: Daemon):
    """Even when it says why something failed."""
    line = {"ikesa-name": "home", "msg": "received AUTH_FAILED notify error"}
    daemon.far[0].sendall(event("log", line))
    assert backend.drain().messages == ()


def test_one_drain_takes_only_so_much(
    backend: StrongSwan, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
):
    """The rest stays in the socket, which stays readable."""
    monkeypatch.setattr(transport, "DRAIN_MAX", 1)
    monkeypatch.setattr(transport, "CHUNK", 64)
    daemon.far[0].sendall(event("ike-updown", {NAME: {}}) * 2)
    found = [backend.drain().conns for _ in range(4)]
    assert found.count(frozenset({NAME})) == 2


@pytest.mark.parametrize(
    "data",
    [b"", answer(), framed(b""), b"\xff\xff\xff\xff", framed(bytes([Packet.EVENT, 1, 120, 2]))],
    ids=["end", "an answer", "an empty packet", "a giant", "damage"],
)
def test_a_lost_event_session_is_said_once(backend: StrongSwan, daemon: Daemon, data: bytes):
    """Everything must be looked at again, after open."""
    daemon.far[0].sendall(data)
    if not data:
        daemon.far[0].close()
    assert backend.drain().lost
    assert not backend.connected
    assert backend.fileno() == -1
    assert not backend.drain().lost


def test_a_wrong_confirmation_or_reset_ends_the_session(session: ViciSession, daemon: Daemon):
    """Nobody knows what the next packet answers."""
    daemon.far[0].sendall(answer())
    with pytest.raises(IkeError, match="packet type"):
        session.register("log")
    assert not session.is_open


def test_a_drain_of_a_reset_session_is_lost(
    backend: StrongSwan, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
):
    """An error of the socket is an end like another."""

    class Reset:
        def setblocking(self, _flag: object) -> None:
            raise ConnectionResetError

        def getsockopt(self, *_args: object) -> bytes:
            raise OSError

        def close(self) -> None:
            pass

    monkeypatch.setattr(backend._events, "_socket", Reset())
    assert backend._events.peer_pid() == 0
    assert backend.drain().lost
    assert not backend.connected


def test_a_slow_dribble_does_not_stretch_the_deadline(
    session: ViciSession, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
):
    """The time is that of the whole exchange."""
    ticks = iter(range(1000))
    monkeypatch.setattr(transport, "monotonic", lambda: next(ticks) * 0.03)
    daemon.far[0].sendall(answer())
    with pytest.raises(IkeError, match="did not answer"):
        session.call("version")
