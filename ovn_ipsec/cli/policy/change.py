# SPDX-License-Identifier: Apache-2.0
"""Edge: a change of the rules in NB, decided on the rows at the moment when it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ovs.db.idl
from ovsdbapp.backend.ovs_idl.command import BaseCommand

from ...ovsdb.commands import Commands, SetKeys
from .. import gather
from ..database import NB_GLOBAL, global_row
from ..settings import Settings
from ..view import Snapshot
from .editing import Assessment, Changes, Proposal, assess, propose

Decide = Callable[[Snapshot], Changes | str]
"""What to change in a cluster that looks like this, or why nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A change with what it does, written unless something speaks against it."""

    changes: Mapping[str, str | None]
    assessment: Assessment
    written: bool


class ChangeRules(BaseCommand):  # type: ignore[misc]
    """Change rules unless it would be refused; its result is a Decided, or why there is none.

    Should somebody change NB_Global.options before it is written, nothing is, and it is decided
    anew.
    """

    result: Decided | str

    def __init__(
        self, api: Commands, settings: Settings, decide: Decide, *, dry_run: bool = False
    ) -> None:
        """Store what decides.

        Args:
            api: Of NB, with ``NORTHBOUND``.
            settings: Where SB is.
            decide: What to change; called at every attempt.
            dry_run: Write nothing.
        """
        super().__init__(api)
        self._settings, self._decide, self._dry_run = settings, decide, dry_run

    def run_idl(self, txn: ovs.db.idl.Transaction) -> None:
        """Look, decide, and change keys."""
        row = global_row(self.api)
        row.verify("options")
        snapshot = gather.snapshot(self._settings, self.api)
        changes = self._decide(snapshot)
        if isinstance(changes, str):
            self.result = changes
            return
        assessment = assess(proposal(self._settings, snapshot, changes))
        written = not assessment.refusals and not self._dry_run
        if written:
            txn.add_comment("ovn-ipsec: policy")
            SetKeys(self.api, NB_GLOBAL, row.uuid, "options", changes).run_idl(txn)
        self.result = Decided(changes=changes, assessment=assessment, written=written)


def change_rules(settings: Settings, decide: Decide, *, dry_run: bool) -> Decided | str:
    """Change rules in NB.

    Returns:
        What was changed and what it does, or why nothing was.

    Raises:
        OvsdbConflict: Others change NB_Global.options all the time; nothing was written.
        OvsdbError: A database refused or did not answer.
    """
    with gather.northbound(settings) as nb:
        found: Decided | str = nb.run(ChangeRules(nb, settings, decide, dry_run=dry_run))
    return found


def proposal(settings: Settings, snapshot: Snapshot, changes: Changes) -> Proposal:
    """A change, with everything that is needed to assess it.

    Raises:
        OvsdbError: SB does not answer.
    """
    named = propose(snapshot, changes).named
    return propose(gather.with_networks(settings, snapshot, named), changes)
