# SPDX-License-Identifier: Apache-2.0
"""What a kernel has, to what is well with it: modules, the guard, the clock."""

from __future__ import annotations

import json
import os
from ipaddress import ip_address
from pathlib import Path

import pytest

from controller.guard.nft_table import build_commands
from controller.guard.xfrm import _allows, _blocks
from controller.plan.guard import ClearFlow, Direction, GuardState, PeerPort
from controller.xfrm import messages
from controller.xfrm.values import Template, XfrmPolicy
from ovn_ipsec.cli.doctor.kernelcheck import (
    CLOCK,
    FOLDER,
    HELD_AGAIN,
    TORN,
    examine_blocks,
    examine_clock,
    examine_kept,
    examine_modules,
    examine_nft,
)
from ovn_ipsec.cli.machine import boot_guard, kernel, nft, xfrm
from ovn_ipsec.cli.machine.values import Block, KeptGuard, Modules, Way

V4, V6, PEER = ip_address("10.0.0.1"), ip_address("fd00::1"), ip_address("10.0.0.2")
ALL = frozenset({"esp4", "esp6", "geneve", "openvswitch", "xfrm_user", "nf_tables"})
KEPT = KeptGuard(path="/x", ports=frozenset({6081, 4789}), local=frozenset({V4}))
BLOCKS = frozenset(Block(way=way, local=V4, port=port) for way in Way for port in KEPT.ports)
GUARD = GuardState(
    ports=KEPT.ports,
    local=KEPT.local,
    may_clear=frozenset({ClearFlow(direction=Direction.OUT, local=V4, remote=PEER, port=6081)}),
    peer_ports=frozenset({PeerPort(local=V4, remote=PEER, port=7081)}),
)


def test_modules_that_are_there_or_can_be_are_well():
    """Loaded, built in or on disk."""
    modules = Modules(release="6.1", here=frozenset({"esp4"}), on_disk=ALL - {"esp4"})
    (check,) = examine_modules(modules, [V4])
    assert (True, "esp4 geneve openvswitch") == (check.is_well, check.said)


@pytest.mark.parametrize(
    ("wanted", "named"),
    [([V4], "esp4"), ([V6], "esp6"), ([V4, V6], "esp4 esp6"), ([], "esp4 esp6")],
)
def test_esp_is_needed_for_the_addresses_that_there_are(wanted: list, named: str):
    """Without any, both versions of IP may come."""
    modules = Modules(release="6.1", here=frozenset({"geneve", "openvswitch"}))
    (check,) = examine_modules(modules, wanted)
    assert (False, f"{named} are not there for kernel 6.1") == (check.is_well, check.said)
    assert "linux-modules-extra-6.1" in check.next_step


@pytest.mark.parametrize(("here", "late"), [(ALL, " after the next boot"), (ALL - {"esp4"}, "")])
def test_a_module_that_modprobe_keeps_out_is_not_well(here: frozenset[str], late: str):
    """Also while it is still loaded."""
    file = "/etc/modprobe.d/cis.conf"
    modules = Modules(release="6.1", here=here, on_disk=ALL, blacklisted={"esp4": file})
    (check,) = examine_modules(modules, [V4])
    assert ("module esp4", False) == (check.part, check.is_well)
    assert f"esp4 is kept out by {file}{late}" == check.said
    assert f"remove its line from {file}, then modprobe esp4" == check.next_step


def test_a_kernel_whose_folder_is_not_here_leaves_it_open():
    """As in a container; what is loaded is there all the same."""
    (check,) = examine_modules(Modules(release="6.1", here=frozenset({"esp4"}), on_disk=None), [V4])
    assert (None, FOLDER) == (check.is_well, check.next_step)
    assert check.said.startswith("geneve openvswitch: not loaded")
    (check,) = examine_modules(Modules(release="6.1", here=ALL, on_disk=None), [])
    assert check.is_well


def test_modules_are_read_from_the_system(tmp_path: Path):
    """Loaded, built in, on disk, blacklisted, each from its place; a hidden file does nothing."""
    folder = tmp_path / "lib/modules" / os.uname().release
    folder.mkdir(parents=True)
    (folder / "modules.builtin").write_text("kernel/net/xfrm/xfrm_user.ko\n")
    (folder / "modules.dep").write_text(
        "kernel/net/ipv4/esp4.ko.xz: kernel/x.ko\nkernel/nf-tables.ko:\n"
    )
    (tmp_path / "sys/module/geneve").mkdir(parents=True)
    (tmp_path / "etc/modprobe.d").mkdir(parents=True)
    (tmp_path / "usr/lib/modprobe.d").mkdir(parents=True)
    (tmp_path / "etc/modprobe.d/a.conf").write_text("# blacklist geneve\nblacklist esp4\n")
    (tmp_path / "usr/lib/modprobe.d/a.conf").write_text("blacklist geneve\n")
    (tmp_path / "usr/lib/modprobe.d/b.conf").write_text(
        "install esp6 /bin/false\ninstall nf-tables /sbin/modprobe x\nblacklist foreign\n"
    )
    seen = kernel.modules(ALL, tmp_path)
    assert {"geneve", "xfrm_user"} == seen.here
    assert {"esp4", "nf_tables"} == seen.on_disk
    assert {
        "esp4": "/etc/modprobe.d/a.conf",
        "esp6": "/usr/lib/modprobe.d/b.conf",
    } == seen.blacklisted
    assert kernel.modules(ALL, tmp_path / "nowhere").on_disk is None


