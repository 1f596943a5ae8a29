# SPDX-License-Identifier: Apache-2.0
"""Sessions over TLS, TCP and names: whatever is wrong is said once, and heals when it is mended."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import ovs.db.idl
import ovs.poller
import pytest
from ovsdb import Central, missing_programs
from ovsdb import wait_until as wait_for
from tls import Authority

from ovn_ipsec.cli import database
from ovn_ipsec.cli.settings import Settings
from ovn_ipsec.errors import OvsdbConflict, OvsdbError, OvsdbRefused
from ovn_ipsec.ovsdb import names
from ovn_ipsec.ovsdb.schemas import NORTHBOUND, SOUTHBOUND
from ovn_ipsec.ovsdb.session import Change, Session
from ovn_ipsec.ovsdb.streams import NO_TLS, TlsFiles

pytestmark = pytest.mark.skipif(
    bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"
)

HUNG_S = 30.0
"""How long a resolver hangs."""


@dataclass
class Server:
    """A southbound that listens on TCP and TLS."""

    central: Central
    folder: Path
    authority: Authority
    ports: dict[str, int] = field(default_factory=dict)
    tls: TlsFiles | None = None

    def remote(self, method: str, host: str = "127.0.0.1") -> str:
        """Where it listens."""
        return f"{method}:{host}:{self.ports[method]}"

    def start(self, database: str = "sb") -> None:
        """Serve a database, made when there is none."""
        if not self.ports:
            self.ports = {"tcp": free_port(), "ssl": free_port()}
        self.tls = self.authority.issue(self.folder / "server", "central")
        file = self.folder / f"{database}.db"
        if not file.exists():
            schema = f"/usr/share/ovn/ovn-{database}.ovsschema"
            self.central.run("ovsdb-tool", "create", str(file), schema)
        socket_ = self.folder / "server.sock"
        self.central.add(
            "server",
            [
                "ovsdb-server",
                f"--remote=ptcp:{self.ports['tcp']}:127.0.0.1",
                f"--remote=pssl:{self.ports['ssl']}:127.0.0.1",
                f"--remote=punix:{socket_}",
                f"--private-key={self.tls.private_key}",
                f"--certificate={self.tls.certificate}",
                f"--ca-cert={self.tls.ca_cert}",
                f"--unixctl={self.folder}/server.ctl",
                str(file),
            ],
        )
        wait_for(self._listens, what="the server listens")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.ports["ssl"])) == 0

    def stop(self) -> None:
        """End it."""
        self.central.processes["server"].stop()

    def ovsctl(self, *operation: str) -> str:
        """Run ovn-sbctl on it."""
        db = f"--db=unix:{self.folder}/server.sock"
        return self.central.run("ovn-sbctl", db, "--no-leader-only", *operation)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A southbound over TLS, of an authority of its own."""
    with ExitStack() as stack:
        made = Central(tmp_path)
        stack.callback(lambda: [process.stop() for process in made.processes.values()])
        found = Server(made, tmp_path, Authority("one"))
        found.start()
        yield found


@pytest.fixture
def opened() -> Iterator[Callable[..., Session]]:
    """Sessions that end with the test."""
    with ExitStack() as stack:

        def make(remotes: str, tls: TlsFiles | None = None, **options: object) -> Session:
            session = Session(remotes, SOUTHBOUND, tls=tls, **options)  # type: ignore[arg-type]
            session.open()
            stack.callback(session.close)
            return session

        yield make


def drive(session: Session, fact: Callable[[], bool], seconds: float = 12.0) -> int:
    """Run a session as a daemon does until a fact holds; returns how often it woke."""
    end, woken = time.monotonic() + seconds, 0
    session.receive()
    while not fact():
        assert time.monotonic() < end, f"not in time; problem: {session.problem!r}"
        turn(session, end)
        woken += 1
    return woken


