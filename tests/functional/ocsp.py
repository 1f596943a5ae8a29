# SPDX-License-Identifier: Apache-2.0
"""An OCSP responder of a lab's authority, inside a network namespace."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from ovn_ipsec.clock import utc_now
from tests.contracts.ike_backend import DAY, Authority
from tests.functional.netns import Net

PORT = 8080
URI = f"http://127.0.0.1:{PORT}/ocsp"


class Responder:
    """What it answers, and what it was asked."""

    def __init__(self, authority: Authority, *issued: x509.Certificate) -> None:
        self.authority = authority
        self.issued = {certificate.serial_number: certificate for certificate in issued}
        self.revoked: set[int] = set()
        self.asked: list[int] = []

    def answer(self, body: bytes) -> bytes:
        """Answer a request, DER to DER; signed by the authority itself."""
        request = ocsp.load_der_ocsp_request(body)
        serial = request.serial_number
        self.asked.append(serial)
        bad, now = serial in self.revoked, utc_now()
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=self.issued[serial],
            issuer=self.authority.certificate,
            algorithm=request.hash_algorithm,
            cert_status=ocsp.OCSPCertStatus.REVOKED if bad else ocsp.OCSPCertStatus.GOOD,
            this_update=now - DAY,
            next_update=now + DAY,
            revocation_time=now - DAY if bad else None,
            revocation_reason=x509.ReasonFlags.key_compromise if bad else None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self.authority.certificate)
        for extension in request.extensions:
            builder = builder.add_extension(extension.value, critical=False)
        return builder.sign(self.authority.key, hashes.SHA256()).public_bytes(Encoding.DER)


@contextlib.contextmanager
def serving(pid: int, responder: Responder) -> Iterator[Responder]:
    """Serve at URI in the network namespace of a process."""

    class Handler(BaseHTTPRequestHandler):
        """RFC 6960, appendix A."""

        def do_POST(self) -> None:
            answer = responder.answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/ocsp-response")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with Net(pid=pid).entered():
        server = HTTPServer(("127.0.0.1", PORT), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield responder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
