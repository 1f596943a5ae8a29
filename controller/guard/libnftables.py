# SPDX-License-Identifier: Apache-2.0
"""libnftables in this process: one JSON transaction in, one JSON answer out.

Edge. Input: lists of JSON commands (libnftables-json(5)). Output: the listed objects.
No fork; the network namespace is that of the thread that makes the first call. A context must not
be used by two threads at once.

Source: include/nftables/libnftables.h of nftables 1.0.6; the ABI is libnftables.so.1.
"""

import ctypes
import json
from typing import Any, TypeAlias

import tenacity

from ovn_ipsec.errors import NftError

Command: TypeAlias = dict[str, Any]
"""One entry of the ``nftables`` array of libnftables-json(5)."""

_SONAME = "libnftables.so.1"
_OUTPUT_JSON = 1 << 4
_OUTPUT_NUMERIC_PROTO = 1 << 7
_OUTPUT_NUMERIC_PRIO = 1 << 8
_OUTPUT_NUMERIC_SYMBOL = 1 << 9
_INTERRUPTED = "Interrupted system call"
_MISSING = "No such file or directory"


class MissingError(NftError):
    """The transaction names something that does not exist."""


class InterruptedTransactionError(NftError):
    """Someone changed the ruleset while the transaction was being prepared."""


class LibNftables:
    """One libnftables context; it opens at the first call."""

    def __init__(self) -> None:
        self._lib: ctypes.CDLL | None = None
        self._ctx: ctypes.c_void_p | None = None

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(InterruptedTransactionError),
        stop=tenacity.stop_after_attempt(5),
        reraise=True,
    )
    def transact(self, commands: list[Command]) -> list[Command]:
        """Run one transaction: all of it takes effect at once, or nothing does.

        Args:
            commands: in order.

        Returns:
            The objects of the answer, without its header; empty unless something was listed.

        Raises:
            MissingError: something that was named does not exist.
            NftError: the library is missing or the kernel refused.
        """
        lib, ctx = self._open()
        text = json.dumps({"nftables": commands}).encode()
        failed = lib.nft_run_cmd_from_buffer(ctx, text)
        output = lib.nft_ctx_get_output_buffer(ctx)
        error = lib.nft_ctx_get_error_buffer(ctx)
        if failed:
            raise _error(error.decode(errors="replace") if error else "")
        return [
            entry
            for entry in (json.loads(output)["nftables"] if output else [])
            if "metainfo" not in entry
        ]

    def close(self) -> None:
        """Free the context and its socket; the ruleset stays."""
        if self._lib is not None and self._ctx is not None:
            self._lib.nft_ctx_free(self._ctx)
        self._ctx = None

    def _open(self) -> tuple[ctypes.CDLL, ctypes.c_void_p]:
        if self._lib is None:
            self._lib = _load()
        if self._ctx is None:
            ctx = self._lib.nft_ctx_new(0)
            if not ctx:
                raise NftError(f"{_SONAME} gives no context")
            self._ctx = ctypes.c_void_p(ctx)
            self._lib.nft_ctx_buffer_output(self._ctx)
            self._lib.nft_ctx_buffer_error(self._ctx)
            self._lib.nft_ctx_output_set_flags(
                self._ctx,
                _OUTPUT_JSON
                | _OUTPUT_NUMERIC_PROTO
                | _OUTPUT_NUMERIC_PRIO
                | _OUTPUT_NUMERIC_SYMBOL,
            )
        return self._lib, self._ctx


def _load() -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL(_SONAME)
    except OSError as error:
        raise NftError(f"cannot load {_SONAME}: {error}") from error
    lib.nft_ctx_new.argtypes = [ctypes.c_uint32]
    lib.nft_ctx_new.restype = ctypes.c_void_p
    lib.nft_ctx_free.argtypes = [ctypes.c_void_p]
    lib.nft_ctx_free.restype = None
    lib.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    lib.nft_ctx_output_set_flags.restype = None
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(lib, name).argtypes = [ctypes.c_void_p]
        getattr(lib, name).restype = ctypes.c_int
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(lib, name).argtypes = [ctypes.c_void_p]
        getattr(lib, name).restype = ctypes.c_char_p
    lib.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    lib.nft_run_cmd_from_buffer.restype = ctypes.c_int
    return lib


def _error(text: str) -> NftError:
    lines = [line for line in text.splitlines() if line.startswith(("Error", "internal"))]
    summary = "; ".join(lines)[:500] or "the transaction failed without a reason"
    if _INTERRUPTED in summary:
        return InterruptedTransactionError(summary)
    if _MISSING in summary:
        return MissingError(summary)
    return NftError(summary)