def rest(session: Session, seconds: float) -> int:
    """Run a session for a time; returns how often it woke."""
    end, woken = time.monotonic() + seconds, 0
    session.receive()
    while time.monotonic() < end:
        turn(session, end)
        woken += 1
    return woken


def turn(session: Session, end: float) -> None:
    """Wait for what the session waits for, but not beyond an end, and run it."""
    poller = ovs.poller.Poller()
    session.wait(poller)
    poller.timer_wait(max(0, int((end - time.monotonic()) * 1000)) + 1)
    poller.block()
    session.receive()


def test_an_ssl_remote_without_files_says_so_and_comes_up_with_them(
    server: Server, opened: Callable[..., Session], tmp_path: Path
):
    """Before set-ssl there is one problem, few attempts, and nothing raised."""
    session = opened(server.remote("ssl"))
    assert rest(session, 3.0) < 20
    assert (NO_TLS, NO_TLS, False) == (session.problem, session.refusal, session.loaded)
    session.use_tls(server.authority.issue(tmp_path / "client", "hv1"))
    drive(session, lambda: session.connected, 2.5)
    assert ("", "") == (session.problem, session.refusal)


@pytest.mark.parametrize("missing", ["private_key", "certificate", "ca_cert"])
def test_a_file_that_comes_later_is_noticed(
    server: Server, opened: Callable[..., Session], tmp_path: Path, missing: str
):
    """Named by set-ssl, and written by somebody else in his own time."""
    files = server.authority.issue(tmp_path / "client", "hv1")
    path = Path(getattr(files, missing))
    held = path.read_bytes()
    path.unlink()
    session = opened(server.remote("ssl"), files)
    assert rest(session, 2.5) < 20
    assert f"{path}: No such file or directory" in session.problem
    assert "" == session.refusal
    path.write_bytes(held)
    drive(session, lambda: session.connected, 2.5)
    assert "" == session.problem


@pytest.mark.parametrize("same_paths", [True, False])
def test_another_authority_is_followed_at_old_and_at_new_paths(
    server: Server, opened: Callable[..., Session], tmp_path: Path, same_paths: bool
):
    """The server comes back with another CA: both ends refuse until the chassis has the new one."""
    files = server.authority.issue(tmp_path / "client", "hv1")
    session = opened(server.remote("ssl"), files)
    drive(session, lambda: session.connected)
    server.stop()
    server.authority = Authority("two")
    server.start()
    drive(session, lambda: "the server's certificate is refused" in session.problem)
    assert rest(session, 1.0) < 20
    folder = tmp_path / "client" if same_paths else tmp_path / "other"
    session.use_tls(server.authority.issue(folder, "hv1"))
    drive(session, lambda: session.connected, 3.5)


def test_a_client_that_the_server_refuses_is_told_why(
    server: Server, opened: Callable[..., Session], tmp_path: Path
):
    """With TLS 1.3 the answer comes after the handshake; a certificate of another CA is one."""
    assert server.tls is not None
    stranger = Authority("other").issue(tmp_path / "client", "hv1")
    shutil.copy(server.tls.ca_cert, stranger.ca_cert)
    session = opened(server.remote("ssl"), stranger)
    drive(session, lambda: bool(session.problem))
    assert "unknown ca" in session.problem or "closed" in session.problem
    assert not session.loaded
    assert rest(session, 3.0) < 40


def test_a_key_with_a_password_or_of_another_certificate_is_refused_and_nobody_is_asked(
    server: Server, opened: Callable[..., Session], tmp_path: Path
):
    """OpenSSL would ask on the terminal, and wait for ever."""
    files = server.authority.issue(tmp_path / "client", "hv1", password=b"x")
    session = opened(server.remote("ssl"), files)
    drive(session, lambda: "the private key is encrypted" in session.problem)
    other = server.authority.issue(tmp_path / "other", "hv1")
    shutil.copy(other.private_key, files.private_key)
    drive(session, lambda: "key values mismatch" in session.problem, 3.0)
    Path(files.ca_cert).write_text("junk\n", "utf-8")
    drive(session, lambda: f"CA {files.ca_cert}" in session.problem, 3.0)
    Path(files.ca_cert).unlink()
    os.mkfifo(files.ca_cert)
    drive(session, lambda: "is not a file" in session.problem, 3.0)


