# SPDX-License-Identifier: Apache-2.0
"""The guard as an nftables table, which no IKE daemon knows about or flushes.

Edge. Input: guard states. Output: what the table holds, and its counters. Each apply is one
transaction: the kernel goes from one generation of rules to the next, with nothing in between.
"""

from ovn_ipsec.errors import NftError
from ovn_ipsec.model.observation import Known, Unknown

from ..plan.guard import GuardCounters, GuardObserved, GuardState, difference
from . import nft_rules, nft_table
from .libnftables import LibNftables, MissingError

_LIST_TABLE = [{"list": {"table": {"family": nft_rules.FAMILY, "name": nft_rules.TABLE}}}]
_LIST_TABLES = [{"list": {"tables": {"family": nft_rules.FAMILY}}}]
_LIST_COUNTERS = [{"list": {"counters": {"family": nft_rules.FAMILY, "table": nft_rules.TABLE}}}]


class NftGuardLayer:
    """The layer ``nft``; see GuardLayer."""

    def __init__(self) -> None:
        """Do nothing; the first call opens libnftables."""
        self._nft = LibNftables()

    @property
    def name(self) -> str:
        """Short name for status and logs."""
        return "nft"

    def part_of(self, state: GuardState) -> GuardState:
        """Return all of it: this layer sees VNIs.

        Args:
            state: a whole guard.

        Returns:
            The same.
        """
        return state

    def available(self) -> Known[bool] | Unknown:
        """Try every expression in a table that the same transaction deletes.

        Returns:
            Known false if the kernel refuses one of them; Unknown without libnftables or
            without CAP_NET_ADMIN.
        """
        try:
            self._nft.transact(_LIST_TABLE)
        except MissingError:
            pass
        except NftError as error:
            return Unknown(error.diagnostics())
        try:
            self._nft.transact(nft_table.probe_commands())
        except NftError as error:
            if "not permitted" in error.diagnostics():
                return Unknown(error.diagnostics())
            return Known(value=False)
        return Known(value=True)

    def observe(self) -> Known[GuardObserved] | Unknown:
        """List the table.

        Returns:
            What the table holds; its state is ``None`` if there is no table.
        """
        try:
            return Known(nft_table.parse_table(self._nft.transact(_LIST_TABLE)))
        except MissingError:
            return Known(GuardObserved(state=None))
        except NftError as error:
            return Unknown(error.diagnostics())
        except (KeyError, TypeError, ValueError) as error:
            return Unknown(f"cannot read the listing of {nft_rules.TABLE}: {error!r}")

    def apply(self, before: GuardState | None, after: GuardState | None) -> None:
        """Change what differs, in one transaction; the counters continue.

        Args:
            before: what is in force.
            after: what should be.

        Raises:
            NftError: the kernel refused.
        """
        if after is None:
            self._nft.transact(nft_table.removal_commands())
            return
        if before is None:
            self.rebuild(after)
            return
        change = difference(before, after)
        if change.is_empty:
            return
        try:
            self._nft.transact(nft_table.change_commands(change, after.vnis))
        except MissingError:
            self.rebuild(after)

    def rebuild(self, after: GuardState) -> None:
        """Fill the table again in one transaction, keeping its chains and counters.

        If that does not repair it, for example because a set of ours has another type, the table
        is replaced; its chains are then hooked again.

        Args:
            after: what should be in force.

        Raises:
            NftError: the kernel refused.
        """
        build = nft_table.build_commands(after)
        try:
            self._nft.transact(build)
        except NftError:
            self._nft.transact([*nft_table.removal_commands(), *build])
            return
        match self.observe():
            case Known(value) if not value.sound:
                self._nft.transact([*nft_table.removal_commands(), *build])

    def counters(self) -> Known[GuardCounters] | Unknown:
        """Read the named counters.

        Returns:
            Packets since the table was made.
        """
        try:
            epoch = nft_table.parse_handle(self._nft.transact(_LIST_TABLES))
            found = nft_table.parse_counters(self._nft.transact(_LIST_COUNTERS))
            packets = {name: found[name] for name in nft_rules.COUNTERS}
            return Known(GuardCounters(**packets, epoch=epoch))
        except NftError as error:
            return Unknown(error.diagnostics())
        except KeyError as error:
            return Unknown(f"no counter {error}")

    def close(self) -> None:
        """Free libnftables; the table stays in force."""
        self._nft.close()
