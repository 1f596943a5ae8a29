# SPDX-License-Identifier: Apache-2.0
"""Shell: the keys that the IKE daemon shall hold: those that are wanted go in, others go out.

Of private keys only those are taken away that we have given: their ids are kept on disk, for a
program of somebody else's may have loaded more. Shared keys are told by the ids that they have.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from ovn_ipsec.errors import EdgeError, IkeError
from ovn_ipsec.model.observation import Known
from ovn_ipsec.schema.open_vswitch import OCSP_URI

from .ike.backend import IkeBackend
from .plan.credential import Secret
from .plan.proof import KEY_PREFIX
from .state_dir import State

_log = structlog.get_logger()

NO_FETCHER = f"cannot fetch, so {OCSP_URI} tells it nothing: it lacks its plugin curl"


class Keyring:
    """Private keys by their id, and which of them the daemon has; what is known to be revoked."""

    def __init__(self, state: State) -> None:
        """Store where the ids are kept."""
        self._state = state
        self._wanted: dict[str, Secret] = {}
        self._loaded: set[str] = set()
        self._given: frozenset[str] | None = None
        self._tidy = True
        self._crls: tuple[bytes, ...] = ()
        self._crls_loaded = True
        self._asks: tuple[tuple[bytes, ...], str] = ((), "")
        self._told = False

    def want(self, keys: Mapping[str, Secret]) -> None:
        """Set the private keys that every daemon is given."""
        self._wanted = dict(keys)
        self._loaded &= self._wanted.keys()

    def revoke(self, crls: tuple[bytes, ...]) -> None:
        """Set the revocation lists that every daemon is given; it keeps the newest of an issuer."""
        if crls != self._crls:
            self._crls, self._crls_loaded = crls, False

    def ask(self, authorities: tuple[bytes, ...], uri: str) -> None:
        """Set whom every daemon asks about certificates of these authorities; empty: nobody."""
        if (authorities, uri) != self._asks:
            self._asks, self._told = (authorities, uri), False

    @property
    def settled(self) -> bool:
        """Whether the daemon has taken all that is wanted."""
        return self._wanted.keys() <= self._loaded and self._crls_loaded and self._told

    def lost(self) -> None:
        """Take note that the daemon is gone, and all that it held."""
        self._loaded.clear()
        self._crls_loaded, self._told = not self._crls, False

    def load(self, backend: IkeBackend) -> str:
        """Give the daemon what it lacks; says what went wrong."""
        missing = [key_id for key_id in self._wanted if key_id not in self._loaded]
        if not backend.connected:
            return ""
        try:
            for crl in () if self._crls_loaded else self._crls:
                backend.load_crl(crl)
            if not self._crls_loaded:
                _log.info("crls_given", lists=len(self._crls))
            self._crls_loaded = True
            if not self._told:
                backend.ask(*self._asks)
                self._told = True
            if missing:
                self._remember(frozenset(missing))
            for key_id in missing:
                backend.load_key(self._wanted[key_id])
                self._loaded.add(key_id)
        except EdgeError as error:
            _log.error("ike_key_refused", reason=error.diagnostics())
            return error.diagnostics()
        return NO_FETCHER if self._asks[1] and not backend.fetches else ""

    def _remember(self, more: frozenset[str]) -> None:
        given = self._state.key_ids() if self._given is None else self._given
        if not more <= given:
            self._state.keep_key_ids(given | more)
        self._given = given | more

    def dirty(self) -> None:
        """Take note that something may not be wanted any more."""
        self._tidy = True

    def tidy(self, backend: IkeBackend, shared: frozenset[str]) -> None:
        """Take away what is not wanted any more, once after dirty().

        Args:
            backend: The daemon, connected.
            shared: Ids of the shared keys that connections use.
        """
        if not self._tidy:
            return
        try:
            self._unload(backend, shared)
            self._tidy = False
        except EdgeError as error:
            _log.warning("old_keys_kept", reason=error.diagnostics())

    def _unload(self, backend: IkeBackend, shared: frozenset[str]) -> None:
        match backend.keys(), backend.shared_keys():
            case Known(value=keys), Known(value=held):
                pass
            case _:
                raise IkeError("the IKE daemon does not tell its keys")
        given = self._state.key_ids() if self._given is None else self._given
        for key_id in sorted(keys & given - self._wanted.keys()):
            backend.unload_key(key_id)
            _log.info("ike_key_unloaded", id=key_id)
        kept = given & self._wanted.keys()
        if kept != given:
            self._state.keep_key_ids(kept)
        self._given = kept
        for key_id in sorted(held - shared):
            if key_id.startswith(KEY_PREFIX):
                backend.unload_shared(key_id)