def test_a_connection_outlives_its_files_and_needs_them_only_for_the_next(
    server: Server, opened: Callable[..., Session], tmp_path: Path
):
    """A changed or missing file breaks nothing that is up."""
    files = server.authority.issue(tmp_path / "client", "hv1")
    session = opened(server.remote("ssl"), files)
    drive(session, lambda: session.connected)
    shutil.rmtree(tmp_path / "client")
    rest(session, 1.5)
    assert session.connected
    server.stop()
    drive(session, lambda: not session.connected)
    server.start()
    drive(session, lambda: "No such file" in session.problem)
    server.authority.issue(tmp_path / "client", "hv1")
    drive(session, lambda: session.connected, 3.0)


def test_two_sessions_of_a_process_have_each_their_own_files(
    server: Server, opened: Callable[..., Session], tmp_path: Path
):
    """The library has one set for a process; these do not share it."""
    good = opened(server.remote("ssl"), server.authority.issue(tmp_path / "a", "hv1"))
    bad = opened(server.remote("ssl"), Authority("other").issue(tmp_path / "b", "hv1"))
    drive(good, lambda: good.connected)
    drive(bad, lambda: "certificate is refused" in bad.problem)
    server.stop()
    drive(good, lambda: not good.connected)
    server.start()
    drive(good, lambda: good.connected)


def test_a_server_that_accepts_and_says_nothing_costs_nothing(
    opened: Callable[..., Session], tmp_path: Path
):
    """The library spins until its time limit while a TLS server is silent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        files = Authority("one").issue(tmp_path, "hv1")
        session = opened(f"ssl:127.0.0.1:{silent.getsockname()[1]}", files)
        before = time.process_time()
        assert rest(session, 3.0) < 30
        assert time.process_time() - before < 0.5
        drive(session, lambda: "no answer" in session.problem)


def test_host_names_blanks_and_junk_among_remotes(
    server: Server, opened: Callable[..., Session], tmp_path: Path
):
    """As ovn-sbctl takes them; what is no remote is a problem that does not go away."""
    files = server.authority.issue(tmp_path / "client", "hv1")
    port = server.ports["ssl"]
    session = opened(f"ssl:localhost:{port}, ssl:127.0.0.1:{port} ,tcp:\x1b[2J:1", files)
    drive(session, lambda: session.connected)
    assert "expected an address or the name of a host" in session.problem
    assert session.problem.isprintable()
    nothing = opened("tcp:a b:1")
    assert 1 == rest(nothing, 0.5)
    assert nothing.refusal
    assert nothing.refusal == nothing.problem


def test_a_resolver_that_hangs_does_not_hold_the_loop(
    server: Server, opened: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
):
    """Other remotes are tried meanwhile; its answer is used when it comes, and kept."""
    answer = threading.Event()
    asked: list[str] = []
    real = socket.getaddrinfo

    def slow(host: str, *rest: object, **named: object) -> object:
        asked.append(host)
        if not answer.wait(HUNG_S):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real("127.0.0.1", *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(names.socket, "getaddrinfo", slow)
    session = opened(server.remote("tcp", "central.example"))
    before = time.monotonic()
    session.receive()
    assert time.monotonic() - before < HUNG_S / 2
    drive(session, lambda: "still being looked up" in session.problem)
    other = opened(f"{server.remote('tcp', 'other.example')},{server.remote('tcp')}")
    drive(other, lambda: other.connected)
    answer.set()
    drive(session, lambda: session.connected)
    assert asked.count("central.example") == 1


def test_a_name_without_an_address_is_a_problem(opened: Callable[..., Session]):
    """RFC 6761: .invalid never has one."""
    session = opened("tcp:central.invalid:6642")
    drive(session, lambda: "no address is known" in session.problem)
    assert rest(session, 2.0) < 20


def test_a_server_without_the_database_is_named(
    server: Server, opened: Callable[..., Session], tmp_path: Path
):
    """The southbound's address has a northbound behind it."""
    server.stop()
    server.start("nb")
    session = opened(server.remote("tcp"))
    drive(session, lambda: "no database OVN_Southbound" in session.problem)
    assert (False, False) == (session.loaded, session.connected)
    assert rest(session, 2.0) < 40


