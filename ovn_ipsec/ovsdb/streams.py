# SPDX-License-Identifier: Apache-2.0
"""Edge: how sessions reach a server: replaces the ovs library's streams, which fail badly.

The library has one set of TLS files for a whole process, raises out of the loop if it is not set or
does not load, asks for the password of an encrypted key on the terminal, cannot resolve names,
spins while a TLS server is silent, and does not say why a connection failed. The streams here
replace its three methods (ssl, tcp, unix). Each attempt belongs to the Dialer of the session that
is running (``with dialing(...)``), which provides the credentials and is told why an attempt
failed. Other users of the library in this process have no Dialer, and no TLS.

Every failure becomes an errno, with which the library's own back-off continues.
"""

from __future__ import annotations

import errno
import os
import select
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from ipaddress import ip_address
from pathlib import Path
from socket import IPPROTO_TCP, SO_ERROR, SOCK_STREAM, SOL_SOCKET, TCP_NODELAY
from typing import Any

import ovs.poller
import ovs.socket_util
from ovs.stream import SSLStream, Stream, TCPStream, UnixStream

from ..errors import OvsdbError
from ..model.text import printable
from .names import Names

NO_TLS = (
    "ssl: needs a private key, a certificate and a CA certificate:"
    " --private-key, --certificate, --ca-cert or, on a chassis, ovs-vsctl set-ssl"
)
Stamp = tuple[tuple[int, int, int] | None, ...]
"""Of each file inode, size and time of change; None for one that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Paths: what an ssl: remote is shown, and what it is held against."""

    private_key: str
    certificate: str
    ca_cert: str

    def problem(self) -> str:
        """Which of the files cannot be read, and why; empty when all can."""
        for what, path in zip(("private key", "certificate", "CA"), astuple(self), strict=True):
            reason = _unreadable(path)
            if reason:
                return printable(f"TLS files: {what} {path}: {reason}")
        return ""

    def stamp(self) -> Stamp:
        """What another content of the files has another of."""
        return tuple(_stamp(path) for path in astuple(self))


def tls_files(
    private_key: str | None, certificate: str | None, ca_cert: str | None
) -> TlsFiles | None:
    """What the flags --private-key, --certificate and --ca-cert say; None without any of them.

    Raises:
        OvsdbError: There are one or two of the three.
    """
    if private_key and certificate and ca_cert:
        return TlsFiles(private_key=private_key, certificate=certificate, ca_cert=ca_cert)
    if private_key or certificate or ca_cert:
        raise OvsdbError("--private-key, --certificate and --ca-cert go together")
    return None


