# SPDX-License-Identifier: Apache-2.0
"""Edge: the nftables table of the guard as libnftables lists it, in this process.

Source: include/nftables/libnftables.h of nftables 1.0.6; the ABI is libnftables.so.1.
"""

from __future__ import annotations

import ctypes
import json
import re
from pathlib import Path

from ...errors import NftError

FAMILY, TABLE, PORTS = "inet", "ovn_ipsec", "ports"
_SONAME = "libnftables.so.1"
_JSON, _NUMERIC = 1 << 4, 1 << 7 | 1 << 8 | 1 << 9
_MISSING = "No such file or directory"
_NET_ADMIN = 12
"""CAP_NET_ADMIN of include/uapi/linux/capability.h."""
_STATUS = Path("/proc/self/status")


def listing(*, as_json: bool = False) -> str:
    """List the table.

    Returns:
        Its text, or its JSON (libnftables-json(5)); empty where there is no such table.

    Raises:
        NftError: The library is missing, or the kernel refused.
    """
    _check_rights()
    lib = _load()
    context = ctypes.c_void_p(lib.nft_ctx_new(0))
    try:
        lib.nft_ctx_buffer_output(context)
        lib.nft_ctx_buffer_error(context)
        lib.nft_ctx_output_set_flags(context, _NUMERIC | (_JSON if as_json else 0))
        failed = lib.nft_run_cmd_from_buffer(context, f"list table {FAMILY} {TABLE}".encode())
        said = lib.nft_ctx_get_error_buffer(context) or b""
        output = lib.nft_ctx_get_output_buffer(context) or b""
    finally:
        lib.nft_ctx_free(context)
    if not failed:
        return str(output.decode(errors="replace"))
    reason = said.decode(errors="replace").strip()
    if _MISSING in reason:
        return ""
    raise NftError(f"cannot list table {FAMILY} {TABLE}: {reason.partition(chr(10))[0]}")


def _check_rights() -> None:
    """Refuse without CAP_NET_ADMIN: libnftables would say so on standard error by itself."""
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", _STATUS.read_text("ascii"), re.MULTILINE)
    if found is not None and not int(found[1], 16) >> _NET_ADMIN & 1:
        raise NftError(f"cannot list table {FAMILY} {TABLE}: Operation not permitted")


def guarded_ports() -> frozenset[int] | None:
    """Read which UDP ports the table guards; None: there is no such table.

    Raises:
        NftError: It cannot be read.
    """
    text = listing(as_json=True)
    if not text:
        return None
    try:
        return parse_ports(text)
    except (ValueError, KeyError, TypeError) as error:
        raise NftError(f"libnftables did not list a table: {error!r}"[:200]) from error


def parse_ports(text: str) -> frozenset[int]:
    """Parse a listing in JSON: the set of ports, where a chain is there that looks into it.

    Raises:
        ValueError, KeyError, TypeError: It is no such listing.
    """
    entries = json.loads(text)["nftables"]
    sets = [one["set"] for one in entries if "set" in one]
    rules = [one for one in entries if "rule" in one]
    if not rules:
        return frozenset()
    return frozenset(
        int(port) for found in sets if found["name"] == PORTS for port in found.get("elem", ())
    )


def _load() -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL(_SONAME)
    except OSError as error:
        raise NftError(f"cannot load {_SONAME}: {error}") from error
    lib.nft_ctx_new.argtypes = [ctypes.c_uint32]
    lib.nft_ctx_new.restype = ctypes.c_void_p
    lib.nft_ctx_free.argtypes = [ctypes.c_void_p]
    lib.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(lib, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(lib, name).argtypes = [ctypes.c_void_p]
        getattr(lib, name).restype = ctypes.c_char_p
    lib.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return lib
