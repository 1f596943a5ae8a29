# SPDX-License-Identifier: Apache-2.0
"""Pure: from when and until when a certificate or a revocation list is valid, aware and in UTC.

From version 42 on, the library calls such dates ``..._utc`` and deprecates the earlier names, which
give the same times without a time zone (cryptography, CHANGELOG, 42.0.0). Ubuntu 24.04 has version
41.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509


def not_before(certificate: x509.Certificate) -> datetime:
    """From when on a certificate is valid."""
    begin = _utc(certificate, "not_valid_before")
    assert begin is not None  # noqa: S101 - RFC 5280 section 4.1.2.5: each has both dates
    return begin


def not_after(certificate: x509.Certificate) -> datetime:
    """Until when a certificate is valid."""
    end = _utc(certificate, "not_valid_after")
    assert end is not None  # noqa: S101 - as above
    return end


def next_update(crl: x509.CertificateRevocationList) -> datetime | None:
    """When the next list is due; None if this one does not say."""
    return _utc(crl, "next_update")


def _utc(holder: object, name: str) -> datetime | None:
    if hasattr(holder, f"{name}_utc"):
        aware: datetime | None = getattr(holder, f"{name}_utc")
        return aware
    naive: datetime | None = getattr(holder, name)
    return None if naive is None else naive.replace(tzinfo=UTC)
