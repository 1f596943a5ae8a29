# SPDX-License-Identifier: Apache-2.0
"""Pure: which certificates a stock ovs-monitor-ipsec can be given, of this chassis and of peers.

It takes the identity of either end out of the certificate's subject: what openssl(1) prints
between ``CN=`` and the next comma. That goes into the configuration of the IKE daemon as it is, so
it has to be the name of the chassis and nothing else.

Source: ovs-monitor-ipsec, IPsecMonitor._get_cn_from_cert.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from ovn_ipsec.errors import InputError

from .pins import KEY, TABLE, unfit

UNREAD = "ovs-monitor-ipsec finds no chassis name in its subject: expected O and CN, the CN last"


def stock_fault(chassis: str, certificate: x509.Certificate, now: datetime) -> str:
    """Say why ovs-monitor-ipsec cannot prove with a certificate that it is a chassis.

    Args:
        chassis: The name that peers expect.
        certificate: Its own.
        now: Wall time, aware.

    Returns:
        Empty if it can, and if peers can pin it.
    """
    return unfit(chassis, certificate, now) or unnamed(chassis, certificate)


def unnamed(chassis: str, certificate: x509.Certificate) -> str:
    """Say why ovs-monitor-ipsec does not read a chassis' name in a subject; empty if it does."""
    try:
        *before, last = certificate.subject.rdns
        names = [(part.oid, part.value) for part in last]
    except Exception:  # noqa: BLE001 - hostile bytes: whatever the parser makes of a subject
        return UNREAD
    return "" if before and names == [(NameOID.COMMON_NAME, chassis)] else UNREAD


def readable(row: str, pins: Iterable[bytes]) -> tuple[tuple[bytes, ...], InputError | None]:
    """Take those of a peer's certificates in which ovs-monitor-ipsec finds the peer's name.

    Args:
        row: The peer's name.
        pins: Certificates that were checked (``pins.Pins.of``), DER.

    Returns:
        These, in their order, and why another one cannot be used.
    """
    good: list[bytes] = []
    refusal: InputError | None = None
    for der in pins:
        fault = unnamed(row, x509.load_der_x509_certificate(der))
        if fault:
            refusal = InputError(
                table=TABLE, row=row, key=f"external_ids:{KEY}", text="a certificate", reason=fault
            )
        else:
            good.append(der)
    return tuple(good), refusal