class Liar(threading.Thread):
    """A server that answers every line of JSON with nonsense."""

    def __init__(self, nonsense: bytes) -> None:
        """Listen."""
        super().__init__(daemon=True)
        self.nonsense = nonsense
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def run(self) -> None:
        """Answer until the socket is closed."""
        while True:
            try:
                taken, _ = self.socket.accept()
            except OSError:
                return
            with taken:
                taken.recv(4096)
                taken.sendall(self.nonsense)
                taken.settimeout(1)
                try:
                    while taken.recv(4096):
                        pass
                except OSError:
                    continue


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff\xfe",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"[]",
        b'{"id":0,"result":[],"error":null}' * 40,
        b'{"method":"update3","params":[1,2,[]],"id":null}',
        b'{"method":"update","params":[null,{"Chassis":3}],"id":null}',
        b'{"method":"update2","params":[null,{"Chassis":{"x":1}}],"id":null}',
        b'{"method":"update2","params":[null,{"Chassis":'
        b'{"00000000-0000-0000-0000-000000000001":{"insert":{"name":[1]}}}}],"id":null}',
        b'{"method":"update2","params":[null,{"Chassis":'
        b'{"00000000-0000-0000-0000-000000000001":{"modify":3}}}],"id":null}',
        b'{"method":"monitor_canceled","params":[],"id":null}',
        b'{"method":"locked","params":{},"id":null}',
    ],
)
def test_a_server_that_talks_nonsense_ends_no_loop(opened: Callable[..., Session], nonsense: bytes):
    """It is left, tried again with back-off, and nothing of it counts as rows."""
    liar = Liar(nonsense)
    liar.start()
    try:
        session = opened(f"tcp:127.0.0.1:{liar.port}", lock="x")
        assert rest(session, 2.5) < 60
        assert (False, False) == (session.loaded, session.connected)
        assert session.problem.isprintable()
    finally:
        liar.socket.shutdown(socket.SHUT_RDWR)
        liar.socket.close()


@pytest.mark.parametrize("emptied", [True, False])
def test_a_server_that_comes_back_with_other_rows_is_told_row_by_row(
    server: Server, opened: Callable[..., Session], emptied: bool
):
    """Gone rows are DELETED, as if before our eyes; until then the old ones stay."""
    for name in ("hv1", "hv2"):
        server.ovsctl("chassis-add", name, "geneve", f"192.0.2.{name[-1]}")
    session = opened(server.remote("tcp"))
    drive(session, lambda: session.connected)
    assert {"hv1", "hv2"} == {row.name for row in session.rows("Chassis")}
    session.changes()
    server.stop()
    drive(session, lambda: not session.connected)
    assert (True, 2) == (session.loaded, session.count("Chassis"))
    assert [] == session.changes()
    (server.folder / "sb.db").unlink()
    server.start()
    if not emptied:
        server.ovsctl("chassis-add", "hv2", "geneve", "192.0.2.99")
    drive(session, lambda: session.connected)
    rest(session, 0.3)
    found = [(c.change, c.row.name) for c in session.changes() if c.table == "Chassis"]
    gone = sorted(name for change, name in found if change is Change.DELETED)
    assert ["hv1", "hv2"] == gone
    left = ["hv2"] if not emptied else []
    assert left == [row.name for row in session.rows("Chassis")]
    assert left == [name for change, name in found if change is Change.CREATED]
    assert found == sorted(found, key=lambda one: one[0] is not Change.DELETED)


