# SPDX-License-Identifier: Apache-2.0
"""From a certificate to the root that vouches for it, through its intermediates.

Pure (``cryptography`` on bytes). Input: the certificate, what came with it, the authorities.
Output: the certificates above it, which the IKE daemon has to send, except the root, to peers that
have only the root; or a CredentialError.

What counts is what charon will do: it accepts only a self-signed certificate as a root
(credential_manager.c, verify_trust_chain), and every certificate in the chain has to be valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from cryptography import x509

from ovn_ipsec.errors import CredentialError
from ovn_ipsec.pki.dates import not_after, not_before

from .credential import moment
from .suitability import (
    broken_signature,
    check_strength,
    is_authority,
    is_root,
    is_signed,
    names,
    public_key,
    refuse,
    unknown_critical,
)

PATH_MAX = 7
"""Certificates above the first one (credential_manager.h, MAX_TRUST_PATH_LEN)."""
FILE_MAX = 16
"""Certificates in one file beside the first, so that the ways from one to another are few."""
TRIED_MAX = 64
"""Ways to a root that are looked at, each with some signatures to check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the parts of a credential came from, for what is said of them."""

    certificate: str
    private_key: str
    ca_cert: str


def trace(
    places: Places,
    certificates: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    now: datetime,
) -> tuple[x509.Certificate, ...]:
    """Find the way from a certificate to a root.

    Args:
        places: Where they are from.
        certificates: The one it is about, and those that came behind it, in any order.
        authorities: What is trusted: roots, and perhaps intermediates besides.
        now: Wall time, aware.

    Returns:
        What stands above it, the issuer first and the root last.

    Raises:
        CredentialError: There is no way, or something on each is not good: what is wrong with the
            best of them.
    """
    first, *others = certificates
    if len(others) > FILE_MAX:
        what = f"{len(others)} certificates behind the first, at most {FILE_MAX} are read"
        refuse(places.certificate, what)
    if cause := broken_signature(first):
        refuse(places.certificate, f"the certificate is {cause}")
    roots = [ca for ca in authorities if is_root(ca)]
    between = [*others, *(ca for ca in authorities if ca not in roots)]
    problem: CredentialError | None = None
    for number, path in enumerate(_paths((first,), between, roots)):
        if number == TRIED_MAX:
            break
        try:
            _check(places, path, others, now)
        except CredentialError as error:
            problem = problem or error
        else:
            return path[1:]
    if problem is not None:
        raise problem
    _refuse_end(places, first, others, between)


def _paths(
    path: tuple[x509.Certificate, ...],
    between: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
) -> Iterator[tuple[x509.Certificate, ...]]:
    """Every way from the last certificate of a path to a root, the likeliest first."""
    if len(path) > PATH_MAX:
        return
    # During an authority's renewal two certificates hold one key: the one that lasts comes first.
    for root in sorted(roots, key=_end, reverse=True):
        if is_signed(path[-1], root):
            yield (*path, root)
    for ca in sorted(between, key=_end, reverse=True):
        if ca not in path and is_signed(path[-1], ca):
            yield from _paths((*path, ca), between, roots)


def _end(certificate: x509.Certificate) -> tuple[bool, datetime]:
    return is_authority(certificate), not_after(certificate)


def _check(
    places: Places,
    path: tuple[x509.Certificate, ...],
    others: Sequence[x509.Certificate],
    now: datetime,
) -> None:
    for below, ca in enumerate(path[1:]):
        place = places.certificate if ca in others else places.ca_cert
        title = ca.subject.rfc4514_string()[:80]
        if not is_authority(ca):
            refuse(place, f"{title} is not a CA (basicConstraints, keyUsage)")
        if not not_before(ca) <= now < not_after(ca):
            begin, end = moment(not_before(ca)), moment(not_after(ca))
            refuse(place, f"the CA certificate {title} is valid only from {begin} to {end}")
        check_strength(f"{place}: {title}", public_key(place, ca))
        if cause := unknown_critical(ca) or _limits(ca, below, names(path[0])):
            refuse(place, f"the CA certificate {title} {cause}")


def _limits(ca: x509.Certificate, below: int, found: Sequence[str]) -> str:
    """Which of its limits an authority has passed; empty: none (RFC 5280 section 4.2.1)."""
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
    if basic.path_length is not None and below > basic.path_length:
        return f"allows {basic.path_length} CA certificates below it, but there are {below}"
    try:
        limits = ca.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ""
    permitted, excluded = _dns(limits.permitted_subtrees), _dns(limits.excluded_subtrees)
    for name in found:
        if permitted and not _is_below(name, permitted):
            return f"may only vouch for names at or below {', '.join(permitted[:3])}"
        if _is_below(name, excluded):
            return f"may not vouch for the name {name[:80]}"
    return ""


def _dns(subtrees: Sequence[x509.GeneralName] | None) -> list[str]:
    return [name.value for name in subtrees or () if isinstance(name, x509.DNSName)]


def _is_below(name: str, limits: Sequence[str]) -> bool:
    end = f".{name.lower()}"
    return any(end.endswith(f".{limit.lower().removeprefix('.')}") for limit in limits)


def _refuse_end(
    places: Places,
    first: x509.Certificate,
    others: Sequence[x509.Certificate],
    between: Sequence[x509.Certificate],
) -> NoReturn:
    """Say where the way from a certificate ends, and why."""
    path = [first]
    while above := [ca for ca in between if ca not in path and is_signed(path[-1], ca)]:
        path.append(above[0])
    top = path[-1]
    title, issuer = top.subject.rfc4514_string()[:80], top.issuer.rfc4514_string()[:80]
    if cause := broken_signature(top):
        place = places.certificate if top in others else places.ca_cert
        refuse(place, f"the CA certificate {title} is {cause}")
    if top == first:
        refuse(
            places.certificate,
            f"the certificate, issued by {issuer}, is not signed by a CA in {places.ca_cert}",
        )
    refuse(
        places.ca_cert,
        f"holds no root above {title}: expected the self-signed certificate of {issuer}, as the "
        "IKE daemon accepts nothing else as a root",
    )