@dataclass(slots=True)
class Dialer:
    """What one session connects with, and what came of it."""

    tls: TlsFiles | None = None
    names: Names = field(default_factory=Names)
    failures: dict[str, str] = field(default_factory=dict)
    """Why the last attempt at each remote failed."""
    tried: Stamp = ()
    """The TLS files as the last attempt found them."""

    def failed(self, remote: str, reason: str) -> None:
        """Note why an attempt came to nothing."""
        self.failures[remote] = printable(reason)

    def context(self) -> ssl.SSLContext:
        """Load the TLS files.

        Raises:
            OvsdbError: There are none, or they do not load.
        """
        if self.tls is None:
            raise OvsdbError(NO_TLS)
        self.tried = self.tls.stamp()
        problem = self.tls.problem()
        if problem:
            raise OvsdbError(problem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(self.tls.ca_cert)
        except (OSError, ValueError) as error:
            raise OvsdbError(f"TLS files: CA {self.tls.ca_cert}: {_reason(error)}") from None
        try:
            context.load_cert_chain(self.tls.certificate, self.tls.private_key, _no_password)
        except (OSError, ValueError) as error:
            raise OvsdbError(
                f"TLS files: {self.tls.certificate} with {self.tls.private_key}: {_reason(error)}"
            ) from None
        return context


_NOBODY = Dialer()
_dialer = _NOBODY


@contextmanager
def dialing(dialer: Dialer) -> Iterator[None]:
    """Let every attempt to connect in this block be one of a session."""
    global _dialer  # noqa: PLW0603 - the library opens streams by static methods
    _dialer, before = dialer, _dialer
    try:
        yield
    finally:
        _dialer = before


class _Told(Stream):  # type: ignore[misc]
    """A stream that tells its dialer why it failed."""

    def __init__(self, sock: Any, name: str, status: int, *rest: Any) -> None:
        super().__init__(sock, name, status, *rest)
        self._dialer = _dialer
        self._is_up = self._is_told = False
        if status not in (0, errno.EAGAIN):
            self._tell(os.strerror(status))

    @staticmethod
    def check_connection_completion(sock: Any) -> int:
        """Ask whether a connection is complete; the library's asks by sending a byte."""
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        return sock.getsockopt(SOL_SOCKET, SO_ERROR) if poll.poll(0) else errno.EAGAIN

    def connect(self) -> int:
        """Go on connecting, and tell when that has failed."""
        error: int = self._connect()
        if error == 0:
            self._is_up = True
        elif error != errno.EAGAIN:
            self._tell(os.strerror(error))
        return error

    def recv(self, n: int) -> tuple[int, Any]:
        """Receive, and tell when the connection has broken."""
        try:
            data = self._recv(n)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return errno.EAGAIN, ""
        except ssl.SSLZeroReturnError:
            data = (0, b"")
        except OSError as error:
            return self._broken(error), ""
        if n and not data[0] and not data[1]:
            self._tell("the server has closed the connection")
        return data  # type: ignore[no-any-return]

    def send(self, buf: Any) -> int:
        """Send, and tell when the connection has broken."""
        try:
            return self._send(buf)  # type: ignore[no-any-return]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return -errno.EAGAIN
        except OSError as error:
            return -self._broken(error)

    def close(self) -> None:
        """Close; one that never came up has had no answer."""
        if not self._is_up:
            self._tell("no answer")
        super().close()

    def _connect(self) -> int:
        return super().connect()  # type: ignore[no-any-return]

    def _broken(self, error: OSError) -> int:
        number = _errno(error)
        if number != errno.EAGAIN:
            self._tell(_reason(error))
        return number

    def _tell(self, reason: str) -> None:
        if not self._is_told:
            self._is_told = True
            self._dialer.failed(self.name, reason)


class _Unix(_Told, UnixStream):  # type: ignore[misc]
    """unix:FILE."""

    @staticmethod
    def _open(suffix: str, dscp: int) -> tuple[int, Any]:
        return _opened(f"unix:{suffix}", lambda: UnixStream._open(suffix, dscp))  # noqa: SLF001


class _Tcp(_Told, TCPStream):  # type: ignore[misc]
    """tcp:HOST:PORT."""

    @staticmethod
    def _open(suffix: str, dscp: int) -> tuple[int, Any]:
        def open_it() -> tuple[int, Any]:
            return TCPStream._open(_resolved(suffix), dscp)  # type: ignore[no-any-return] # noqa: SLF001

        return _opened(f"tcp:{suffix}", open_it)


class _Ssl(_Told, SSLStream):  # type: ignore[misc]
    """ssl:HOST:PORT."""

    _waits_for: int | None = None
    """What the handshake needs of the socket; None when there is none under way."""

    @staticmethod
    def _open(suffix: str, dscp: int) -> tuple[int, Any]:
        def open_it() -> tuple[int, Any]:
            context = _dialer.context()
            address = ovs.socket_util.inet_parse_active(_resolved(suffix), 0)
            family, plain = ovs.socket_util.inet_create_socket_active(SOCK_STREAM, address)
            if plain is None:
                return family, None
            sock = context.wrap_socket(plain, do_handshake_on_connect=False)
            error = ovs.socket_util.inet_connect_active(sock, address, family, dscp)
            if error:
                return error, None
            sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            return 0, sock

        return _opened(f"ssl:{suffix}", open_it)

    def _connect(self) -> int:
        error: int = Stream.connect(self)
        if error or self._is_up:  # asked once more, a handshake that is over hides why it ended
            return error
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            self._waits_for = ovs.poller.POLLIN
            return errno.EAGAIN
        except ssl.SSLWantWriteError:
            self._waits_for = ovs.poller.POLLOUT
            return errno.EAGAIN
        except (OSError, ValueError) as broken:
            self._tell(f"TLS: {_reason(broken)}")
            return _errno(broken)
        self._waits_for = None
        return 0

    def wait(self, poller: ovs.poller.Poller, wait: int) -> None:
        """Wait for what TLS needs, which is not always what is asked for."""
        if self._waits_for is not None and not self._is_up:
            poller.fd_wait(self.socket, self._waits_for)
        elif wait == Stream.W_RECV and self._is_up and self.socket.pending():
            poller.immediate_wake()
        else:
            super().wait(poller, wait)


def _opened(remote: str, open_it: Any) -> tuple[int, Any]:
    """Open a socket; whatever goes wrong is an errno, and told."""
    try:
        error, sock = open_it()
    except OvsdbError as refused:
        _dialer.failed(remote, refused.diagnostics())
        return errno.EPROTO, None
    except (OSError, ValueError, RecursionError) as broken:
        _dialer.failed(remote, _reason(broken))
        return _errno(broken), None
    if not error:
        return 0, sock
    known = isinstance(error, int) and error > 0
    _dialer.failed(remote, os.strerror(error) if known else str(error))
    return error if known else errno.EPROTO, None


def _resolved(suffix: str) -> str:
    """HOST:PORT with an address for the host.

    Raises:
        OvsdbError: The host has none, or none yet.
    """
    host, _, port = suffix.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ip_address(host)
    except ValueError:
        host = _dialer.names.address(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _errno(error: Exception) -> int:
    """A number that os.strerror takes: those of OpenSSL are its own."""
    number = getattr(error, "errno", None)
    if isinstance(error, ssl.SSLError) or not isinstance(number, int) or number <= 0:
        return errno.EPROTO
    return number


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "the server has closed the connection"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _no_password() -> str:
    raise ValueError("the private key is encrypted; expected one without a password")


def _unreadable(path: str) -> str:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - a path may be junk
            return "is not a file"
        with Path(path).open("rb"):
            return ""
    except OSError as error:
        return error.strerror or str(error)
    except ValueError:
        return "is not a path"


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a path may be junk
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


for _method, _stream in (("unix", _Unix), ("tcp", _Tcp), ("ssl", _Ssl)):
    Stream.register_method(_method, _stream)
