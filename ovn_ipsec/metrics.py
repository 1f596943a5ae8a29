# SPDX-License-Identifier: Apache-2.0
"""Edge: metrics over HTTP, for Prometheus, from a thread of its own.

The loop hands over a function of the time, made of immutable values; each request calls the most
recent one. That reference, and in the other direction a text that says why a request could not be
answered, is all that the two threads share.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import chain
from socket import AF_INET, AF_INET6
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from . import clock
from .errors import EdgeError
from .model.chassis import IpAddress
from .model.metric import LAST_PASS, Kind, Sample
from .model.text import printable

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Source = Callable[[datetime], Iterable[Sample]]
"""Wall time, aware, to samples: called in the other thread."""
Family = CounterMetricFamily | GaugeMetricFamily

PATH = "/metrics"
EVERY_S = 1.0
"""Between two looks at what is served, while much happens."""
IDLE_S = 10.0
"""While nothing happens: so often the loop shows that it still goes on."""
TIMEOUT_S = 5.0
"""For a client to say or take in something."""
LABEL_MAX = 300
"""Characters of a label: a chassis name may have 253, and half a character fails a whole answer."""
_FAMILIES: dict[Kind, type[Family]] = {
    Kind.GAUGE: GaugeMetricFamily,
    Kind.COUNTER: CounterMetricFamily,
}


class _Handler(WSGIRequestHandler):
    timeout = TIMEOUT_S

    def log_message(self, *_: Any) -> None:
        """Log no requests."""


class _Server(WSGIServer):
    """Answers one request at a time: many clients cost each other time, and us no threads."""

    def __init__(self, address: IpAddress, port: int) -> None:
        self.address_family = AF_INET if address.version == 4 else AF_INET6
        super().__init__((str(address), port), _Handler)

    def server_bind(self) -> None:
        """Bind, without asking DNS for our name as HTTPServer does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, *_: object) -> None:
        """A client that went away or said nothing is no event of ours."""


class Exporter(Collector):
    """The metrics of one process at one address."""

    def __init__(self, address: IpAddress, port: int) -> None:
        """Store where to listen; there are no samples before publish()."""
        self._address, self._port = address, port
        self._handed: tuple[Source, datetime] | None = None
        self._handed_at = float("-inf")
        self._unsaid = False
        self.problem = ""
        """Why the last request was not answered; empty if it was. Written by the other thread."""

    def open(self) -> None:
        """Listen, and answer in another thread until the process ends; again after a failure.

        Raises:
            EdgeError: The address cannot be had, or there is no thread to be had.
        """
        where = f"{self._address} port {self._port}"
        try:
            server = _Server(self._address, self._port)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise EdgeError(f"cannot serve metrics on {where}: {reason}") from None
        registry = CollectorRegistry()
        registry.register(self)
        server.set_app(_only(PATH, self._answering(make_wsgi_app(registry))))
        try:
            threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        except RuntimeError as error:
            server.server_close()
            raise EdgeError(f"cannot serve metrics on {where}: {error}") from None

    def _answering(self, application: WSGIApplication) -> WSGIApplication:
        """Note a failure instead of writing a traceback to standard error for each request."""

        def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            try:
                found = application(environ, start_response)
            except Exception as error:  # noqa: BLE001 - nobody above would say it
                self.problem = printable(f"metrics cannot be served: {error!r}")
                start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
                return [b"see the log\n"]
            self.problem = ""
            return found

        return answer

    def due(self, now: float) -> bool:
        """Whether it is time to look at the program again; if not, delay_s() says when it is."""
        self._unsaid = now < self._handed_at + EVERY_S
        return not self._unsaid

    def delay_s(self, now: float) -> float:
        """Seconds until another pass of the loop is due; not at once after one that failed."""
        return EVERY_S if self._unsaid else max(EVERY_S, self._handed_at + IDLE_S - now)

    def publish(self, source: Source, now: float) -> None:
        """Say what is to be answered from now on.

        Args:
            source: A function of values that never change.
            now: Monotonic seconds.
        """
        self._handed, self._handed_at = (source, clock.utc_now()), now

    def collect(self) -> Iterator[Family]:
        """Give all samples, by metric; this is called in the other thread."""
        handed = self._handed
        if handed is None:
            return iter(())
        source, at = handed
        found: dict[str, Family] = {}
        own = LAST_PASS.at(at.timestamp())
        for metric, labels, value in chain([own], source(clock.utc_now())):
            family = found.get(metric.name)
            if family is None:
                make = _FAMILIES[metric.kind]
                family = make(metric.name, metric.meaning, labels=metric.labels)
                found[metric.name] = family
            family.add_metric([printable(text, LABEL_MAX) for _, text in labels], value)
        return iter(found.values())


def _only(path: str, application: WSGIApplication) -> WSGIApplication:
    """Answer GET at one path: prometheus_client does so at any, and old ones to any method."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        refusal = "" if environ["REQUEST_METHOD"] == "GET" else "405 Method Not Allowed"
        if environ["PATH_INFO"] != path:
            refusal = "404 Not Found"
        if not refusal:
            return application(environ, start_response)
        start_response(refusal, [("Content-Type", "text/plain"), ("Allow", "GET")])
        return [f"GET {path}\n".encode()]

    return answer