def test_a_server_that_no_longer_answers_is_left_and_its_rows_stay(
    server: Server, opened: Callable[..., Session]
):
    """A partition: nothing says that the connection has ended."""
    server.ovsctl("chassis-add", "hv1", "geneve", "192.0.2.1")
    session = opened(server.remote("tcp"), probe_interval_s=1.0)
    drive(session, lambda: session.connected)
    running = server.central.processes["server"].running
    assert running is not None
    running.send_signal(signal.SIGSTOP)
    try:
        drive(session, lambda: not session.connected)
        assert rest(session, 2.0) < 40
        assert (True, False, 1) == (session.loaded, session.connected, session.count("Chassis"))
        assert session.problem
    finally:
        running.send_signal(signal.SIGCONT)
    drive(session, lambda: session.connected)
    assert "" == session.problem


def test_a_session_that_is_opened_again_knows_nothing_yet(
    server: Server, opened: Callable[..., Session]
):
    """What it had loaded was another life's."""
    session = opened(server.remote("tcp"))
    drive(session, lambda: session.connected)
    session.close()
    assert (False, False) == (session.loaded, session.connected)
    session.open()
    assert (False, False, 0) == (session.loaded, session.connected, session.count("Chassis"))
    drive(session, lambda: session.loaded)


def test_a_lock_alone_is_no_first_load(server: Server, opened: Callable[..., Session]):
    """The library counts a lock that was granted as a change of rows that have not come."""
    session = opened(server.remote("tcp"), lock="mine")
    drive(session, lambda: session.has_lock or session.loaded)
    drive(session, lambda: session.loaded and session.has_lock)
    server.stop()
    drive(session, lambda: not session.connected)
    assert not session.has_lock


def test_a_refused_write_is_typed_and_not_repeated_at_once(
    server: Server, opened: Callable[..., Session]
):
    """A constraint: two chassis of one name. The loop may ask as often as it likes."""
    server.ovsctl("chassis-add", "hv1", "geneve", "192.0.2.1")
    session = opened(server.remote("tcp"))
    drive(session, lambda: session.connected)
    built: list[float] = []

    def build(txn: ovs.db.idl.Transaction) -> None:
        built.append(time.monotonic())
        txn.insert(session.idl.tables["Chassis"]).name = "hv1"

    kinds = set()
    end = time.monotonic() + 4.0
    while time.monotonic() < end:
        if not session.busy:
            session.transact(build)
        rest(session, 0.05)
        failure = session.failure()
        if failure is not None:
            kinds.add(type(failure))
            assert "OVN_Southbound" in str(failure)
    assert {OvsdbRefused} == kinds
    assert 2 <= len(built) <= 3
    assert session.retry_at > time.monotonic() - 4.0
    drive(session, lambda: session.can_write)


def test_an_answer_of_access_control_is_a_refusal(
    server: Server, opened: Callable[..., Session], tmp_path: Path
):
    """RBAC: a chassis writes the row of another."""
    server.ovsctl("init")
    server.ovsctl("create", "RBAC_Role", "name=nobody")
    port = free_port()
    server.ovsctl("--", "set-connection", "role=nobody", f"pssl:{port}:127.0.0.1")
    control = str(server.folder / "server.ctl")
    connections = "db:OVN_Southbound,SB_Global,connections"
    server.central.run("ovs-appctl", "-t", control, "ovsdb-server/add-remote", connections)
    files = server.authority.issue(tmp_path / "client", "hv1")
    session = opened(f"ssl:127.0.0.1:{port}", files)
    drive(session, lambda: session.connected)

    def build(txn: ovs.db.idl.Transaction) -> None:
        txn.insert(session.idl.tables["Chassis"]).name = "hv2"

    session.transact(build)
    drive(session, lambda: not session.busy)
    failure = session.failure()
    assert isinstance(failure, OvsdbRefused)
    assert "permission error" in str(failure)
    assert session.retry_at > time.monotonic() - 0.5


