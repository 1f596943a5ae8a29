# SPDX-License-Identifier: Apache-2.0
"""Shell: which of this chassis' credentials the IKE daemon has accepted.

A credential is used only once the daemon has confirmed it: it lists the key, and it has accepted a
connection with the certificate. Until then, and if it refuses, the previous credential stays in
use and its key in the daemon. A refused one is offered again after a while, or as soon as it or the
daemon is a different one.

Only private keys that we have loaded are removed: their ids are kept on disk, since another program
may have loaded more. Shared keys are recognised by their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256

import structlog

from ovn_ipsec.errors import EdgeError, IkeError
from ovn_ipsec.model.observation import Known
from ovn_ipsec.model.policy import Auth
from ovn_ipsec.schema.open_vswitch import OCSP_URI

from ..plan.credentials.credential import Credential, Secret
from ..plan.credentials.proof import KEY_PREFIX, LocalCredentials
from ..state_dir import State
from .backend import IkeBackend

_log = structlog.get_logger()

NO_FETCHER = f"cannot fetch over HTTP, so {OCSP_URI} has no effect: its plugin curl is missing"
RETRY_S, RETRY_MAX_S = 10.0, 600.0
"""From a refusal until the same is offered again, twice as long each time."""
LOOK_S = 60.0
"""Between two checks that the daemon still has what it was given: others may clear it."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    reason: str
    again_at: float
    wait_s: float