def test_a_kept_guard_that_stands_is_well():
    """In both layers, with what it is for."""
    checks = (examine_kept(KEPT), examine_nft(KEPT, KEPT.ports), examine_blocks(KEPT, BLOCKS))
    assert [True] * 3 == [check.is_well for check in checks]
    assert "kept, for UDP ports 4789, 6081 and 1 addresses" == checks[0].said


def test_where_none_is_kept_none_is_missed():
    """Nothing was ever enforced."""
    layers = [examine_nft(None, None), examine_blocks(None, frozenset())]
    assert [True] * 3 == [one.is_well for one in (examine_kept(None), *layers)]
    assert ["none, and none is kept"] * 2 == [one.said for one in layers]
    layers = [examine_nft(None, KEPT.ports), examine_blocks(None, BLOCKS)]
    assert [(True, "stands"), (True, "4 block policies")] == [(c.is_well, c.said) for c in layers]


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (examine_nft(KEPT, None), "the table inet ovn_ipsec is missing"),
        (examine_nft(KEPT, frozenset({6081})), "UDP ports 4789 are not guarded"),
        (examine_blocks(KEPT, frozenset()), "4 of 4 block policies are missing"),
        (
            examine_blocks(KeptGuard(path="/x", ports=KEPT.ports), frozenset()),
            "no block policy",
        ),
    ],
)
def test_a_layer_that_lacks_something_is_not_well(check, said: str):
    """The controller puts it up, whatever else it can do."""
    assert (False, said, HELD_AGAIN) == (check.is_well, check.said, check.next_step)


def test_a_torn_guard_on_disk_is_not_well():
    """At boot it denies everything."""
    check = examine_kept(KeptGuard(path="/x", fault="cannot be read (ValueError)"))
    assert (False, "/x cannot be read (ValueError)", TORN) == (
        check.is_well,
        check.said,
        check.next_step,
    )


def test_a_clock_that_nobody_keeps_right_is_no_bad_news_yet():
    """It may be right all the same."""
    assert examine_clock(is_set=True).is_well
    check = examine_clock(is_set=False)
    assert (None, CLOCK) == (check.is_well, check.next_step)


def test_the_boot_guard_is_read_as_the_controller_writes_it(tmp_path: Path):
    """None, a whole one, and one that is torn."""
    assert boot_guard.kept_guard(tmp_path) is None
    path = tmp_path / boot_guard.NAME
    path.write_text(json.dumps({"ports": [6081, 4789], "local": ["10.0.0.1"], "boot": "x"}))
    assert KeptGuard(path=str(path), ports=KEPT.ports, local=KEPT.local) == boot_guard.kept_guard(
        tmp_path
    )
    for torn in ("{", "[]", '{"ports": 1, "local": []}', '{"ports": [], "local": ["x"]}'):
        path.write_text(torn)
        assert boot_guard.kept_guard(tmp_path).fault  # type: ignore[union-attr]


def test_policies_of_the_guard_are_known_as_the_controller_makes_them():
    """Of both directions; an allow policy and one of a peer's port are no block of all."""
    made = [*_blocks(GUARD.denials(), GUARD.peer_ports), *_allows(GUARD.may_clear)]
    seen = [xfrm.parse_policy(messages.format_policy(policy)) for policy in made]
    assert BLOCKS == {block for one in seen if (block := one.block()) is not None}
    assert all(" of the guard" in one.line() for one in seen)
    assert any(
        "out 10.0.0.1/32 0.0.0.0/0 proto udp sport any dport 6081" in one.line() for one in seen
    )


def test_a_policy_of_somebody_else_is_told_with_its_transform():
    """One without our mark is none of the guard, whatever it looks like."""
    (mine, *_) = _blocks(GUARD.denials())
    template = Template(src=V4, dst=PEER, proto=50, spi=0xC0FFEE, reqid=7, mode=messages.Mode(0))
    other = XfrmPolicy(
        direction=mine.direction,
        selector=messages.Selector(src=mine.selector.src, dst=mine.selector.dst, proto=17),
        priority=5,
        action=messages.Action(0),
        templates=(template,),
    )
    seen = xfrm.parse_policy(messages.format_policy(other))
    assert seen.block() is None
    assert seen.line().endswith(
        "priority 5 allow tmpl 10.0.0.1 10.0.0.2 esp spi 0x00c0ffee reqid 7 transport"
    )


def test_an_sa_is_told_without_its_key():
    """The attributes of the message, where it is, are not looked at."""
    key = bytes(range(100, 136))
    made, _ = messages.probe_esp(4, key)
    assert key in made.payload
    line = xfrm.parse_state(made.payload)
    assert line.startswith("203.0.113.1 203.0.113.2 proto esp spi 0x00000080 reqid 0 transport")
    assert key.hex() not in line.replace(" ", "")


def test_the_ports_of_the_table_are_read():
    """As the controller makes it; a table without rules guards nothing."""
    entries = [next(iter(command.values())) for command in build_commands(GUARD)]
    (elements,) = [
        one["element"]["elem"] for one in entries if one.get("element", {}).get("name") == "ports"
    ]
    sets = [
        {"set": {**one["set"], "elem": elements}}
        for one in entries
        if one.get("set", {}).get("name") == "ports" and "type" in one["set"]
    ]
    rules = [one for one in entries if "rule" in one]
    assert KEPT.ports == nft.parse_ports(json.dumps({"nftables": [*sets, *rules]}))
    assert frozenset() == nft.parse_ports(json.dumps({"nftables": sets}))