def test_a_conflict_is_tried_again_soon_and_then_less_soon(
    server: Server, opened: Callable[..., Session]
):
    """While not connected every write is one."""
    session = opened(server.remote("tcp"))
    drive(session, lambda: session.connected)
    server.stop()
    drive(session, lambda: not session.connected)

    def build(txn: ovs.db.idl.Transaction) -> None:
        txn.insert(session.idl.tables["SB_Global"]).external_ids = {"a": "b"}

    def write() -> OvsdbError | None:
        session.transact(build)
        drive(session, lambda: not session.busy)
        return session.failure()

    for _ in range(3):
        assert isinstance(write(), OvsdbConflict)
    before = time.monotonic()
    assert session.retry_at < before
    assert isinstance(write(), OvsdbConflict)
    assert session.retry_at > before
    assert not session.can_write


def test_a_write_that_cannot_be_built_leaves_the_session_usable(
    server: Server, opened: Callable[..., Session]
):
    """The next one goes through."""
    session = opened(server.remote("tcp"))
    drive(session, lambda: session.connected)
    with pytest.raises(ZeroDivisionError):
        session.transact(lambda _: print(1 // 0))

    def build(txn: ovs.db.idl.Transaction) -> None:
        txn.insert(session.idl.tables["SB_Global"]).external_ids = {"a": "b"}

    session.transact(build)
    drive(session, lambda: not session.busy)
    assert session.failure() is None
    drive(session, lambda: session.count("SB_Global") == 1)


def test_the_command_says_at_once_what_cannot_work(server: Server, tmp_path: Path):
    """Nothing is waited for, with a certificate that the server does not know either."""
    files = server.authority.issue(tmp_path / "client", "cli")
    wrong = Authority("other").issue(tmp_path / "wrong", "cli")
    for given, expected in (
        ({}, NO_TLS),
        ({"private_key": files.private_key}, "go together"),
        (wrong, "the server's certificate is refused"),
    ):
        keys = given if isinstance(given, dict) else vars_of(given)
        settings = Settings(ovnnb_db="", ovnsb_db="", **keys)
        with (
            pytest.raises(OvsdbError, match=expected) as raised,
            database.connected(settings, server.remote("ssl"), SOUTHBOUND),
        ):
            pass
        assert given is wrong or "no answer" not in str(raised.value)
    settings = Settings(ovnnb_db="", ovnsb_db="", **vars_of(files))
    with database.connected(settings, server.remote("ssl", "localhost"), SOUTHBOUND) as sb:
        assert sb.session.loaded
    with (
        pytest.raises(OvsdbError, match="no remote is given"),
        database.connected(settings, "", NORTHBOUND),
    ):
        pass


def vars_of(files: TlsFiles) -> dict[str, str]:
    return {key: getattr(files, key) for key in ("private_key", "certificate", "ca_cert")}


def test_northd_without_tls_files_says_so_once_and_goes_on(tmp_path: Path):
    """It answers, hardly wakes, and the northbound is not held up by the southbound's trouble."""
    with ExitStack() as stack:
        made = Central(tmp_path)
        stack.callback(lambda: [process.stop() for process in made.processes.values()])
        made.start_database("nb")
        northd = made.start_northd("northd", "--ovnsb-db=ssl:localhost:1, ssl:[::1]:2")

        def told() -> list[dict[str, str]]:
            return made.log_events("northd", "database_problem")

        wait_for(lambda: bool(told()), what="it says so")
        wait_for(lambda: bool(made.log_events("northd", "database_connected")), what="NB")
        assert northd.running is not None
        before = cpu_s(northd.running.pid)
        time.sleep(3.0)
        assert cpu_s(northd.running.pid) - before < 0.3
        assert [NO_TLS] == [line["problem"] for line in told()]
        assert "Southbound: not connected" in made.appctl("northd", "status")
        assert "Traceback" not in northd.text()


def cpu_s(pid: int) -> float:
    """Processor time of a process, proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