class Keyring:
    """What the daemon should hold besides connections, and what of it the daemon has confirmed."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._offered = LocalCredentials()
        self.credentials = LocalCredentials()
        """What may be used: the part of the offer that the daemon has accepted."""
        self._secrets: dict[str, Secret] = {}
        """By the ids of their keys: of what is offered, of what is in use, and of `_extra`."""
        self._with_key: frozenset[str] = frozenset()
        """Which keys came with what is offered."""
        self._extra: frozenset[str] = frozenset()
        self._loaded: set[str] = set()
        self._confirmed: set[str] = set()
        """Those of them that it lists."""
        self._accepted: set[str] = set()
        """Fingerprints of credentials that it has accepted."""
        self._given: frozenset[str] | None = None
        self._tidy = True
        self._tidy_at = float("-inf")
        self._crls: dict[str, bytes] = {}
        self._crls_loaded: set[str] = set()
        self._ocsp: tuple[tuple[bytes, ...], str] = ((), "")
        self._ocsp_set = False
        self._refusals: dict[str, _Refusal] = {}
        self._fetches = True
        self._look_at = float("-inf")
        self._reached = False
        self._cleared = False

    # --- what is wanted --------------------------------------------------------------------------

    def offer(self, credentials: LocalCredentials, keys: Mapping[str, Secret]) -> None:
        """Set what this chassis would prove itself with.

        Secrets and what is demanded of peers are in use at once: they come with connections. What
        is no longer offered is no longer used, at once; its key goes with the next ``tidy``.

        Args:
            credentials: What was judged to be good.
            keys: Private keys by the daemon's ids; a credential without one is ignored.
        """
        self._offered, self._with_key = credentials, frozenset(keys)
        self._secrets.update(keys)
        self._use()

    def want(self, keys: Mapping[str, Secret]) -> None:
        """Set private keys that every daemon is given in addition, for whatever purpose."""
        self._extra = frozenset(keys)
        self._secrets.update(keys)
        self._use()

    def _use(self) -> None:
        """Use what is offered and confirmed; stop using what is no longer offered."""
        before, wanted = self.credentials, self._secrets.keys()
        self.credentials = replace(
            self._offered,
            ca=self._best(self._offered.ca, before.ca),
            pinned=self._best(self._offered.pinned, before.pinned),
        )
        for old, new in (
            (before.ca, self.credentials.ca),
            (before.pinned, self.credentials.pinned),
        ):
            if new is not None and new != old:
                _log.info("credential_used", subject=new.subject, until=new.not_after)
        found = (*self._offers(), self.credentials.ca, self.credentials.pinned)
        ids = {one.key_id for one in found if one is not None} | self._extra
        self._secrets = {key_id: key for key_id, key in self._secrets.items() if key_id in ids}
        if self._secrets.keys() != wanted or self.credentials != before:
            self.dirty()
        self._loaded &= self._secrets.keys()
        self._confirmed &= self._secrets.keys()

    def _offers(self) -> list[Credential]:
        found = (self._offered.ca, self._offered.pinned)
        return [one for one in found if one is not None and one.key_id in self._with_key]

    def _best(self, offered: Credential | None, used: Credential | None) -> Credential | None:
        if offered is None or offered.key_id not in self._with_key:
            return None
        if offered.fingerprint in self._accepted and offered.key_id in self._confirmed:
            return offered
        return used

    def revoke(self, crls: Iterable[bytes]) -> None:
        """Set the revocation lists that every daemon is given; it keeps the newest of an issuer."""
        self._crls = {sha256(crl).hexdigest(): crl for crl in crls}
        self._crls_loaded &= self._crls.keys()

    def set_ocsp(self, authorities: tuple[bytes, ...], uri: str) -> None:
        """Set whom every daemon asks about certificates of these authorities; empty: nobody."""
        if (authorities, uri) != self._ocsp:
            self._ocsp, self._ocsp_set = (authorities, uri), False

    def lost(self) -> None:
        """Note that the daemon is gone, with everything that it held."""
        for held in (self._loaded, self._confirmed, self._accepted, self._crls_loaded):
            held.clear()
        self._refusals.clear()
        self._ocsp_set = self._reached = False

    # --- what holds ------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Whether the daemon has confirmed all that is wanted, and nothing older is in use."""
        return (
            self._reached
            and self._ocsp_set
            and self._confirmed >= self._secrets.keys()
            and self._crls_loaded >= self._crls.keys()
            and not self._pending()
        )

    @property
    def lacking(self) -> frozenset[Auth]:
        """Methods for which a credential with a key was offered but none is in use."""
        offers, credentials = self._offers(), self.credentials
        ways = {
            Auth.CA: (self._offered.ca, credentials.ca),
            Auth.PINNED: (self._offered.pinned, credentials.pinned),
        }
        return frozenset(way for way, (one, used) in ways.items() if one in offers and used is None)

    @property
    def problem(self) -> str:
        """What the daemon refuses, or cannot do; empty when nothing is known to be wrong."""
        if self._refusals:
            return next(iter(self._refusals.values())).reason
        return NO_FETCHER if self._ocsp[1] and not self._fetches else ""

    def _pending(self) -> list[Credential]:
        """Credentials that the daemon still has to accept: those offered, and those in use."""
        found = (*self._offers(), self.credentials.ca, self.credentials.pinned)
        wanted = {one.fingerprint: one for one in found if one is not None}
        return [one for name, one in wanted.items() if name not in self._accepted]

    def wake_at(self) -> float | None:
        """When ``load`` has something to do again, monotonic seconds; None: not by itself."""
        times = [refusal.again_at for refusal in self._refusals.values()]
        if self._loaded and self._look_at > float("-inf"):
            times.append(self._look_at)
        return min(times, default=None)

    # --- the daemon ------------------------------------------------------------------------------

    def load(self, backend: IkeBackend, now: float | None = None) -> str:
        """Give the daemon what it lacks, and check what it has accepted.

        Args:
            backend: The daemon.
            now: Monotonic seconds; None: what was refused is offered again at once.

        Returns:
            What is wrong, as in `problem`; empty while the daemon is away.
        """
        if not backend.connected:
            return ""
        try:
            self._load(backend, now)
            self._reached = True
        except EdgeError as error:
            # It went in between: nothing is known of what it holds, and nothing was refused.
            _log.warning("ike_keys_unknown", reason=error.diagnostics())
            return error.diagnostics()
        return self.problem

    def _load(self, backend: IkeBackend, now: float | None) -> None:
        attempt = _Attempts(backend, self._refusals, now)
        self._fetches = backend.fetches
        missing = self._crls.keys() - self._crls_loaded
        given = {
            n for n in missing if attempt(f"crl {n}", partial(backend.load_crl, self._crls[n]))
        }
        if given:
            self._crls_loaded |= given
            _log.info("crls_given", lists=len(given))
        if not self._ocsp_set:
            self._ocsp_set = attempt("ocsp", partial(backend.set_ocsp, *self._ocsp))
        for key_id in self._secrets.keys() - self._loaded:
            if attempt(f"key {key_id}", partial(self._give, backend, key_id)):
                self._loaded.add(key_id)
        self._confirm(backend, attempt, now)
        for one in self._pending():
            offer = partial(backend.try_credential, one)
            if one.key_id in self._confirmed and attempt(f"certificate {one.fingerprint}", offer):
                self._accepted.add(one.fingerprint)
        self._use()
        attempt.forget_all_but(
            {"ocsp", *(f"crl {name}" for name in self._crls)}
            | {f"key {key_id}" for key_id in self._secrets}
            | {f"certificate {one.fingerprint}" for one in self._pending()}
        )

    def _give(self, backend: IkeBackend, key_id: str) -> None:
        self._remember(frozenset({key_id}))
        found = backend.load_key(self._secrets[key_id])
        if found != key_id:
            raise IkeError(f"the IKE daemon loaded the key {key_id} for {found[:80]}")

    def _confirm(self, backend: IkeBackend, attempt: _Attempts, now: float | None) -> None:
        """Compare what was given with what the daemon lists, from time to time all of it."""
        is_due = now is not None and now >= self._look_at
        if self._loaded <= self._confirmed and not (is_due and self._loaded):
            return
        match backend.keys():
            case Known(value=listed):
                pass
            case _:
                return
        if now is not None:
            self._look_at = now + LOOK_S
        for key_id in self._loaded - listed:
            if key_id in self._confirmed:
                _log.error("ike_key_missing", id=key_id)
                self._cleared = True
            else:
                attempt.refuse(f"key {key_id}", f"the IKE daemon does not list the key {key_id}")
        self._loaded &= listed
        self._confirmed = set(self._loaded)

    def _remember(self, more: frozenset[str]) -> None:
        given = self._state.key_ids() if self._given is None else self._given
        if not more <= given:
            self._state.keep_key_ids(given | more)
        self._given = given | more

    # --- what nothing uses any more --------------------------------------------------------------

    def take_cleared(self) -> bool:
        """Whether something else has removed credentials from the daemon since the last call.

        The certificates that came with connections are gone with them.
        """
        cleared, self._cleared = self._cleared, False
        return cleared

    def dirty(self) -> None:
        """Note that something may no longer be wanted."""
        self._tidy = True

    def untidy(self, now: float | None) -> bool:
        """Whether tidy() has something to do: what it takes is worth collecting."""
        return self._tidy and (now is None or now >= self._tidy_at)

    def tidy(
        self,
        backend: IkeBackend,
        shared: frozenset[str],
        own: frozenset[str] = frozenset(),
        now: float | None = None,
    ) -> None:
        """Remove what is no longer wanted, once after dirty().

        Args:
            backend: The daemon, connected.
            shared: Ids of the shared keys that connections use.
            own: Ids of the private keys that connections use: a pair that has not gone over to the
                new credential keeps the key of the old one.
            now: Monotonic seconds; None: what has failed is tried again at once.
        """
        if not self.untidy(now):
            return
        self._tidy_at = float("-inf") if now is None else now + RETRY_S
        try:
            self._unload(backend, shared, own)
        except EdgeError as error:
            _log.warning("old_keys_kept", reason=error.diagnostics())
            return
        # What a connection still uses is checked again when the connection may have changed.
        self._tidy = bool((self._given or frozenset()) - self._secrets.keys())
        if not self._tidy:
            self._tidy_at = float("-inf")

    def _unload(self, backend: IkeBackend, shared: frozenset[str], own: frozenset[str]) -> None:
        match backend.keys(), backend.shared_keys():
            case Known(value=keys), Known(value=held):
                pass
            case _:
                raise IkeError("the IKE daemon does not list its keys")
        given = self._state.key_ids() if self._given is None else self._given
        kept = given & (self._secrets.keys() | own)
        for key_id in sorted(keys & given - kept):
            backend.unload_key(key_id)
            _log.info("ike_key_unloaded", id=key_id)
        if kept != given:
            self._state.keep_key_ids(kept)
        self._given = kept
        for key_id in sorted(held - shared):
            if key_id.startswith(KEY_PREFIX):
                backend.unload_shared(key_id)


