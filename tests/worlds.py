# SPDX-License-Identifier: Apache-2.0
"""Named worlds: what the southbound says, as rows, for tests of the planner."""

from __future__ import annotations

from collections.abc import Iterable

from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import (
    ClassName,
    ClusterPolicy,
    Mode,
    Phase,
    Profile,
    Treatment,
    class_pair,
)
from ovn_ipsec.schema.encap import ParsedChassis, RawChassis, RawEncap, parse_chassis

Rows = dict[str, ParsedChassis]
A, B, C = ChassisName("chA"), ChassisName("chB"), ChassisName("chC")


def encap(ip: str, kind: str = "geneve", **options: str) -> RawEncap:
    """One encap row; an option's underscore in ``ovn_ipsec`` is the key's hyphen."""
    keys = {key.replace("ovn_ipsec", "ovn-ipsec"): text for key, text in options.items()}
    return RawEncap(type=kind, ip=ip, options=keys)


def chassis(
    name: str, *encaps: RawEncap | str, zones: Iterable[str] = (), **other: str
) -> ParsedChassis:
    """One chassis with its encaps; a bare address is a geneve encap."""
    rows = tuple(encap(one) if isinstance(one, str) else one for one in encaps)
    config = {key.replace("_", "-"): text for key, text in other.items()}
    return parse_chassis(
        RawChassis(name=name, transport_zones=frozenset(zones), other_config=config, encaps=rows)
    )


def two_chassis() -> Rows:
    """Two chassis with one address each."""
    return {A: chassis(A, "10.0.0.1"), B: chassis(B, "10.0.0.2")}


def three_chassis() -> Rows:
    """Three chassis with one address each."""
    return {**two_chassis(), C: chassis(C, "10.0.0.3")}


def mixed_zones() -> Rows:
    """A and B share a zone, C is in another."""
    return {
        A: chassis(A, "10.0.0.1", zones=["z1"]),
        B: chassis(B, "10.0.0.2", zones=["z1", "z2"]),
        C: chassis(C, "10.0.0.3", zones=["z3"]),
    }


def is_remote(*, interconn: bool) -> Rows:
    """B is of another availability zone; A tunnels there when it is a gateway between them."""
    gateway = {"is_interconn": "true"} if interconn else {}
    return {A: chassis(A, "10.0.0.1", **gateway), B: chassis(B, "10.0.0.2", is_remote="true")}


def ipv6() -> Rows:
    """Two chassis over IPv6."""
    return {A: chassis(A, "fd00::1"), B: chassis(B, "fd00::2")}


def mixed_families() -> Rows:
    """A speaks both families, B only IPv6."""
    return {A: chassis(A, "10.0.0.1", "fd00::1"), B: chassis(B, "fd00::2")}


def dst_port() -> Rows:
    """B listens on a port of its own."""
    return {A: chassis(A, "10.0.0.1"), B: chassis(B, encap("10.0.0.2", dst_port="6082"))}


def two_encaps() -> Rows:
    """B has two addresses."""
    return {A: chassis(A, "10.0.0.1"), B: chassis(B, "10.0.0.2", "10.0.1.2")}


def mixed_types() -> Rows:
    """A has both types, B only vxlan."""
    both = (encap("10.0.0.1"), encap("10.0.0.1", "vxlan"))
    return {A: chassis(A, *both), B: chassis(B, encap("10.0.0.2", "vxlan"))}


def no_common_type() -> Rows:
    """A has geneve, B vxlan."""
    return {A: chassis(A, "10.0.0.1"), B: chassis(B, encap("10.0.0.2", "vxlan"))}


def duplicate_ips() -> Rows:
    """B and C claim one address."""
    return {**two_chassis(), C: chassis(C, "10.0.0.2")}


def own_ip_claimed() -> Rows:
    """C claims A's address."""
    return {**two_chassis(), C: chassis(C, "10.0.0.1")}


def junk() -> Rows:
    """B has a good encap and a bad one, C a mode that is none, and one row a bad name."""
    return {
        A: chassis(A, "10.0.0.1"),
        B: chassis(B, "10.0.0.2", "10.0.0.999"),
        C: chassis(C, encap("10.0.0.3", ovn_ipsec="maybe")),
        "d; rm": chassis("d; rm", "10.0.0.4"),
    }


def labelled(
    name: str, ip: str, class_name: str = "", mode: str = "require", **other: str
) -> ParsedChassis:
    """A chassis as northd_ext leaves it; with an empty mode its row has lost our keys."""
    keys = {"ovn_ipsec": mode} if mode else {}
    label = {"ovn_ipsec-class": class_name} if class_name else {}
    return chassis(name, encap(ip, **keys, **label), **other)


def two_classes(one: str = "lab", other: str = "prod", mode: str = "require") -> Rows:
    """Two chassis, each of a class, and what they fall back to."""
    return {A: labelled(A, "10.0.0.1", one, mode), B: labelled(B, "10.0.0.2", other, mode)}


def matrix(**treatments: str) -> dict[tuple[ClassName, ClassName], Treatment]:
    """Classes by treatment: ``lab_prod="off"``, ``lab_lab="require/cnsa"``."""
    found: dict[tuple[ClassName, ClassName], Treatment] = {}
    for names, text in treatments.items():
        one, _, other = names.partition("_")
        mode, _, profile = text.partition("/")
        treatment = Treatment(mode=Mode(mode), profile=Profile(profile or "default"))
        found[class_pair(ClassName(one), ClassName(other))] = treatment
    return found


def policy(
    phase: Phase, default: Mode = Mode.REQUIRE, floor: Mode = Mode.OFF, generation: int = 1
) -> ClusterPolicy:
    """What SB_Global says."""
    return ClusterPolicy(generation=generation, phase=phase, default=default, floor=floor)
