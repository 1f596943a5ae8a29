# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec mtu` with real databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ovsdb import Central, central, missing_programs
from test_cli_status import run

pytestmark = pytest.mark.skipif(
    bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"
)


@pytest.fixture
def ovn(tmp_path: Path) -> Iterator[Central]:
    """Databases with two chassis; encryption was never on."""
    with central(tmp_path) as made:
        for number in (1, 2):
            made.sbctl("chassis-add", f"hv{number}", "geneve", f"10.0.0.{number}")
            made.sbctl("create", "Chassis_Private", f"name=hv{number}")
        yield made


def test_what_gives_workloads_an_mtu_is_found_and_what_is_printed_sets_it(ovn: Central) -> None:
    """Before encryption is on; a network of the underlay is left out, what others own too."""
    for name, mtu in (("neutron-blue", 1442), ("neutron-provider", 1500), ("neutron-small", 1400)):
        ovn.nbctl("ls-add", name)
        ovn.nbctl("set", "Logical_Switch", name, f'external_ids:"neutron:mtu"="{mtu}"')
    ovn.nbctl("lsp-add", "neutron-provider", "out", "--", "lsp-set-type", "out", "localnet")
    ovn.nbctl("lsp-add", "neutron-blue", "vm")
    ovn.nbctl("lr-add", "lr0", "--", "lrp-add", "lr0", "lrp0", "02:00:00:00:00:01", "10.1.0.1/24")
    ovn.nbctl("set", "Logical_Router_Port", "lrp0", "options:gateway_mtu=1500")
    ovn.nbctl("set", "Logical_Router_Port", "lrp0", "ipv6_ra_configs:mtu=1442")
    ovn.nbctl("create", "DHCP_Options", "cidr=10.1.0.0/24", "options:mtu=1442")
    ovn.nbctl("create", "DHCP_Options", "cidr=10.2.0.0/24", "options:mtu=1442",
              "external_ids:subnet_id=x")  # fmt: skip
    code, output, errors = run(ovn, "--json", "mtu")
    assert (code, json.loads(output)["left"]) == (2, None), errors
    for name in ("hv1", "hv2"):
        ovn.follow(name, mtu="underlay=1500 inner=1442 larger=0")
    code, output, errors = run(ovn, "--json", "mtu")
    found = json.loads(output)
    assert (code, found["left"]) == (1, 1408), errors
    larger = {(one["row"], one["key"]): one["command"] for one in found["too_large"]}
    assert set(larger) == {
        ("neutron-blue", "external_ids:neutron:mtu"),
        ("lrp0", "options:gateway_mtu"),
        ("lrp0", "ipv6_ra_configs:mtu"),
        ("10.1.0.0/24", "options:mtu"),
    }
    for command in larger.values():
        program, *words = command.split()
        if program == "ovn-nbctl":
            ovn.nbctl(*words)
    code, output, errors = run(ovn, "--json", "mtu")
    left = [one["command"] for one in json.loads(output)["too_large"]]
    assert (code, left) == (1, ["openstack network set --mtu 1408 blue"]), errors
    code, output, errors = run(ovn, "mtu")
    assert (code, output.splitlines()[0]) == (
        1,
        "1408 is left to workloads, between hv1 10.0.0.1 - hv2 10.0.0.2 (1500 on the underlay, of"
        " which ESP with profile default takes 34)",
    ), errors
