# SPDX-License-Identifier: Apache-2.0
"""A private key and its certificate as PKCS #12, without a password.

Pure. Input: both in DER. Output: a file for pk12util. NSS finds out which certificate a key belongs
to by the attribute localKeyId, which cryptography 43, that of Debian 13, leaves out.

Source: RFC 7292.
"""

import hmac
from hashlib import sha256

SALT_BYTES = 8
_SEQUENCE, _SET, _INTEGER, _OCTETS, _OID, _BMP, _TAGGED = 0x30, 0x31, 0x02, 0x04, 0x06, 0x1E, 0xA0
_NULL = b"\x05\x00"
_DATA = bytes.fromhex("2a864886f70d010701")
_FRIENDLY_NAME = bytes.fromhex("2a864886f70d010914")
_LOCAL_KEY_ID = bytes.fromhex("2a864886f70d010915")
_X509 = bytes.fromhex("2a864886f70d01091601")
_KEY_BAG = bytes.fromhex("2a864886f70d010c0a0101")
_CERTIFICATE_BAG = bytes.fromhex("2a864886f70d010c0a0103")
_SHA256 = bytes.fromhex("608648016503040201")
_BLOCK = 64
"""Of SHA-256."""
_FOR_MAC = 3
_LONG = 0x80
"""From this length on, a length has a length."""


def format_pkcs12(name: str, key_der: bytes, certificate_der: bytes, salt: bytes) -> bytes:
    """Make the file.

    Args:
        name: What both are called in the database.
        key_der: The private key as PKCS #8.
        certificate_der: A certificate for it.
        salt: SALT_BYTES that nobody has used before.
    """
    named = _attribute(_FRIENDLY_NAME, _der(_BMP, name.encode("utf-16-be")))
    joined = _attribute(_LOCAL_KEY_ID, _der(_OCTETS, sha256(certificate_der).digest()))
    attributes = _der(_SET, *sorted((named, joined)))
    certificate = _der(_SEQUENCE, _der(_OID, _X509), _within(_der(_OCTETS, certificate_der)))
    bags = _der(
        _SEQUENCE,
        _der(_SEQUENCE, _der(_OID, _CERTIFICATE_BAG), _within(certificate), attributes),
        _der(_SEQUENCE, _der(_OID, _KEY_BAG), _within(key_der), attributes),
    )
    safe = _der(_SEQUENCE, _content(bags))
    code = hmac.digest(_mac_key(salt), safe, "sha256")
    algorithm = _der(_SEQUENCE, _der(_OID, _SHA256), _NULL)
    # One iteration, which is what is meant if nothing is said: there is no password to guess.
    mac = _der(_SEQUENCE, _der(_SEQUENCE, algorithm, _der(_OCTETS, code)), _der(_OCTETS, salt))
    return _der(_SEQUENCE, _der(_INTEGER, b"\x03"), _content(safe), mac)


def _mac_key(salt: bytes) -> bytes:
    """Derive the key of the MAC from the empty password, of which the end of the text is left."""
    salted = (salt * _BLOCK)[:_BLOCK]
    return sha256(bytes([_FOR_MAC]) * _BLOCK + salted + bytes(_BLOCK)).digest()


def _content(data: bytes) -> bytes:
    return _der(_SEQUENCE, _der(_OID, _DATA), _within(_der(_OCTETS, data)))


def _attribute(oid: bytes, value: bytes) -> bytes:
    return _der(_SEQUENCE, _der(_OID, oid), _der(_SET, value))


def _within(der: bytes) -> bytes:
    return _der(_TAGGED, der)


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    length = len(body)
    if length < _LONG:
        return bytes((tag, length)) + body
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG | len(size))) + size + body
