# SPDX-License-Identifier: Apache-2.0
"""Clusters for the tests of `ovn-ipsec policy` and `explain`, as rows of both databases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ovn_ipsec.cli.decisions import Evaluation, asked
from ovn_ipsec.cli.view import RawNorthbound, RawSouthbound, Snapshot, make_snapshot
from ovn_ipsec.model.policy import ClusterPolicy, Mode, Phase, Profile
from ovn_ipsec.model.status import Digest, PairCounts
from ovn_ipsec.policy.topology import Membership
from ovn_ipsec.schema.encap import CLASS, MODE, RawChassis, RawEncap
from ovn_ipsec.schema.report import format_digest
from ovn_ipsec.schema.sb_global import format_policy


def chassis(name: str, *ips: str, zones: Iterable[str] = (), **more) -> RawChassis:
    """A chassis with geneve encaps, or those of `type=`."""
    other = {key.replace("_", "-"): str(value) for key, value in more.pop("other", {}).items()}
    kinds = more.pop("types", ("geneve",))
    options = more.pop("options", {})
    return RawChassis(
        name=name,
        transport_zones=frozenset(zones),
        other_config=other,
        encaps=tuple(RawEncap(type=t, ip=ip, options=options) for ip in ips for t in kinds),
        **more,
    )


def hosts(number: int) -> tuple[RawChassis, ...]:
    """hv1, hv2, ... without zones."""
    return tuple(chassis(f"hv{n}", f"10.0.0.{n}") for n in range(1, number + 1))


def report(**changes) -> dict[str, str]:
    """Chassis_Private.external_ids of a controller that follows generation 7."""
    values = {
        "generation": 7,
        "phase": Phase.ENFORCE,
        "counts": PairCounts(encrypted=2),
        "agent": "ovn-ipsec-controller",
        "profiles": frozenset({Profile.DEFAULT, Profile.CNSA}),
    }
    return format_digest(Digest(**(values | changes)))


def published(*rules: str, **changes) -> dict[str, str]:
    """SB_Global.external_ids."""
    values = {
        "generation": 7,
        "phase": Phase.ENFORCE,
        "default": Mode.REQUIRE,
        "floor": Mode.OFF,
        "rules": rules,
    }
    return format_policy(ClusterPolicy(**(values | changes)))


def cluster(
    *rows: RawChassis,
    rules: Mapping[int | str, str] | None = None,
    options: Mapping[str, str] | None = None,
    switches: Iterable[tuple[str, Mapping[str, str]]] = (),
    sb: Mapping[str, str] | None = None,
    privates: Mapping[str, Mapping[str, str]] | None = None,
    ipsec: bool = True,
    **more,
) -> Snapshot:
    """A snapshot of a cluster with these rows."""
    keys = {f"ovn-ipsec-rule-{number}": text for number, text in (rules or {}).items()}
    made = make_snapshot(
        RawNorthbound(
            ipsec=ipsec,
            options={**keys, **(options or {})},
            external_ids=more.pop("reported", {}),
            switches=tuple(switches),
        ),
        RawSouthbound(external_ids=sb or {}, chassis=rows, privates=privates or {}),
    )
    return replace(made, **more)


def member(*networks: str, reaches: Iterable[str] = ()) -> Membership:
    """A chassis that hosts networks, and is reached by more."""
    own = frozenset(networks)
    return Membership(hosts=own, reaches=own | frozenset(reaches))


def labelled(made: Snapshot, rows: Iterable[RawChassis]) -> tuple[RawChassis, ...]:
    """The rows as northd would label them for the rules in NB."""
    evaluation = Evaluation(made, asked(made))
    result = []
    for raw in rows:
        view = made.chassis[raw.name]
        options = {MODE: str(made.asked.mode)}
        signature = evaluation.seen(view, view.chassis.encaps[0]).signature
        name = None if signature is None else evaluation.book.class_name(signature)
        options |= {} if name is None else {CLASS: name}
        encaps = tuple(replace(encap, options=options) for encap in raw.encaps)
        result.append(replace(raw, encaps=encaps))
    return tuple(result)
