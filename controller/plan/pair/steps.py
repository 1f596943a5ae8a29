# SPDX-License-Identifier: Apache-2.0
"""Pure: the steps that can be applied to the IKE daemon for one pair, one small exchange each."""

from __future__ import annotations

from dataclasses import dataclass

from ..connection import ConnConfig, ConnName


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Load or replace the connection."""

    config: ConnConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Unload:
    """Unload the connection."""

    name: ConnName


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """Install the trap of a child, replacing an older one without a gap."""

    name: ConnName
    child: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Uninstall:
    """Remove the trap of a child."""

    name: ConnName
    child: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Initiate:
    """Start to bring a child up."""

    name: ConnName
    child: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminateIke:
    """Take an IKE_SA down with its children."""

    name: ConnName
    ike_id: int
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminateChild:
    """Take one CHILD_SA down."""

    name: ConnName
    child_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RekeyChild:
    """Replace a CHILD_SA; this restores its kernel entries if someone has removed them."""

    name: ConnName
    child_id: int


Step = Load | Unload | Install | Uninstall | Initiate | TerminateIke | TerminateChild | RekeyChild
