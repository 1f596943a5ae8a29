# SPDX-License-Identifier: Apache-2.0
"""Pure (``cryptography`` on bytes): the certificate files of this host to what is well with them.

The controller judges them more strictly before it uses them; this is what can be said before it
runs. Nothing that is secret gets here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ...model.expiry import Expiry, expiry
from ...pki.dates import not_after, not_before
from ...schema.report import printable
from ..machine.values import Content, Credentials
from .checkup import Check

NAMES = ("certificate", "private_key", "ca_cert")
FILE = "put the file there, or correct other_config:{} in Open_vSwitch"
RENEW = "put a new certificate in place of the old one (docs/howto/rollover.md)"
CLOCK = "set the clock of this host: timedatectl"
MATCH = "name the key and the certificate that belong together"
IDENTITY = "issue a certificate with the chassis name as SAN DNS name (docs/howto/pki.md)"
CHAIN = "name the authority that issued it: other_config:ca_cert in Open_vSwitch"
NONE = "none is named in Open_vSwitch; one is asked for or made where policy wants it"


def examine_credentials(
    name: str | None, files: Credentials, now: datetime, *, delegated: bool = False
) -> tuple[Check, ...]:
    """Look at the files.

    Args:
        name: Of this chassis; None: it has none, and identities are not compared.
        files: What they hold.
        now: Wall time, aware.
        delegated: Whether ovs-monitor-ipsec reads them: then a certificate that has signed itself
            may be there to be pinned, without an authority.
    """
    own = _parsed(files.certificate)
    lone = delegated and len(own) == 1 and own[0].issuer == own[0].subject
    return (*_certificates(name, files, now, lone=lone), *_secret(files.secret))


def _certificates(
    name: str | None, files: Credentials, now: datetime, *, lone: bool
) -> Iterator[Check]:
    contents = (files.certificate, files.private_key, files.ca_cert)
    if contents == (None, None, None):
        yield Check(part="certificate", is_well=True, said=NONE)
        return
    for key, content in zip(NAMES, contents, strict=True):
        if content is None and lone and key == "ca_cert":
            continue
        if content is None:
            said = f"other_config:{key} is not set, but others of {', '.join(NAMES)} are"
            yield _bad(key, said, "set all three in Open_vSwitch, or none")
        elif content.fault:
            yield _bad(key, f"{content.path}: {content.fault}", FILE.format(key))
    own, roots = _parsed(files.certificate), _parsed(files.ca_cert)
    for key, content, found in (
        ("certificate", files.certificate, own),
        ("ca_cert", files.ca_cert, roots),
    ):
        if content is not None and not content.fault and not found:
            said = f"{content.path}: holds no certificate in PEM that can be parsed"
            yield _bad(key, said, FILE.format(key))
    yield from _key(files.private_key, own)
    if own:
        yield from _own(name, own, roots, now)
    yield from _roots(roots, now)


def _key(key: Content | None, own: list[x509.Certificate]) -> Iterator[Check]:
    if key is None or key.fault:
        return
    if key.mode & 0o007:
        said = f"{key.path}: everybody may use it (mode {key.mode:04o})"
        yield _bad("private_key", said, f"chmod 0600 {key.path}; a key that was read is no secret")
    elif own and _spki(own[0]) != key.data:
        yield _bad("private_key", f"{key.path} is not the key of the certificate", MATCH)
    else:
        yield _well("private_key", key.path)


def _own(
    name: str | None,
    own: list[x509.Certificate],
    roots: list[x509.Certificate],
    now: datetime,
) -> Iterator[Check]:
    leaf = own[0]
    wrong = [*_dates(leaf, now)]
    dns = _dns(leaf)
    if name is not None and name not in dns:
        said = f"it is for {', '.join(dns) or 'no DNS name'}, and this chassis is {name}"
        wrong.append((said, IDENTITY))
    if roots and not any(_issued(leaf, one) for one in (*own[1:], *roots)):
        wrong.append(("none of the authorities that are named has issued it", CHAIN))
    for said, step in wrong:
        yield _bad("certificate", said, step)
    if not wrong:
        yield _well("certificate", f"{', '.join(dns)}, until {not_after(leaf):%Y-%m-%d}")


def _roots(roots: list[x509.Certificate], now: datetime) -> Iterator[Check]:
    wrong = [(one, *found) for one in roots for found in _dates(one, now)]
    for one, said, step in wrong:
        yield _bad("ca_cert", f"{one.subject.rfc4514_string()[:80]}: {said}", step)
    if roots and not wrong:
        ends = min(map(not_after, roots))
        yield _well("ca_cert", f"{len(roots)}, the first until {ends:%Y-%m-%d}")


def _dates(certificate: x509.Certificate, now: datetime) -> Iterator[tuple[str, str]]:
    begin, end = not_before(certificate), not_after(certificate)
    if now < begin:
        said = f"valid from {begin:%Y-%m-%d %H:%M} on, and it is {now:%Y-%m-%d %H:%M} UTC here"
        yield said, CLOCK
    near = expiry(begin, end, now)
    if near is Expiry.EXPIRED:
        yield f"ended {end:%Y-%m-%d %H:%M} UTC, and it is {now:%Y-%m-%d %H:%M} here", RENEW
    elif near is Expiry.URGENT:
        yield f"ends {end:%Y-%m-%d %H:%M} UTC", RENEW


def _secret(secret: Content | None) -> Iterator[Check]:
    if secret is None:
        return
    if secret.fault:
        step = "openssl rand -base64 32, in a file of mode 0600 on each chassis"
        yield _bad("secret", f"{secret.path}: {secret.fault}", step)
    else:
        yield _well("secret", secret.path)


def _parsed(content: Content | None) -> list[x509.Certificate]:
    if content is None or content.fault:
        return []
    try:
        found = x509.load_pem_x509_certificates(content.data)
        for one in found:
            _spki(one)
            _dns(one)
    except (ValueError, UnsupportedAlgorithm):
        return []
    return found


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _dns(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(found.value.get_values_for_type(x509.DNSName))


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _well(part: str, said: str) -> Check:
    return Check(part=part, is_well=True, said=printable(said, 400))


def _bad(part: str, said: str, step: str) -> Check:
    return Check(
        part=part, is_well=False, said=printable(said, 400), next_step=printable(step, 400)
    )
