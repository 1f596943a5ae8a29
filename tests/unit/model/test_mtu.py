# SPDX-License-Identifier: Apache-2.0
"""How large a tenant's packet may be. The kernel's own answers: tests/system/test_mtu.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.model.chassis import EncapType
from ovn_ipsec.model.mtu import (
    AEAD,
    BY_PROFILE,
    CBC_SHA256,
    Interface,
    Wrapping,
    inner_mtu,
    larger,
    path_mtu,
    sizes_of,
)
from ovn_ipsec.model.policy import Profile

WRAPPINGS = st.builds(
    Wrapping,
    type=st.sampled_from(EncapType),
    version=st.sampled_from([4, 6]),
    esp=st.sampled_from([None, AEAD, CBC_SHA256]),
    in_udp=st.booleans(),
)


@pytest.mark.parametrize(
    ("version", "esp", "in_udp", "expected"),
    [
        (4, None, False, 1442),
        (4, AEAD, False, 1408),
        (4, AEAD, True, 1400),
        (4, CBC_SHA256, False, 1400),
        (4, CBC_SHA256, True, 1384),
        (6, None, False, 1422),
        (6, AEAD, False, 1388),
        (6, AEAD, True, 1380),
        (6, CBC_SHA256, False, 1368),
        (6, CBC_SHA256, True, 1368),
    ],
)
def test_what_a_link_of_1500_leaves_behind_geneve(version, esp, in_udp, expected):
    """Counted by hand from the headers."""
    wrapping = Wrapping(type=EncapType.GENEVE, version=version, esp=esp, in_udp=in_udp)
    assert expected == inner_mtu(1500, wrapping)


def test_vxlan_has_no_options():
    """8 bytes more than with Geneve, but for padding."""
    assert inner_mtu(1500, Wrapping(type=EncapType.VXLAN, version=4)) == 1450
    assert inner_mtu(1500, Wrapping(type=EncapType.VXLAN, version=4, esp=AEAD)) == 1416


@pytest.mark.parametrize("esp", [None, AEAD])
def test_where_there_is_no_room_nothing_is_left(esp):
    """And not less than nothing."""
    assert inner_mtu(68, Wrapping(type=EncapType.GENEVE, version=6, esp=esp)) == 0


@given(st.integers(600, 65536), WRAPPINGS)
def test_a_path_that_leaves_so_much_is_the_smallest_that_does(path, wrapping):
    """The two functions are each other's inverse."""
    inner = inner_mtu(path, wrapping)
    needed = path_mtu(inner, wrapping)
    assert needed <= path
    assert inner_mtu(needed, wrapping) == inner
    assert inner_mtu(needed - 1, wrapping) < inner


@given(st.integers(600, 9000), WRAPPINGS)
def test_padding_costs_less_than_a_block(path, wrapping):
    """Each byte of the path is used for something."""
    esp = wrapping.esp
    least = 1 if esp is None else esp.block
    assert inner_mtu(path + least, wrapping) > inner_mtu(path, wrapping)


@pytest.mark.parametrize(
    ("suite", "profile", "expected"),
    [
        ("AES_GCM_16-256", Profile.AES256_SHA256, AEAD),
        ("CHACHA20_POLY1305-256", Profile.AES256_SHA256, AEAD),
        ("AES_CBC-256/HMAC_SHA2_256_128", Profile.DEFAULT, CBC_SHA256),
        ("", Profile.AES256_SHA256, CBC_SHA256),
        ("", Profile.CNSA, AEAD),
        ("SOMETHING_NEW", Profile.DEFAULT, AEAD),
    ],
)
def test_what_was_negotiated_counts_before_what_should_be(suite, profile, expected):
    """While a profile changes, the old SA still carries traffic."""
    assert expected == sizes_of(suite, profile)


def test_every_profile_has_its_sizes():
    """Whatever profiles there will be."""
    assert {*Profile} == set(BY_PROFILE)


def test_interfaces_that_are_larger_are_found_where_it_is_known_what_is_left():
    """One that is as large is not larger."""
    fits, over = (Interface(name=f"v{mtu}", port="p", mtu=mtu) for mtu in (1408, 1409))
    assert larger((fits, over), 1408) == (over,)
    assert larger((fits, over), None) == ()