class _Attempts:
    """Each thing that the daemon is offered, by a name: refused ones wait longer each time."""

    def __init__(
        self, backend: IkeBackend, refusals: dict[str, _Refusal], now: float | None
    ) -> None:
        self._backend, self._refusals, self._now = backend, refusals, now

    def __call__(self, name: str, offer: Callable[[], object]) -> bool:
        """Offer something if its time has come; returns whether it was accepted."""
        before = self._refusals.get(name)
        if before is not None and self._now is not None and self._now < before.again_at:
            return False
        try:
            offer()
        except EdgeError as error:
            if not self._backend.connected:
                raise
            self.refuse(name, error.diagnostics())
            return False
        self._refusals.pop(name, None)
        return True

    def refuse(self, name: str, reason: str) -> None:
        """Record a refusal."""
        before = self._refusals.get(name)
        wait_s = RETRY_S if before is None else min(2 * before.wait_s, RETRY_MAX_S)
        if before is None or before.reason != reason:
            _log.error("ike_key_refused", reason=reason)
        now = 0.0 if self._now is None else self._now
        self._refusals[name] = _Refusal(reason, now + wait_s, wait_s)

    def forget_all_but(self, names: set[str]) -> None:
        """Drop refusals of what is no longer wanted."""
        for name in self._refusals.keys() - names:
            del self._refusals[name]
